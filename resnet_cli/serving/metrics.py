"""Metrics of the server, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Seconds: a request takes 20 ms with an idle model, and several seconds behind a long queue.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Metrics of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("resnet_cli_requests", "Finished requests.", ["path", "status"], registry=registry)
        self.request_seconds = Histogram(
            "resnet_cli_request_seconds",
            "Time from the head of a request to the end of its response.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests_under_way = Gauge(
            "resnet_cli_requests_under_way", "Requests for predictions in flight.", registry=registry
        )
        self.images = Counter("resnet_cli_images", "Images, by outcome.", ["answer"], registry=registry)
        self.unfamiliar_images = Counter(
            "resnet_cli_unfamiliar_images",
            "Images unlike the training images, regardless of their label.",
            registry=registry,
        )
        self.batch_images = Histogram(
            "resnet_cli_batch_images", "Images per forward pass.", buckets=_BATCHES, registry=registry
        )

    def to_text(self) -> bytes:
        """The body of ``GET /metrics``."""
        return generate_latest(self._registry)
