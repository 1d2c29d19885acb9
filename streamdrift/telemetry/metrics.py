"""Every metric, in one place. Names have base units; no label grows with the number of series or models."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""One batch takes a few milliseconds; past ten seconds a stage is stuck or restoring."""

RESTORE_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""A megabyte takes about ten milliseconds to read; what it takes to take it up is the detectors'."""


class Metrics:
    """The metrics of one process: built by the composition root, handed to whoever counts.

    Parameters
    ----------
    registry
        Where they are registered. Without one a fresh registry is made, so that two tests don't meet.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.rejected.labels(reason="not_json").inc()
    >>> metrics.registry.get_sample_value("streamdrift_rejected_total", {"reason": "not_json"})
    1.0
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # A `_created` series beside each counter doubles them and tells nobody anything.
        disable_created_metrics()  # type: ignore[no-untyped-call] # the client leaves it unannotated
        self.registry = CollectorRegistry() if registry is None else registry
        ProcessCollector(registry=self.registry)
        self.events = self._counter("events", "Events that went through a stage.", "stage")
        self.rejected = self._counter("rejected", "Messages sent to the dead letters.", "reason")
        self.baseline = self._counter("baseline_events", "Events of the recorded baseline.", "outcome")
        self.values_invalid = self._counter("values_invalid", "Feature values that no detector was fed.", "reason")
        self.alerts = self._counter("alerts", "Alerts published.", "kind", "status")
        self.labels = self._counter("labels", "Delayed labels, by what became of them.", "outcome")
        self.predictions_kept = self._gauge("predictions_kept", "Predictions kept for their labels.")
        self.series = self._gauge("series", "Series held in memory.")
        self.withheld = self._counter(
            "alerts_withheld", "Changes like those that came and went before: nobody was told."
        )
        self.held_back = self._gauge("series_held_back", "Series whose reference is too short for what they do.")
        self.limit_hits = self._counter("limit_hits", "Times a limit of the settings was reached.", "limit")
        self.lag = self._gauge("lag_records", "Records on the broker that are not yet polled.", "topic", "partition")
        self.stage_seconds = Histogram(
            "streamdrift_stage_seconds",
            "Time one batch took in a stage.",
            ["stage"],
            registry=self.registry,
            buckets=STAGE_BUCKETS_S,
        )
        self.replayed = self._counter("replayed", "Records read again, muted, to rebuild state.")
        self.state_discarded = self._counter("state_discarded", "State that could not be taken up.", "reason")
        self.duplicates = self._counter("duplicates", "Records left out because they were seen before.", "stage")
        self.commits = self._counter("commits", "Commits of consumed offsets.", "stage")
        self.transactions = self._counter("transactions", "Kafka transactions, by how they ended.", "stage", "outcome")
        self.state_records = self._counter("state_records", "Records written to the topic of state.", "stage")
        self.state_bytes = self._counter("state_bytes", "Bytes written to the topic of state.", "stage")
        self.restores = Histogram(
            "streamdrift_restore_seconds",
            "Time it took to read one partition's state from its topic and take it up.",
            ["stage"],
            registry=self.registry,
            buckets=RESTORE_BUCKETS_S,
        )
        self.last_processed = self._gauge(
            "last_record_processed_timestamp_seconds",
            "When a stage last finished a batch, seconds since the epoch.",
            "stage",
        )
        self.incidents = self._counter("incidents", "Decisions on incidents.", "action", "reason")
        self.deliveries = self._counter("deliveries", "Attempts to deliver a page.", "receiver", "outcome")
        self.mitigations = self._counter("mitigations", "Mitigations, by what became of them.", "action", "state")
        self.outbox = self._gauge("outbox_pending", "Pages that wait for delivery.")
        self.outbox_oldest = self._gauge("outbox_oldest_seconds", "Age of the page that has waited longest.")
        self.budget_left = self._gauge(
            "slo_budget_left", "Part of an objective's error budget that is left.", "objective"
        )
        self.burn_rate = self._gauge(
            "slo_burn_rate", "How fast an objective's error budget burns; 1 lasts its period.", "objective"
        )
        self.transport_errors = self._counter("transport_errors", "Faults of a transport, retried or not.", "transport")
        self.info = Info(
            "streamdrift_build",
            "What runs: version, engine, config_hash.",
            registry=self.registry,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"streamdrift_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"streamdrift_{name}", text, labels, registry=self.registry)
