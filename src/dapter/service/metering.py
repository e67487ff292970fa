"""What a server tells Prometheus: how many requests, how long they took, how full the batches were."""

from collections.abc import Callable
from typing import Any

from dapter.errors import need

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Meters:
    """The counters of one server. Names of models that do not exist are never labels."""

    def __init__(self) -> None:
        prometheus: Any = need("prometheus_client", "serve")
        self._prometheus = prometheus
        self._registry = prometheus.CollectorRegistry()
        labels = ("protocol", "model")
        common = {"registry": self._registry}
        self._requests = prometheus.Counter(
            "dapter_requests", "Requests to answer images, by HTTP status", (*labels, "status"), **common
        )
        self._seconds = prometheus.Histogram(
            "dapter_request_seconds", "From the first byte to the answer", labels, buckets=SECONDS, **common
        )
        self._batches = prometheus.Histogram(
            "dapter_batch_images", "Images computed together", ("model",), buckets=IMAGES, **common
        )

    def request(self, protocol: str, model: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(protocol, model, str(status)).inc()
        self._seconds.labels(protocol, model).observe(seconds)

    def batch(self, model: str) -> Callable[[int], None]:
        """What counts the batches of a model."""
        observe: Callable[[int], None] = self._batches.labels(model).observe
        return observe

    def page(self) -> tuple[bytes, str]:
        """The page that Prometheus reads, and its content type."""
        return self._prometheus.generate_latest(self._registry), self._prometheus.CONTENT_TYPE_LATEST
