"""Ask a service about a photo; only the payload leaves. Needs no torch.

Whatever is wrong with the release, the converter, the image, the service or the network: nothing of the original is
sent, and the user is told. Every photo of a call is converted before the first payload is sent. The release is
verified once, and its converter held in memory: what later happens to the folder changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from dapter.client.answers import Classification, Label, Sent
from dapter.client.exchange import Exchange
from dapter.client.protect import Photo, Protector
from dapter.client.transport import AsyncTransport, Policy, Transport

__all__ = ["AsyncClient", "Classification", "Client", "Label", "Photo", "Policy", "Sent"]


@dataclass
class _Base:
    """The settings of both clients.

    Attributes:
        url: of the service, `https://host`, or of one of its models, `https://host/v2/models/NAME`; without a name,
            the model is called `model`.
        release: the folder of the converter's release.
        key: the maker's public key, a PEM file that you got in another way than with the release.
        dial: for a converter that has one; by default the release's.
        size: height and width to send; by default the size that the converter was trained and measured at.
        square: whether the centre square of a photo is taken, where the size is square; otherwise it is stretched.
        precision: which ONNX export converts.
        threads: that a conversion uses.
        codec: PNG or WEBP, both without loss. A service that takes no files gets the bare pixels.
        packed: send stamps instead of images, to a door (`dapter door`), of a release that publishes its stamps.
        token: sent as bearer token; over TLS, or to this machine.
        policy: time and attempts.
        batch: photos in a request.
    """

    url: str
    release: Path | str
    key: Path | str
    dial: float | None = None
    size: tuple[int, int] | None = None
    square: bool = True
    precision: str = "float32"
    threads: int = 1
    codec: str = "PNG"
    packed: bool = False
    token: str | None = field(default=None, repr=False)
    policy: Policy = field(default_factory=Policy)
    batch: int = 16

    def __post_init__(self) -> None:
        protector = Protector.open(self.release, self.key, self.precision, self.threads)
        self._protector = protector.change(self.dial, self.size, self.square, self.codec, self.packed)
        self._exchange = Exchange(protector.manifest, self.batch)


@dataclass
class Client(_Base):
    """Classifies photos; a context.

    Raises:
        CheckFailed: the release fails verification.
        ConversionError: its converter cannot be run.
        UsageError: a setting that cannot work.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._transport = Transport(self.url, self.token, self.policy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def classify(self, photo: Photo) -> Classification:
        """What the service says of a photo.

        Args:
            photo: a file, the bytes of one, or pixels, uint8 (H, W, 3).

        Raises:
            DataError: it cannot be read; nothing was sent.
            ConversionError, UsageError: it cannot be converted; nothing was sent.
            ServiceError: the service does not answer, or not as it should; at most the payload was sent.
        """
        return self.classify_all([photo])[0]

    def classify_all(self, photos: Sequence[Photo]) -> list[Classification]:
        """The same for several photos, in their order; nothing is sent unless all of them could be converted."""
        return list(self.classify_each(photos))

    def classify_each(self, photos: Sequence[Photo]) -> Iterator[Classification]:
        """The same, each answer once its request is answered: if a later request fails, the earlier ones are kept."""
        ready = [self._protector.protect(photo) for photo in photos]
        for flow in self._exchange.requests(ready):
            yield from self._transport.run(flow)


@dataclass
class AsyncClient(_Base):
    """As `Client`, for asyncio: an asynchronous context. Photos are converted in threads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._transport = AsyncTransport(self.url, self.token, self.policy)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def classify(self, photo: Photo) -> Classification:
        """As `Client.classify`."""
        return (await self.classify_all([photo]))[0]

    async def classify_all(self, photos: Sequence[Photo]) -> list[Classification]:
        """As `Client.classify_all`."""
        return [found async for found in self.classify_each(photos)]

    async def classify_each(self, photos: Sequence[Photo]) -> AsyncIterator[Classification]:
        """As `Client.classify_each`."""
        ready = [await asyncio.to_thread(self._protector.protect, photo) for photo in photos]
        for flow in self._exchange.requests(ready):
            for found in await self._transport.run(flow):
                yield found
