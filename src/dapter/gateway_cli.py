"""The verb of the gateway."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from dapter.options import check_counts


@dataclass(frozen=True)
class GatewayLimits:
    """How much the gateway takes on."""

    max_body: int = 32 * 2**20
    """Bytes of a request."""
    max_pixels: int = 20_000_000
    """Pixels of an image file, or of a tensor."""
    max_requests: int = 64
    """Requests at the same time; more are told to come back."""
    body_seconds: float = 30.0
    """Seconds that a request may take to arrive."""
    service_seconds: float = 60.0
    """Seconds that an answer of the service may take."""
    workers: int | None = None
    """Conversions at the same time. Default: one for each core."""


@dataclass(frozen=True)
class Gateway:
    """A local proxy for apps that only know the service: converts every image, refuses what it does not understand."""

    release: Path
    """The release of the converter."""
    key: Path
    """Its maker's public key, a PEM file that you got in another way than with the release."""
    upstream: str
    """The URL of the service, https:// unless it is on this machine. An app asks the gateway instead."""
    host: str = "127.0.0.1"
    """Where to listen. Apps send originals here: anything but this machine needs a protected network."""
    port: int = 8080
    """Where to listen; 0: any free port."""
    json_path: tuple[str, ...] = ()
    """Where JSON holds images in base64, like $.requests[*].image.content."""
    header: tuple[str, ...] = ()
    """Further headers of the app that pass to the service."""
    keep_size: bool = False
    """Leave image files their size, instead of resizing them to that at which the converter was measured."""
    dial: float | None = None
    """The dial of a converter that has one, instead of its default."""
    ca: Path | None = None
    """A PEM file of who vouches for the service, instead of the system's list."""
    limits: OmitArgPrefixes[GatewayLimits] = field(default_factory=GatewayLimits)

    def run(self) -> None:
        """Answer until the process is told to end.

        Raises:
            UsageError: no such files or numbers.
        """
        from dapter.service.gateway.app import Limits
        from dapter.service.gateway.running import Settings, open_gateway, serve

        limits = self.limits
        check_counts(
            max_body=limits.max_body,
            max_pixels=limits.max_pixels,
            max_requests=limits.max_requests,
            workers=limits.workers,
        )
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
        logging.getLogger("dapter.gateway").setLevel(logging.INFO)
        settings = Settings(
            self.upstream,
            self.dial,
            self.keep_size,
            self.json_path,
            self.header,
            self.ca,
            limits.service_seconds,
            limits.max_pixels,
            Limits(limits.max_body, limits.body_seconds, limits.max_requests, limits.workers or os.cpu_count() or 1),
        )
        serve(open_gateway(self.release, self.key, settings), self.host, self.port)
