"""What a run came to: as JSON, as a sentence, as a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from streamdrift import kernels
from streamdrift.embedded.incidents import IncidentBook
from streamdrift.embedded.run import EmbeddedRun
from streamdrift.escalate.suspects import upstream
from streamdrift.events.change import Change
from streamdrift.report import Delivery, RunReport
from streamdrift.report.words import title


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, and the seconds that it took."""

    run: EmbeddedRun
    book: IncidentBook
    seconds: float
    deliveries: Sequence[Delivery] = ()

    def counts(self) -> dict[str, Any]:
        """The fixed names of the contract, and what was refused by reason."""
        return {
            "events": self.run.events,
            "rejected": self._rejected,
            "alerts": self.run.alerts,
            "incidents": len(self.book.paged),
            "series": self.run.direct.bank.series,
            "seconds": round(self.seconds, 3),
            "rejected_by_reason": dict(sorted(self.run.rejected.items())),
            **({"labels": dict(sorted(self.run.direct.join.counts.items()))} if self.run.labels is not None else {}),
            "incidents_below_severity": self.book.noted,
            "config_hash": self.run.config_hash,
            "engine": kernels.engine(self.run.settings.engine).name,
        }

    def sentence(self) -> str:
        """The counts for people."""
        run, incidents = self.run, len(self.book.paged)
        refused = f", {self._rejected:,} rejected ({self._reasons()})" if self._rejected else ""
        speed = f"{run.events / self.seconds:,.0f} events/s" if self.seconds > 0 else ""
        noted = f" ({self.book.noted} more below the severity that pages)" if self.book.noted else ""
        return (
            f"{_count(run.events, 'event')}{refused}, {run.direct.bank.series:,} series in {self.seconds:.1f} s ({speed}): "
            f"{_count(run.alerts, 'alert')}, {_count(incidents, 'incident')}{noted}"
        )

    def report(self, heading: str, source: str, command: str, changes: Iterable[Change]) -> RunReport:
        """The report's data; upstream changes shortly before an incident stand in its notes as suspects."""
        known = list(changes)
        notes = []
        for report in self.book.reports():
            lead = title(report.incident.alerts[0])
            above = upstream(report.incident, known, known_since=min((change.time for change in known), default=None))
            notes += [f"{lead}: {told}" for told in above.sentences]
        if self.book.noted:
            notes.append(
                f"{self.book.noted} incidents are not shown: their alerts are below escalate.severity_min, and page nobody."
            )
        return RunReport(
            title=heading,
            generated_for=source,
            events=self.run.events,
            rejected=dict(sorted(self.run.rejected.items())),
            series=self.run.direct.bank.series,
            seconds=self.seconds,
            first_event=self.run.first_time or 0,
            last_event=self.run.watermark,
            incidents=self.book.reports(),
            deliveries=tuple(self.deliveries),
            config_hash=self.run.config_hash,
            engine=kernels.engine(self.run.settings.engine).name,
            command=command,
            notes=tuple(notes),
        )

    @property
    def _rejected(self) -> int:
        """Events and labels."""
        return sum(self.run.rejected.values())

    def _reasons(self) -> str:
        return ", ".join(f"{reason} {n:,}" for reason, n in sorted(self.run.rejected.items()))


def _count(n: int, one: str) -> str:
    return f"{n:,} {one if n == 1 else one + 's'}"
