"""The verbs that serve: `dapter serve`, `door`, `service export-triton`, and `dapter send`, their user's side."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import OmitArgPrefixes, Positional

from dapter.errors import CheckFailed, UsageError
from dapter.options import SpecOptions, check_counts
from dapter.service.rules import TOKEN

if TYPE_CHECKING:
    from dapter.client import Classification
    from dapter.service.classifier import Service
    from dapter.service.inference import Model


@dataclass(frozen=True)
class Named:
    """A model as it is named on the command line: SOURCE, NAME=SOURCE or NAME:VERSION=SOURCE."""

    name: str
    version: str
    sources: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Named":
        """Read it.

        Raises:
            UsageError: a part is empty.
        """
        label, equals, sources = text.rpartition("=")
        name, colon, version = (label if equals else "model").partition(":")
        if not name or not sources or (colon and not version):
            raise UsageError(f"{text!r} names no model. Cure: SOURCE, NAME=SOURCE or NAME:VERSION=SOURCE")
        return cls(name, version or "1", tuple(sources.split(",")))


@dataclass(frozen=True)
class Serve:
    """Serve classifiers by the Open Inference Protocol, HTTP and gRPC."""

    models: Positional[tuple[str, ...]]
    """Each SOURCE, NAME=SOURCE or NAME:VERSION=SOURCE; a source is what --service takes elsewhere, or several with
    commas between; or the run folder of a defence that changes the service. Without a name: model; without a version:
    1."""
    spec: OmitArgPrefixes[SpecOptions] = field(default_factory=SpecOptions)
    host: str = "127.0.0.1"
    """The address to listen at; 0.0.0.0: from other machines as well."""
    port: int = 8000
    """Of HTTP."""
    grpc_port: int | None = 8001
    """Of gRPC; None: no gRPC."""
    token_file: Path | None = None
    """Bearer tokens, one a line, one of which every request but those for health must carry."""
    certificate: Path | None = None
    """TLS: the certificate chain, PEM."""
    private_key: Path | None = None
    """TLS: its key, PEM."""
    origins: tuple[str, ...] = ()
    """Web pages whose scripts may ask (CORS), such as https://example.org."""
    max_bytes: int = 32 * 2**20
    """Of a request."""
    max_images: int = 64
    """In a request, or payloads that are features."""
    max_pixels: int = 16_000_000
    """Of all images of a request together, or places of all its features."""
    max_requests: int = 32
    """At a time; further ones are told to come back."""
    max_batch: int = 32
    """Images that are computed together."""
    timeout: float = 30.0
    """Seconds for a request, from its first byte to its answer."""

    def run(self) -> None:
        """Do it, until the process is told to end."""
        from dapter.service.inference import Limits
        from dapter.service.server import Server, Settings

        limits = Limits(
            self.max_bytes, self.max_images, self.max_pixels, self.timeout, self.max_requests, self.max_batch
        )
        settings = Settings(
            host=self.host,
            port=self.port,
            grpc_port=self.grpc_port,
            tokens=_tokens(self.token_file),
            certificate=self.certificate,
            private_key=self.private_key,
            origins=self.origins,
            limits=limits,
        )
        models = [_model(named, self.spec) for named in _name(self.models, self.spec)]
        Server(models, settings).run(lambda text: print(text, flush=True))


def _name(models: Sequence[str], spec: SpecOptions) -> list[Named]:
    """The models of a command line.

    Raises:
        UsageError: one names no model; or what overrules a model is given for several, and would overrule each.
    """
    if len(models) > 1 and spec != SpecOptions():
        raise UsageError("--service-... would overrule what each of these models says. Cure: a command for each model")
    return [Named.parse(text) for text in models]


def _model(named: Named, spec: SpecOptions) -> "Model":
    from dapter.service.inference import Model
    from dapter.service_part import ServicePart, is_defence
    from dapter.types import Payload

    if len(named.sources) == 1 and is_defence(named.sources[0]):
        part = ServicePart.load(named.sources[0])
        return Model(named.name, named.version, part.classes, part.answer, part.takes_features)
    service: Service = spec.load_from(*named.sources)
    return Model(named.name, named.version, service.classes, lambda images: service.answer(Payload(images)).logits)


def _tokens(path: Path | None) -> tuple[str, ...]:
    """The lines of a file.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    if path is None:
        return ()
    try:
        tokens = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}). Cure: a text file with a token a line") from error
    if not tokens:
        raise UsageError(f"{path} holds no token. Cure: one a line; `openssl rand -hex 32` makes one")
    return tokens


@dataclass(frozen=True)
class ExportTriton:
    """Write a model repository for NVIDIA Triton or KServe: ONNX files and their config."""

    repository: Positional[Path]
    """Its folder, new or existing."""
    models: Positional[tuple[str, ...]]
    """Each SOURCE, NAME=SOURCE or NAME:VERSION=SOURCE; a source is what --service takes elsewhere."""
    spec: OmitArgPrefixes[SpecOptions] = field(default_factory=SpecOptions)

    def run(self) -> None:
        """Do it."""
        from dapter.service.triton import export_triton

        for named in _name(self.models, self.spec):
            place = export_triton(self.spec.load_from(*named.sources), self.repository, named.name, named.version)
            print(f"The model is in {place}")


@dataclass(frozen=True)
class Door:
    """Take payloads of the budget converter as a few bytes each, paint them, and pass the answer of a service on."""

    stamps: Path
    """The published stamps: stamps.json of the converter's release."""
    upstream: str
    """The URL of the model: https://HOST/v2/models/NAME, https unless it is on this machine."""
    host: str = "127.0.0.1"
    """Where to listen."""
    port: int = 8090
    """Where to listen; 0: any free port."""
    max_payloads: int = 64
    """In a request."""
    timeout: float = 60.0
    """Seconds that an answer of the service may take."""

    def run(self) -> None:
        """Answer until the process is told to end.

        Raises:
            DataError, UsageError: the stamps cannot be read, or a number cannot work.
        """
        from dapter.errors import DataError, need
        from dapter.stamps import read_stamps

        check_counts(max_payloads=self.max_payloads)
        need("starlette", "door")
        from dapter.service import door
        from dapter.service.gateway.running import serve

        try:
            content = self.stamps.read_bytes()
        except OSError as error:
            raise DataError(f"{self.stamps} cannot be read ({error}). Cure: stamps.json of a release") from error
        published = door.Published(*read_stamps(content), self.max_payloads)
        serve(door.Door(published, self.upstream, self.timeout), self.host, self.port)


@dataclass(frozen=True)
class Send:
    """Ask a service about photos. Only payloads leave; the answers, and what was sent, are shown.

    If the variable DAPTER_SERVICE_TOKEN is set, its value is sent as bearer token.
    """

    photos: Positional[tuple[Path, ...]]
    """Image files."""
    url: str
    """Of the service, or of one of its models: https://host/v2/models/NAME."""
    release: Path
    """The converter's release."""
    key: Path
    """The public key of the release's maker, got in another way than with the release."""
    save: Path = Path("sent")
    """The folder that copies of what was sent are put into."""
    dial: float | None = None
    """For a converter that has one; by default the release's."""
    size: tuple[int, int] | None = None
    """Height and width to send, instead of those of the training."""
    square: bool = True
    """Take the centre square of a photo, instead of stretching it."""
    precision: str = "float32"
    """Which ONNX export converts: float32, float16, int8."""
    packed: bool = False
    """Send a few bytes a photo instead of an image: to `dapter door`, with a release that publishes its stamps."""
    timeout: float = 15.0
    """Seconds for a request."""

    def run(self) -> None:
        """Do it.

        Raises:
            UsageError: no photos, two of one name, or a folder that no copy can be put into: nothing was sent.
            CheckFailed: a copy of what was sent could not be saved.
        """
        from dapter.client import Client, Policy

        if not self.photos:
            raise UsageError("no photo. Cure: name one or more image files")
        if len({photo.name for photo in self.photos}) < len(self.photos):
            raise UsageError("two photos have the same name, and so would their copies. Cure: send them one by one")
        client = Client(
            self.url,
            self.release,
            self.key,
            dial=self.dial,
            size=self.size,
            square=self.square,
            precision=self.precision,
            packed=self.packed,
            token=os.environ.get(TOKEN),
            policy=Policy(timeout_s=self.timeout),
        )
        with client:
            self._try_folder()
            each = zip(self.photos, client.classify_each(self.photos), strict=True)
            unsaved = [photo.name for photo, found in each if not self._show(photo, found)]
        if unsaved:
            raise CheckFailed(
                f"no copy was saved of what was sent for {', '.join(unsaved)}. Cure: check space and rights"
            )

    def _show(self, photo: Path, found: "Classification") -> bool:
        """Print an answer, and save what was sent for it; whether it was saved."""
        for target, label in found.labels.items():
            print(f"{photo}: {target}: {label.name} ({label.probability:.1%})")
        print(f"  sent: {found.sent.describe()}")
        try:
            print(f"  to look at: {found.sent.save(self.save / f'{photo.name}.png')}")
        except OSError as error:  # the other answers are shown all the same: they were paid for
            print(f"  no copy was saved: {error}")
            return False
        return True

    def _try_folder(self) -> None:
        """Make the folder of copies, and try to write there."""
        try:
            self.save.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.save):
                pass
        except OSError as error:
            raise UsageError(
                f"--save {self.save} cannot be written ({error}); nothing was sent. Cure: another folder"
            ) from error
