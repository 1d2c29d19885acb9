"""Learning: gathers a series' first values until there are enough for its reference window.

There are enough with ``reference.events`` clean values; or, for a segment or a feature that comes less often, when the model
has had that many events and the series at least ``reference.segment_events`` values: they cover the same span of time as
the reference of all traffic, and so the same days and nights. A window that is too short for what the series does (its
values say too little by their dependence, or it still wanders at the longest spans) is held back, and learning goes on:
with twice the values, and so on up to ``reference.events``. Its missing and invalid values are watched in the meantime.

Slow traffic would wait for weeks: so a first look is taken at ``reference.first_events`` events of the model, once they span
``FIRST_SPAN_MS``. It stands until there is a full reference window, and is kept if an alert is open by then: what may be a drift
must not become what is normal.

The kind of the feature is what most of its first 64 values are; values of other kinds are invalid from the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamdrift.blocks.column import ABSENT, BOOLEAN, NULL, NUMBER, TEXT, Bools, Bytes, Column, Floats, Ints
from streamdrift.detect import baseline
from streamdrift.detect.baseline import OTHER, Reference
from streamdrift.detect.calibration import INDEPENDENT_MAX, Calibration, calibrate, score_table
from streamdrift.detect.clock import ClockProfile, fit

KIND_VALUES = 64
"""Values that decide what kind a feature is."""
ROWS_PER_VALUE = 4
"""Rows, per value asked for, after which a mostly empty feature has to do with the values that came."""
VALUES_MIN = 100
"""Least values for a reference; a feature with fewer has only its missing and invalid values watched."""
SIZE_MIN = 100.0
"""Independent values that a shorter reference must be worth."""
PIECE_ROWS = 512
"""Rows of a piece, by which what was gathered is put away: a full one once."""
FIRST_SPAN_MS = 3 * 86_400_000
"""Time that a first look spans at least: a single day says nothing of how days differ."""


@dataclass(slots=True, eq=False)
class Piece:
    """(r,) rows that were gathered, column by column. Full ones change no more."""

    kinds: Bytes
    numbers: Floats
    ages: Ints
    times: Ints

    def rows(self, begin: int, end: int) -> Piece:
        """Return a copy of some rows."""
        part = slice(begin, end)
        return Piece(
            self.kinds[part].copy(), self.numbers[part].copy(), self.ages[part].copy(), self.times[part].copy()
        )


@dataclass(slots=True)
class Learned:
    """What is known of the series at the end of a row.

    Attributes
    ----------
    rows
        Rows of the last column up to that row.
    missing, invalid
        (n,) flags of the rows that were gathered.
    reference, calibration, clock
        None where values are held back, or were too few.
    values
        (k,) the reference's values in event order.
    times
        (k,) their event times.
    done
        False where learning goes on.
    first
        Whether it is the first look, which a full window replaces.
    """

    kind: int
    rows: int
    missing: Bools
    invalid: Bools
    reference: Reference | None = None
    calibration: Calibration | None = None
    clock: ClockProfile | None = None
    values: Floats | None = None
    times: Ints | None = None
    done: bool = True
    first: bool = False


class Learning:
    """Gathers columns. ``rows`` counts from the first row that has the feature at all.

    Parameters
    ----------
    wanted
        Values of a full reference window, and events of the model that a shorter one must span.
    least
        Values of a shorter one, at least.
    first
        Events of the model that a first look takes.
    """

    def __init__(self, wanted: int, least: int, first: int, categories_max: int) -> None:
        self._wanted, self._first, self._categories_max = wanted, first, categories_max
        self._target = min(max(least, VALUES_MIN), wanted)
        self._bound = wanted * ROWS_PER_VALUE
        self._kinds: list[Bytes] = []
        self._numbers: list[Floats] = []
        self._ages: list[Ints] = []
        self._times: list[Ints] = []
        self._pieces: list[Piece] = []
        self._texts: dict[str, int] = {}
        self._begun = False
        self.rows = 0
        self._present = 0
        self._began: int | None = None
        self._latest = 0

    def add(self, column: Column, ages: Ints, times: Ints) -> list[Learned]:
        """Take a column, with each row's event time and the events that the model had had since the series began.

        Returns what is now known: nothing yet, that values are held back, the reference window, or the last two.
        """
        kinds = column.kind_of_rows()
        before = self.rows
        self._kinds.append(kinds)
        self._numbers.append(self._coded(column))
        self._ages.append(ages)
        self._times.append(times)
        self.rows += len(column)
        self._present += int((kinds > NULL).sum())
        self._latest = max(self._latest, int(times.max()))
        self._began = int(times[0]) if self._began is None else self._began
        early = self._first < self._wanted and self._latest - self._began >= FIRST_SPAN_MS
        spans = self._present >= self._target and int(ages[-1]) >= (self._first if early else self._wanted)
        if not spans and self._present < self._wanted and self.rows < self._bound:
            return []
        return self._look(before)

    def pieces(self) -> list[Piece]:
        """Return all that was gathered; the full pieces are the same each time, behind them stand the rows that are left."""
        if not self._kinds:
            return []
        whole = Piece(
            np.concatenate(self._kinds),
            np.concatenate(self._numbers),
            np.concatenate(self._ages),
            np.concatenate(self._times),
        )
        for begin in range(len(self._pieces) * PIECE_ROWS, self.rows - PIECE_ROWS + 1, PIECE_ROWS):
            self._pieces.append(whole.rows(begin, begin + PIECE_ROWS))
        done = len(self._pieces) * PIECE_ROWS
        rest = [whole.rows(done, self.rows)] if done < self.rows else []
        self.adopt([*self._pieces, *rest])
        return [*self._pieces, *rest]

    def adopt(self, pieces: list[Piece]) -> None:
        """Go on with what was gathered."""
        self._kinds, self._numbers = [piece.kinds for piece in pieces], [piece.numbers for piece in pieces]
        self._ages, self._times = [piece.ages for piece in pieces], [piece.times for piece in pieces]
        self._pieces = [piece for piece in pieces if len(piece.kinds) == PIECE_ROWS]

    def _coded(self, column: Column) -> Floats:
        """The numbers, with texts as indices into the series' own list of them."""
        if column.codes is None:
            return column.numbers
        own = np.zeros(len(column.texts) + 1)
        codes, first = np.unique(column.codes, return_index=True)
        for code in codes[
            np.argsort(first)
        ].tolist():  # in order of appearance: what is told apart must not hang on blocks
            own[code] = self._code(column.texts[code]) if code >= 0 else 0.0
        return np.where(column.codes >= 0, own[column.codes], column.numbers)

    def _code(self, text: str) -> int:
        if text in self._texts or len(self._texts) < self._categories_max:
            return self._texts.setdefault(text, len(self._texts))
        return self._texts.get(OTHER, self._categories_max)  # a category of that name is one of them

    def _look(self, before: int) -> list[Learned]:
        kinds, ages = np.concatenate(self._kinds), np.concatenate(self._ages)
        self._kinds, self._ages = [kinds], [ages]
        self._numbers, self._times = [np.concatenate(self._numbers)], [np.concatenate(self._times)]
        early = kinds[: self._bound]
        kind = _majority(early[early > NULL][:KIND_VALUES])
        clean = kinds == kind
        counted = np.cumsum(clean)
        found = self._look_early(before, kind, clean, counted)
        while (end := self._end(counted, ages)) is not None:
            learned = self._learned(kind, end, before, clean[:end])
            learned.done = learned.reference is not None or int(counted[end - 1]) >= self._wanted or end >= self._bound
            if learned.done or not self._begun:
                found.append(learned)
                self._begun = True
            if learned.done:
                break
            self._target = min(2 * max(int(counted[end - 1]), self._target), self._wanted)
        return found

    def _look_early(self, before: int, kind: int, clean: Bools, counted: Ints) -> list[Learned]:
        """Take the first look where it is due, before any other; later again where it was worth too little."""
        ages, times = self._ages[0], self._times[0]
        full = self._end(counted, ages) or len(ages) + 1
        spans = np.maximum.accumulate(times) - times[0] >= FIRST_SPAN_MS
        while self._first < self._wanted and not self._begun:
            ready = np.flatnonzero(spans & (ages >= self._first) & (counted >= self._target))
            if not len(ready) or not before <= ready[0] < full - 1:
                return []
            end = int(ready[0]) + 1
            learned = self._learned(kind, end, before, clean[:end])
            learned.done, learned.first = False, True
            self._first = 2 * int(ages[end - 1]) if learned.reference is None else self._wanted
            if learned.reference is not None:
                return [learned]
        return []

    def _end(self, counted: Ints, ages: Ints) -> int | None:
        """Number of rows up to which the series is looked at next; None where they have not all come."""
        ready = (counted >= self._wanted) | ((ages >= self._wanted) & (counted >= self._target))
        first = int(np.argmax(ready)) if ready.any() else len(ready)
        end = min(first + 1, self._bound)
        return end if end <= len(ready) else None

    def _learned(self, kind: int, end: int, before: int, clean: Bools) -> Learned:
        """What the first ``end`` rows tell, of which these have clean values."""
        missing = self._kinds[0][:end] <= NULL
        learned = Learned(kind, end - before, missing, ~clean & ~missing)
        self._learn(learned, self._numbers[0][:end][clean], self._times[0][:end][clean])
        return learned

    def _learn(self, learned: Learned, values: Floats, times: Ints) -> None:
        if len(values) < min(VALUES_MIN, self._wanted):
            return
        texts = [*self._texts] if OTHER in self._texts else [*self._texts, OTHER]
        unknown = OTHER if len(self._texts) >= self._categories_max else None
        reference, values = baseline.build(learned.kind, values, texts, float(learned.missing.mean()), unknown)
        calibration, clock = calibrated(reference, values, times)
        full = len(values) >= self._wanted or len(learned.missing) >= self._bound
        reference.is_short = not full and reference.n > INDEPENDENT_MAX * calibration.worth
        if full or calibration.worth >= SIZE_MIN:
            learned.reference, learned.calibration, learned.clock = reference, calibration, clock
            learned.values, learned.times = values, times


def calibrated(reference: Reference, values: Floats, times: Ints) -> tuple[Calibration, ClockProfile | None]:
    """Return what is normal for a reference's (n,) values at their event times, and their course over the day, if any."""
    scores = score_table(reference.n)[reference.rank(reference.held_out(values))]
    clock = fit(scores, times)
    if clock is None:
        return calibrate(scores), None
    return calibrate(scores - clock.at(times), clock.parameters, clock.day_events), clock


def _majority(kinds: Bytes) -> int:
    counts = {kind: int((kinds == kind).sum()) for kind in (NUMBER, TEXT, BOOLEAN)}
    return max(counts, key=lambda kind: counts[kind])


def first_present(column: Column) -> int:
    """Index of the first row that has the feature's key; the number of rows where none has."""
    if column.kinds is None:
        return 0
    present = np.flatnonzero(column.kinds != ABSENT)
    return int(present[0]) if len(present) else len(column)
