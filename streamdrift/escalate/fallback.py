"""Pages that were given up are told by another way: through the receiver that ``escalate.fallback`` names.

What is dead and not yet reported is looked for in the ledger, whatever made it so: a receiver's refusal, too many attempts, a full
outbox, a receiver that is no longer set up. The report goes into the outbox in the transaction that marks it as reported, so a
crash neither loses it nor tells it twice.
"""

from __future__ import annotations

import orjson
from structlog.typing import FilteringBoundLogger

from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.outbox_rows import Dead
from streamdrift.escalate.words import named
from streamdrift.ports import Clock

REPORTS_PER_STEP_MAX = 100
"""Dead deliveries looked at in one step of the worker; the others wait for the next."""
OUTCOME_LENGTH_MAX = 80
"""Of the other receiver's answer, before the headline."""


class Fallback:
    """Reports what is dead.

    Parameters
    ----------
    receiver
        Name of the one that is told; without, what is dead is on the timeline, in the log and in the metrics alone.
    """

    def __init__(self, ledger: Ledger, receiver: str | None, clock: Clock, log: FilteringBoundLogger) -> None:
        self._ledger, self._receiver, self._clock, self._log = ledger, receiver, clock, log

    def report(self) -> int:
        """Report what is dead since the last time; return how many reports wait for delivery by that."""
        if self._receiver is None or not self._ledger.outbox.unreported(1):
            return 0
        reports = 0
        with self._ledger.transaction():
            for dead in self._ledger.outbox.unreported(REPORTS_PER_STEP_MAX):
                reports += self._report(dead, self._receiver)
        return reports

    def _report(self, dead: Dead, receiver: str) -> bool:
        """An end or a post-mortem that was not told, and a page whose incident is over or which a later one stands for, need nobody."""
        outbox = self._ledger.outbox
        outbox.reported(dead)
        if dead.action != "trigger" or dead.kept_back is not None or dead.receiver == receiver or dead.is_postmortem:
            return False
        told = orjson.loads(outbox.payload(dead))
        why = named(dead.outcome, OUTCOME_LENGTH_MAX)
        told["headline"] = f"not delivered to {dead.receiver} ({why}): {told['headline']}"
        outbox.report(dead, receiver, orjson.dumps(told), self._clock.now())
        self._log.warning(
            "a dead page is reported", receiver=receiver, dead=dead.receiver, incident=dead.incident_id, reason=why
        )
        return True
