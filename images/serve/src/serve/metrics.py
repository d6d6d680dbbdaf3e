"""What the server counts, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from serve.engines.base import Engine, Load
from serve.health import Host, Status
from serve.queueing import Gate

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
BATCH_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)


class Metrics:
    """The server's metrics in a registry of their own.

    Tokens per second are `rate(llm_tokens_total{kind="generated"}[1m])`.

    Args:
        gate: asked for its places whenever the metrics are read.
        host: asked for the engine's state likewise.
    """

    def __init__(self, gate: Gate, host: Host) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "llm_requests",
            "Requests answered; status 499: the client left",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = self._histogram("llm_request_seconds", "From request to end of answer", ["route"])
        self.first_token = self._histogram(
            "llm_time_to_first_token_seconds", "From admission to the first token, waiting included"
        )
        self.token_seconds = self._histogram(
            "llm_inter_token_seconds", "From one token of an answer to the next", buckets=TOKEN_SECONDS
        )
        self.tokens = Counter("llm_tokens", "Tokens read and written", ["kind"], registry=self.registry)
        self._gauge("llm_requests_held", "Requests waiting or running", lambda: gate.held)
        self._gauge(
            "llm_requests_limit", "Requests held at most; one more is answered 429", lambda: gate.limit
        )
        self._gauge("llm_ready", "1 when the model answers", lambda: host.status is Status.READY)
        self.registry.register(_EngineCollector(lambda: host.loaded))

    def _histogram(
        self,
        name: str,
        meaning: str,
        labels: tuple[str, ...] | list[str] = (),
        buckets: tuple[float, ...] = SECONDS,
    ) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        Gauge(name, meaning, registry=self.registry).set_function(lambda: float(read()))


class _EngineCollector(Collector):
    """The engine's own counts, all read at the same moment."""

    def __init__(self, engine: Callable[[], Engine | None]) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """The counts; zero before the engine is loaded."""
        engine = self._engine()
        now = Load(waiting=0, running=0, steps=0, tokens=0) if engine is None else engine.now()
        yield GaugeMetricFamily("llm_queue_depth", "Requests that wait for the engine", now.waiting)
        yield GaugeMetricFamily("llm_batch_size", "Requests in the running batches", now.running)
        yield CounterMetricFamily("llm_engine_steps", "Forward passes", now.steps)
        yield CounterMetricFamily("llm_engine_tokens", "Tokens generated", now.tokens)
        rows = now.steps_by_rows
        counts = [sum(count for size, count in rows.items() if size <= bound) for bound in BATCH_ROWS]
        buckets = [(str(float(bound)), float(n)) for bound, n in zip(BATCH_ROWS, counts, strict=True)]
        family = HistogramMetricFamily("llm_engine_batch_rows", "Answers that a forward pass carried on")
        family.add_metric(
            [],
            [*buckets, ("+Inf", float(sum(rows.values())))],
            float(sum(size * count for size, count in rows.items())),
        )
        yield family
