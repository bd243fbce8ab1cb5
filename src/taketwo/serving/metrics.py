"""Counters and histograms of a server, in Prometheus' text format."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from taketwo.serving.inference import Answer
from taketwo.serving.protocols import Outcome

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds of latency: from a no-op policy to a 7B model, and its compilation."""

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one server. All of it is for the event loop's thread."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "taketwo_requests", "Requests by what became of them", ["outcome"], registry=self._registry
        )
        for outcome in get_args(Outcome):
            self._requests.labels(outcome)
        self._latency = self._histogram("taketwo_request_seconds", "From message to answer", SECONDS)
        self._queue = self._histogram("taketwo_queue_seconds", "Waiting for the policy", SECONDS)
        self._inference = self._histogram("taketwo_inference_seconds", "The policy's forward pass", SECONDS)
        self._batch = self._histogram("taketwo_batch_size", "Requests in the same forward pass", BATCH_SIZES)
        self._in_progress = Gauge(
            "taketwo_requests_in_progress", "Requests without an answer yet", registry=self._registry
        )
        self._clients = Gauge("taketwo_clients", "Clients connected now", registry=self._registry)
        self._connections = Counter("taketwo_connections", "Clients connected ever", registry=self._registry)
        self._dropped = Gauge("taketwo_records_dropped", "Inferences that were not recorded", registry=self._registry)

    def begun(self) -> None:
        """A request is being worked on, until it is answered."""
        self._in_progress.inc()

    def abandoned(self) -> None:
        """The client of a request has gone before it was answered."""
        self._in_progress.dec()

    def replied(self, outcome: Outcome, seconds: float) -> None:
        """A message was replied to, after so long."""
        self._in_progress.dec()
        self._requests.labels(outcome).inc()
        if outcome == "answered":
            self._latency.observe(seconds)

    def inferred(self, answer: Answer) -> None:
        """The policy answered."""
        self._queue.observe(answer.queue_ms / 1000)
        self._inference.observe(answer.infer_ms / 1000)
        self._batch.observe(answer.batch_size)

    def connected(self) -> None:
        """A client came."""
        self._clients.inc()
        self._connections.inc()

    def disconnected(self) -> None:
        """A client went."""
        self._clients.dec()

    def counts(self) -> tuple[int, int, int, int]:
        """Clients, observations answered, resets, and requests that got an error, since the beginning."""
        told = {outcome: self._sample("taketwo_requests_total", outcome=outcome) for outcome in get_args(Outcome)}
        refused = told["request_error"] + told["policy_error"]
        return self._sample("taketwo_connections_total"), told["answered"], told["reset"], refused

    def _sample(self, name: str, **labels: str) -> int:
        return int(self._registry.get_sample_value(name, labels) or 0)

    def text(self, records_dropped: int) -> bytes:
        """All of them, in Prometheus' text format."""
        self._dropped.set(records_dropped)
        return generate_latest(self._registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, what, buckets=buckets, registry=self._registry)
