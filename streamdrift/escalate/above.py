"""What the ledger knows of what is upstream of an incident: changes, and sources that are not as they should be."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from streamdrift.escalate.incident import Incident
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.sources import suspected
from streamdrift.escalate.suspects import Upstream, upstream
from streamdrift.settings import SourceSettings


def above(
    ledger: Ledger, incident: Incident, alarmed: Collection[str], sources: Mapping[str, SourceSettings], now: float
) -> Upstream:
    """Return what is to be said of it.

    Parameters
    ----------
    alarmed
        Models with an incident that is open.
    now
        Seconds since the epoch.
    """
    changes = ledger.changes
    wrong = suspected(incident, sources, ledger.source_reports.of, round(now * 1000), alarmed)
    return upstream(incident, changes.before(incident.onset_at), alarmed, changes.known_since(), wrong)
