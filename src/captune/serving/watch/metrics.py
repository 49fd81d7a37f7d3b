"""Counters, gauges and histograms for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DECODE = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10)
_BATCH = (1, 2, 4, 8, 16, 32, 64)


class ServerMetrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        """Register all metrics in a registry of this server."""
        own = self._registry = CollectorRegistry()
        model = ["model"]
        self._requests = Counter(
            "captune_requests_total", "Requests.", ["route", "status"], registry=own
        )
        self._latency = Histogram(
            "captune_request_seconds",
            "Time from headers to the last byte of the answer.",
            ["route"],
            buckets=_LATENCY,
            registry=own,
        )
        self._depth = Gauge(
            "captune_queue_depth", "Images waiting for the model.", model, registry=own
        )
        self._waits = Histogram(
            "captune_queue_seconds",
            "Time from an image's arrival to the start of its batch.",
            model,
            buckets=_LATENCY,
            registry=own,
        )
        self._batches = Histogram(
            "captune_batch_images", "Images per start.", model, buckets=_BATCH, registry=own
        )
        self._model_time = Histogram(
            "captune_model_seconds",
            "Time of a batch in the model, or of as many images of a continuous one.",
            model,
            buckets=_LATENCY,
            registry=own,
        )
        self._decoding = Histogram(
            "captune_decode_seconds", "Time to decode an image.", buckets=_DECODE, registry=own
        )
        self._rejections = Counter(
            "captune_rejections_total", "Rejected requests, by reason.", ["reason"], registry=own
        )
        self._images = Counter(
            "captune_images_total", "Images, by outcome.", ["model", "outcome"], registry=own
        )
        self._restarts = Counter(
            "captune_worker_restarts_total", "Processes that ended.", model, registry=own
        )
        self._disconnects = Counter(
            "captune_disconnects_total",
            "Clients that left before the answer.",
            registry=own,
        )

    def observe_request(self, route: str, status: int, *, seconds: float) -> None:
        """Count an answered request.

        Args:
            route: Path of the route, not of the request.
            status: HTTP status.
            seconds: Time from headers to the last byte.
        """
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def observe_batch(self, model: str, waits: Sequence[float]) -> None:
        """Count a batch, and the seconds that each of its images waited."""
        self._batches.labels(model).observe(len(waits))
        for seconds in waits:
            self._waits.labels(model).observe(seconds)

    def observe_model_time(self, model: str, seconds: float) -> None:
        """Count the time of a batch in the model."""
        self._model_time.labels(model).observe(seconds)

    def observe_decoding(self, seconds: float) -> None:
        """Count the time that decoding an image took."""
        self._decoding.observe(seconds)

    def watch_depth(self, model: str, count: Callable[[], int]) -> None:
        """Ask `count` for the number of waiting images whenever the metrics are read."""
        self._depth.labels(model).set_function(count)

    def count_image(self, model: str, outcome: str) -> None:
        """Count an image; its outcome is `captioned` or the code of its error."""
        self._images.labels(model, outcome).inc()

    def count_rejection(self, reason: str) -> None:
        """Count a rejected request."""
        self._rejections.labels(reason).inc()

    def count_restart(self, model: str) -> None:
        """Count a process that ended."""
        self._restarts.labels(model).inc()

    def count_disconnect(self) -> None:
        """Count a client that left before its answer."""
        self._disconnects.inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)
