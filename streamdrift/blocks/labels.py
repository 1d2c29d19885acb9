"""Delayed labels joined to their predictions by id: what was predicted against what came true.

Predictions and labels come in two streams that share no order, so one of a pair may be far ahead of the other. The rule:

- Rows come out in the order of the model's labels, whatever the events do meanwhile.
- The next label is let in as soon as its prediction is known. Is it not known, the label waits until the model's
  events have come to its ``observed_at``; then it is an orphan.
- By a log of blocks, events of several partitions, written by several workers, run side by side. So there a label of an
  unknown prediction waits for ``hold_s`` at least, and each partition that still brings events must have come to its time.
- No label waits in vain: not for partitions that brought no event for ``hold_s``, not for a time further ahead of the
  events than a prediction may be old, not when more than ``hold_events_max`` wait, and not when nothing comes any more.

All but the last follows from the two streams and the log's own times, so that reading them again gives the same rows.

After a restart records are read again, muted, and the two streams may come in another order than before. What comes of a label
was told before only if the label, its prediction and the record that let it in were all read before, and so were those of the
labels that it had to wait for: all others are told now.

A label that comes again is a duplicate. One that says something else, observed later, is a correction: it makes a further row,
``REVISIONS_MAX`` times at most, so that what was wrong of the model's performance is put right by evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from streamdrift.blocks.block import Block
from streamdrift.blocks.held import At, Held, ModelLabels, Outcome, Taken, outcomes_block
from streamdrift.blocks.measures import Prediction, class_name, measures
from streamdrift.blocks.waiting import Kept, Waiting
from streamdrift.ports import Spill
from streamdrift.settings import LabelSettings

REVISIONS_MAX = 3
"""Corrections of one label that count; a label service that can't make up its mind must not be heard more often than others."""


class LabelJoin:
    """Takes blocks of events and of labels, gives blocks of outcomes.

    Parameters
    ----------
    models_max
        Models whose labels are joined; those of further ones are passed over.
    spill
        Where predictions are that memory has no room for.

    Attributes
    ----------
    counts
        Labels by what became of them: ``joined``, ``revised``, ``duplicate``, ``orphan`` (its prediction was not seen, or is
        not kept any more), ``late`` (more than ``join_ttl_s`` after it), ``unusable`` (can't be compared with it).
        ``evicted`` counts predictions that had to leave before their time was up, of models that have labels at all.
    limits_hit
        How often a bound turned something away, by the bound's name.
    """

    def __init__(self, settings: LabelSettings, models_max: int, spill: Spill) -> None:
        self._ttl_ms, self._hold_ms = round(settings.join_ttl_s * 1000), round(settings.hold_s * 1000)
        self._kept_max, self._held_max = settings.join_events_max, settings.hold_events_max
        self._models_max = models_max
        self._kept = Waiting(settings.join_memory_max, spill)
        self._models: dict[str, ModelLabels] = {}
        self._holding: dict[str, ModelLabels] = {}
        self._held = 0
        self._times_here: Counter[str] = Counter()
        self._idle_since: int | None = None
        self.counts: Counter[str] = Counter()
        self.limits_hit: Counter[str] = Counter()

    @property
    def kept(self) -> int:
        """Predictions that are kept, answered ones included."""
        return len(self._kept)

    def update(self, blocks: Iterable[Block], at: At | None = None) -> list[Block]:
        """Take the blocks of one batch; return the rows that come of them, a block per model.

        Parameters
        ----------
        at
            Where and when the blocks were written, if they came by a log of blocks: the end of the waiting is told by it.
        """
        self._idle_since = None
        blocks = [block for block in blocks if len(block)]
        parts = [taken for block in blocks if (taken := self._taken(block, at)) is not None]
        rows = [(order, taken, row) for taken in parts for row, order in enumerate(taken.block.order.tolist())]
        if len(parts) > 1:
            rows.sort(key=lambda row: row[0])
        for order, taken, row in rows:
            if taken.block.stream == "truths":
                self._truth(taken, row, order)
            else:
                self._event(taken, row, order)
        touched = {taken.block.model: taken.model for taken in parts}
        if at is not None and blocks:
            touched |= self._tick(at, blocks[-1])
        return [outcomes_block(name, model) for name, model in touched.items() if model.outcomes]

    def knows(self, name: str) -> bool:
        """Whether anything of a model is kept here."""
        return name in self._models

    def forget(self, name: str) -> None:
        """Let a model go; should it come again, its predictions are not those that are kept: all are read once more."""
        model = self._models.pop(name, None)
        self._holding.pop(name, None)
        if model is not None:
            self._held -= len(model.held)
            self._times_here[name] += 1

    def idle(self, now_ms: int) -> list[Block]:
        """Nothing came and nothing waits in the log: after ``hold_s`` of that, let in the labels that are held."""
        if not self._holding:
            return []
        if self._idle_since is None:
            self._idle_since = now_ms
        return self.finish() if now_ms - self._idle_since >= self._hold_ms else []

    def finish(self) -> list[Block]:
        """Let in all labels that are held: no event will come."""
        ended = dict(self._holding)
        for model in ended.values():
            while model.held:
                self._let_in(model, self._kept.get(model.held[0].key), 0, muted=False)
        self._holding.clear()
        return [outcomes_block(name, model) for name, model in ended.items() if model.outcomes]

    def _taken(self, block: Block, at: At | None) -> Taken | None:
        """What was not seen before of a block, if anything of it is joined."""
        if block.segment or block.stream == "labels" or (block.stream == "events" and not block.facts):
            return None
        model = self._models.get(block.model)
        if model is None:
            if len(self._models) >= self._models_max:
                self.limits_hit["series_max"] += 1
                return None
            model = self._models[block.model] = ModelLabels()
        fresh = (model.truths if block.stream == "truths" else model.events).rows(block)
        if not len(fresh):
            return None
        if at is not None:
            model.came(fresh, at)
        return Taken(model, fresh)

    def _event(self, taken: Taken, row: int, order: int) -> None:
        model, time, muted = taken.model, taken.times[row], taken.muted[row]
        model.watermark = max(model.watermark, time)
        fact, key = taken.block.facts[row], None
        if fact is not None:
            name, *prediction = fact
            key = self._key(taken.block.model, name)
            stub = orjson.dumps([taken.block.versions.at(row), taken.segments(row), *prediction])
            self._keep(key, Kept(time, stub, muted))
        if model.held and (model.held[0].key == key or self._is_due(model)):
            self._release(taken.block.model, model, order, muted=muted)

    def _key(self, model: str, name: str) -> bytes:
        times = self._times_here.get(model, 0)
        return _key(model, f"\0{times}\0{name}" if times else name)

    def _keep(self, key: bytes, kept: Kept) -> None:
        """Keep a prediction; one that comes again replaces the one that waits, but none that is answered."""
        known = self._kept.get(key)
        if known is not None:
            if not known.answer:
                self._kept.replace(key, kept)
            return
        self._kept.add(key, kept)
        if len(self._kept) > self._kept_max:
            left, gone = self._kept.pop_oldest()
            model = self._models.get(_model_of(left))
            if gone.answer or kept.muted or model is None or not model.labelled:  # nobody asks for it
                return
            if model.watermark - gone.time <= self._ttl_ms:
                self.counts["evicted"] += 1
                self.limits_hit["join_events_max"] += 1

    def _truth(self, taken: Taken, row: int, order: int) -> None:
        block, model, muted = taken.block, taken.model, taken.muted[row]
        name, truth, numeric, prediction, segments = block.facts[row]
        key, inline = self._key(block.model, name), None if prediction is None else _prediction(prediction)
        model.held.append(
            Held(key, taken.times[row], taken.places[row], truth, numeric, inline, segments, model.now, muted)
        )
        self._held += 1
        model.labelled = True
        self._holding[block.model] = model
        self._release(block.model, model, order, muted=muted)
        while self._held > self._held_max and model.held:
            self.limits_hit["hold_events_max"] += not muted
            self._let_in(model, self._kept.get(model.held[0].key), order, muted=muted)
            self._release(block.model, model, order, muted=muted)

    def _release(self, name: str, model: ModelLabels, order: int, *, muted: bool) -> None:
        """Let in labels up to the first that has to wait."""
        while model.held:
            head = model.held[0]
            kept = self._kept.get(head.key)
            if kept is None and head.prediction is None and not self._is_due(model):
                return
            self._let_in(model, kept, order, muted=muted)
        self._holding.pop(name, None)

    def _is_due(self, model: ModelLabels) -> bool:
        """Whether the first label that waits must not wait for its prediction any longer."""
        head, now = model.held[0], model.now
        if now is None or head.since is None:
            ahead = head.time - model.watermark
            return ahead <= 0 or (model.watermark >= 0 and ahead > self._ttl_ms)
        if now - head.since < self._hold_ms:
            return False
        running = [latest for latest, last in model.sources.values() if now - last < self._hold_ms]
        return not any(latest < head.time <= latest + self._ttl_ms for latest in running)

    def _tick(self, at: At, block: Block) -> dict[str, ModelLabels]:
        """Let in the labels that need not wait any longer by the log of this block; return their models."""
        log, now = at
        order, muted, touched = int(block.order[-1]), bool(block.muted[-1]), {}
        for name, model in list(self._holding.items()):
            if model.log == log:
                model.now = now
                self._release(name, model, order, muted=muted)
                touched[name] = model
        return touched

    def _let_in(self, model: ModelLabels, kept: Kept | None, order: int, *, muted: bool) -> None:
        held = model.held.popleft()
        self._held -= 1
        muted = muted and held.muted and (kept is None or kept.muted) and held.source[0] not in model.untold
        if not muted:
            model.untold.add(held.source[0])
        found, outcome = self._join(held, kept, order, muted=muted)
        if outcome is not None:
            model.outcomes.append(outcome)
        self.counts[found] += not muted

    def _join(self, held: Held, kept: Kept | None, order: int, *, muted: bool) -> tuple[str, Outcome | None]:
        """Return what becomes of a label, by name, and the row that it makes."""
        if kept is None and held.prediction is None:
            return "orphan", None
        if kept is not None and held.prediction is None and held.time - kept.time > self._ttl_ms:
            return "late", None
        revisions = 0
        if kept is not None and kept.answer:
            observed, truth, revisions = orjson.loads(kept.answer)
            if held.time <= observed or revisions >= REVISIONS_MAX or truth == _told(held):
                return "duplicate", None
            revisions += 1
        version, segments, prediction = _compared(held, kept)
        found = measures(prediction, held.truth, numeric=held.numeric)
        if not found:
            return "unusable", None
        self._answer(held, kept, revisions, muted=muted)
        return "revised" if revisions else "joined", Outcome(order, muted, held, version, segments, found)

    def _answer(self, held: Held, kept: Kept | None, revisions: int, *, muted: bool) -> None:
        answer = orjson.dumps([held.time, _told(held), revisions])
        if kept is None:  # it brought its prediction along, and is remembered so that it counts once
            self._keep(held.key, Kept(held.time, b"", muted, answer))
        else:
            self._kept.replace(held.key, Kept(kept.time, kept.stub, kept.muted, answer))


def _compared(held: Held, kept: Kept | None) -> tuple[str | None, dict[str, str], Prediction]:
    """Version, segments and prediction that a label is about; what it brought along goes first."""
    if held.prediction is not None or kept is None or not kept.stub:
        return None, held.segments, held.prediction or (None, None, {})
    version, segments, *prediction = orjson.loads(kept.stub)
    return version, segments, _prediction(prediction)


def _told(held: Held) -> str:
    return class_name(held.truth)


def _prediction(fact: Sequence[Any]) -> Prediction:
    label, score, shares = fact
    return label, score, shares


def _key(model: str, name: str) -> bytes:
    return f"{len(model)}:{model}{name}".encode("utf-8", "surrogatepass")


def _model_of(key: bytes) -> str:
    length, _, rest = key.decode("utf-8", "surrogatepass").partition(":")
    return rest[: int(length)]
