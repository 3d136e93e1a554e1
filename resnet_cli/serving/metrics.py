"""What a server counts, in the form that Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Seconds: an image takes 20 ms on a small network, and seconds behind a long queue.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "resnet_cli_requests", "Requests that were answered.", ["path", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "resnet_cli_request_seconds",
            "From the head of a request to the end of its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests_under_way = Gauge(
            "resnet_cli_requests_under_way", "Requests for answers that were taken and not answered.", registry=registry
        )
        self.images = Counter("resnet_cli_images", "Images, by what became of them.", ["answer"], registry=registry)
        self.batch_images = Histogram(
            "resnet_cli_batch_images", "Images in a forward pass.", buckets=_BATCHES, registry=registry
        )

    def to_text(self) -> bytes:
        """What ``GET /metrics`` answers."""
        return generate_latest(self._registry)
