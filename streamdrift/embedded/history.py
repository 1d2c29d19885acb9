"""A history that is read several times, each time through one or more banks at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from streamdrift.alerts import Alert
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.block import Block
from streamdrift.detect.bank import Bank
from streamdrift.embedded.run import EmbeddedRun
from streamdrift.pipeline import Direct, dead_letters
from streamdrift.ports import Source
from streamdrift.settings import Settings
from streamdrift.telemetry import Metrics
from streamdrift.transports.files import FileSink, FileSource
from streamdrift.tune.findings import Seen
from streamdrift.worker import Output


@dataclass(frozen=True, slots=True)
class History:
    """Recorded events, and how to read them from their beginning.

    Attributes
    ----------
    name
        For people.
    source
        Opens it anew.
    labels
        File of delayed labels.
    model
        The only model that is looked at; None for all.
    """

    name: str
    source: Callable[[], Source]
    labels: str | None = None
    model: str | None = None


Told = Callable[[int, int, Sequence[Alert]], None]
"""Takes the bank's number, the batch's, and the alerts, in event order; called for every batch, also where there are none."""


class Banks(Direct):
    """Decodes once, detects with every bank. Banks share the blocks, and change nothing in them."""

    def __init__(
        self, settings: Settings, assembler: Assembler, banks: Sequence[Bank], told: Told, model: str | None = None
    ) -> None:
        super().__init__(settings, "", Metrics(), assembler, bank=banks[0])
        self._tree, self._banks, self._tell, self._model = settings, banks, told, model
        self._batch = 0
        self.seen: dict[str, Seen] = {}

    def take(self, *, last: bool = False) -> Output:
        """Return the dead letters of all that was added to the assembler; alerts are told."""
        batch = self.assembler.take()
        joined = self.join.update(batch.blocks)
        found = [*(block for block in batch.blocks if block.stream == "events"), *joined]
        for blocks in (found, self.join.finish()) if last else (found,):
            wanted = [block for block in blocks if self._model in {None, block.model}]
            for block in wanted:
                self._see(block)
            for number, bank in enumerate(self._banks):
                self._tell(number, self._batch, bank.update(wanted))
            self._batch += 1
        return Output(dead_letters(batch.rejected, self._tree))

    def _see(self, block: Block) -> None:
        if block.stream == "events":
            seen = self.seen.setdefault(block.model, Seen())
            seen.take(int(block.time.min()), int(block.time.max()), len(block))


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one reading came to."""

    seen: dict[str, Seen]
    events: int
    rejected: dict[str, int] = field(default_factory=dict)


def read(
    history: History,
    settings: Settings,
    banks: Sequence[Bank],
    told: Told,
    progress: Callable[[int, int], None] = lambda _n, _time: None,
) -> Replayed:
    """Read a history from its beginning to its end."""
    with ExitStack() as stack:
        source = stack.enter_context(closing(history.source()))
        labels = None
        if history.labels is not None:
            labels = stack.enter_context(closing(FileSource((history.labels,), settings.max_event_bytes)))
        made: list[Banks] = []

        def stage(assembler: Assembler) -> Direct:
            made.append(Banks(settings, assembler, banks, told, history.model))
            return made[0]

        sink = stack.enter_context(closing(FileSink({})))
        run = EmbeddedRun(settings, "", Metrics(), sink, lambda _alerts: None, progress, labels, stage)
        run.run(source)
        run.finish()
    return Replayed(made[0].seen, run.events, run.rejected)
