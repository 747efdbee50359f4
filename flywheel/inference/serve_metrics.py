"""`/metrics` of the inference process: what was answered, how long it took, what waits.

Names, counts and seconds, never text. They live as long as the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flywheel.web.request_metrics import RequestMetrics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServeMetrics:
    """Counts of answers; safe from any thread."""

    def __init__(self) -> None:
        self.requests = RequestMetrics()
        registry = self.requests.registry
        self._answers = Counter(
            "flywheel_serve_answers",
            "Answers given since the start, by what was called.",
            ("intent",),
            registry=registry,
        )
        self._seconds = Histogram(
            "flywheel_serve_answer_seconds",
            "Seconds from a question's arrival to its answer.",
            ("by",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            "flywheel_serve_batch_texts",
            "Texts answered at once.",
            buckets=_TEXTS,
            registry=registry,
        )
        self._refused = Counter(
            "flywheel_serve_refused",
            "Requests that were not served since the start, by reason.",
            ("reason",),
            registry=registry,
        )
        self._cost = Counter(
            "flywheel_serve_upstream_usd",
            "US dollars that answers of the upstream model cost since the start.",
            registry=registry,
        )
        self._unread = Counter(
            "flywheel_serve_upstream_unread",
            "Answers of the upstream model that could not be recorded since the start.",
            registry=registry,
        )
        self._by_intent: dict[str, Counter] = {}
        self._by_whom: dict[str, Histogram] = {}

    def answered(self, intent: str, cost_usd: float = 0.0) -> None:
        """One more text was answered."""
        if cost_usd:
            self._cost.inc(cost_usd)
        counter = self._by_intent.get(intent)
        if counter is None:
            counter = self._by_intent[intent] = self._answers.labels(intent)
        counter.inc()

    def took(self, seconds: float, by: str = "champion") -> None:
        """One more question was answered."""
        histogram = self._by_whom.get(by)
        if histogram is None:
            histogram = self._by_whom[by] = self._seconds.labels(by)
        histogram.observe(seconds)

    def unread(self) -> None:
        """One more answer of the upstream model could not be recorded."""
        self._unread.inc()

    def batch(self, texts: int) -> None:
        """One more batch was answered."""
        self._batches.observe(texts)

    def refused(self, reason: str) -> None:
        """One more request was not served."""
        self._refused.labels(reason).inc()

    def page(self, state: Mapping[str, Any]) -> bytes:
        """The page in the text format.

        Args:
            state: as `GET /v1/serving` answers, and `queue_limit`.
        """
        return generate_latest(_State(state)) + generate_latest(self.requests.registry)


class _State(Collector):
    """Gauges of the state that people read."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state
        about = {
            "version": state["version"],
            "adapter": state["adapter"] or "",
            "engine": state["engine"],
        }
        info = GaugeMetricFamily(
            "flywheel_serve_info", "What answers: version, adapter, engine.", labels=list(about)
        )
        info.add_metric(list(about.values()), 1)
        yield info
        for name, meaning, value in (
            ("queue", "Texts that wait or are being answered.", state["queue"]),
            ("queue_limit", "Of them; above it, 429.", state["queue_limit"]),
            ("adapters_loaded", "Adapters in memory.", len(state["loaded"])),
            (
                "log_bytes",
                "Answers that the daemon does not have yet.",
                state["log"].get("waiting_bytes", state["log"]["bytes"]),
            ),
            ("log_limit_bytes", "Of them; above it none is logged.", state["log"]["limit_bytes"]),
            ("problems", "Problems that `GET /v1/serving` names.", len(state["problems"])),
        ):
            yield GaugeMetricFamily(f"flywheel_serve_{name}", meaning, value=value)
        for name, meaning, value in (
            ("logged", "Answers logged since the start.", state["log"]["logged"]),
            ("not_logged", "Answers not logged since the start.", state["log"]["not_logged"]),
        ):
            yield CounterMetricFamily(f"flywheel_serve_{name}", meaning, value=value)
