"""What the server counts, in Prometheus' form."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from serve.scheduler import Scheduler

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The server's metrics in a registry of their own.

    Args:
        scheduler: asked for its state whenever the metrics are read.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "llm_requests",
            "Requests answered; status 499: the client left",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "llm_request_seconds",
            "From request to end of answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first_token = Histogram(
            "llm_time_to_first_token_seconds",
            "From admission to the first text, waiting included",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.tokens = Counter("llm_tokens", "Tokens read and written", ["kind"], registry=self.registry)
        held = Gauge("llm_requests_held", "Requests waiting or running", registry=self.registry)
        held.set_function(lambda: scheduler.held)
        waiting = Gauge("llm_queue_depth", "Requests that wait for the engine", registry=self.registry)
        waiting.set_function(lambda: len(scheduler.work))
        ready = Gauge("llm_ready", "1 when the model answers", registry=self.registry)
        ready.set_function(lambda: float(scheduler.ready))
