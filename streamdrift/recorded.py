"""The recorded baseline: events from before, from which a new bank learns its reference windows.

They go the way of all events, decode, assemble, bank, and are told to nobody: no alert, no dead letter. A bank is given all
of them, also where it is one of many workers: which series will come to it is not known yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing

import structlog

from streamdrift.blocks.assemble import Assembler, DeadLetter
from streamdrift.detect.bank import Bank
from streamdrift.errors import InputProblem
from streamdrift.kernels.decode import assembler
from streamdrift.ports import Partition, Record
from streamdrift.records import as_of
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.files import FileSource

PLACE = Partition("recorded baseline")
"""A place of its own: the same file may be replayed as the live stream too."""
LINES_TOLD_MAX = 10
"""Bad lines that are logged one by one; all are counted."""


def learn_baseline(bank: Bank, settings: Settings, metrics: Metrics) -> Bank:
    """Feed a new bank the recorded baseline, where one is set; return it.

    Raises
    ------
    InputProblem
        It is missing, can't be read to its end, or has no event in it.
    """
    if settings.reference.baseline is None:
        return bank
    path = str(settings.reference.baseline)
    feed = _Feed(path, assembler(settings), bank)
    try:
        with closing(FileSource((path,), settings.max_event_bytes)) as source:
            while not source.exhausted():
                feed.take(source.poll(settings.block_events_max, 0.0))
    except InputProblem as e:
        raise InputProblem(f"the recorded baseline can't be used: {e}") from None
    bank.rejoin()
    metrics.baseline.labels("read").inc(feed.events)
    metrics.baseline.labels("rejected").inc(sum(feed.rejected.values()))
    feed.tell()
    if not feed.events:
        raise InputProblem(f"the recorded baseline {path} has no inference event in it; correct reference.baseline")
    return bank


class _Feed:
    def __init__(self, path: str, assembler: Assembler, bank: Bank) -> None:
        self._path, self._assembler, self._bank = path, assembler, bank
        self._log = structlog.get_logger("streamdrift")
        self.events = 0
        self.rejected: Counter[str] = Counter()

    def take(self, records: Sequence[Record]) -> None:
        self._assembler.add_many(as_of(records, PLACE))
        batch = self._assembler.take()
        self.events += batch.events
        self._bank.learn(batch.blocks)
        for letter in batch.rejected:
            self._refuse(letter)

    def _refuse(self, letter: DeadLetter) -> None:
        self.rejected[letter.reason] += 1
        if self.rejected.total() <= LINES_TOLD_MAX:
            where = f"{self._path} line {letter.record.offset}"
            self._log.warning("not an event; passed over", where=where, reason=letter.reason, detail=letter.detail)

    def tell(self) -> None:
        """Say how much there was; as a warning where lines were bad."""
        log = self._log.warning if self.rejected else self._log.info
        log(
            "baseline read",
            where=self._path,
            events=self.events,
            rejected=dict(self.rejected),
            series=self._bank.series,
        )
