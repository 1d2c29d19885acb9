"""What the core counts, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import structlog

from streamdrift.alerts import Alert
from streamdrift.blocks.assemble import Batch, DeadLetter
from streamdrift.blocks.labels import LabelJoin
from streamdrift.detect.bank import Bank
from streamdrift.telemetry import Metrics


class Counters:
    """Carries the counts of the core, which knows no metrics, over to the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._invalid: Counter[str] = Counter()
        self._limits: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._join_limits: Counter[str] = Counter()
        self._duplicates = self._withheld = 0
        self._uncategorical = 0

    def batch(self, stage: str, batch: Batch) -> None:
        """Count a batch's events and dead letters."""
        self.rows(stage, batch.events, batch.muted)
        self.dead(batch.rejected)
        for limit, n in batch.limits_hit.items():
            self._metrics.limit_hits.labels(limit).inc(n)

    def rows(self, stage: str, n: int, muted: int) -> None:
        """Count rows, and how many of them only rebuilt state."""
        self._metrics.events.labels(stage).inc(n)
        self._metrics.replayed.inc(muted)

    def dead(self, rejected: Iterable[DeadLetter]) -> None:
        """Count dead letters by reason."""
        for letter in rejected:
            if not letter.record.replayed:
                self._metrics.rejected.labels(letter.reason).inc()

    def alerts(self, alerts: Iterable[Alert]) -> None:
        """Count alerts by kind and status."""
        for alert in alerts:
            self._metrics.alerts.labels(alert.kind, alert.status).inc()

    def bank(self, bank: Bank) -> None:
        """Count what the bank refused since the last time."""
        self._metrics.series.set(bank.series)
        self._metrics.held_back.set(bank.states["held_back"])
        self._metrics.withheld.inc(bank.states["withheld"] - self._withheld)
        self._withheld = bank.states["withheld"]
        for reason, n in (bank.invalid - self._invalid).items():
            self._metrics.values_invalid.labels(reason).inc(n)
        for limit, n in (bank.limits_hit - self._limits).items():
            self._metrics.limit_hits.labels(limit).inc(n)
        self._metrics.duplicates.labels("detect").inc(bank.duplicates - self._duplicates)
        for model, feature in bank.uncategorical[self._uncategorical :]:
            structlog.get_logger("streamdrift").warning(
                "too many categories",
                model=model,
                feature=feature,
                advice="if it is free text, name it in free_text; if it is an id, an override with enabled=false leaves it out",
            )
        self._uncategorical = len(bank.uncategorical)
        self._invalid, self._limits, self._duplicates = bank.invalid.copy(), bank.limits_hit.copy(), bank.duplicates

    def join(self, join: LabelJoin) -> None:
        """Count what became of labels since the last time."""
        self._metrics.predictions_kept.set(join.kept)
        for outcome, n in (join.counts - self._labels).items():
            self._metrics.labels.labels(outcome).inc(n)
        for limit, n in (join.limits_hit - self._join_limits).items():
            self._metrics.limit_hits.labels(limit).inc(n)
        self._labels, self._join_limits = join.counts.copy(), join.limits_hit.copy()
