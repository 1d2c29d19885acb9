"""Model versions: what a model makes is compared with what the same version made, and a new version with the one before.

Predictions and errors come from the model itself, so that a new ``model.version`` may change them without anything being
wrong with the data; and a canary mixes two versions in one stream. So each version has a series of its own, with its own
reference window. When a new version's reference is complete, it is compared with that of the version before it. An alert
says that they differ if the difference is more than both samples leave to chance, and large enough to matter; it is
resolved as ``standing`` has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import ABSENT, Column, Ints
from streamdrift.detect import explain
from streamdrift.detect.compared import compared
from streamdrift.detect.explain import Change
from streamdrift.detect.quiet import Quiet
from streamdrift.detect.rebaseline import Order, closing
from streamdrift.detect.series import Crowded, Known, Rows, Series
from streamdrift.detect.standing import Standing, Tell
from streamdrift.detect.withdrawal import QUIET_ROWS, gone_at, spells

ROLES = frozenset({"prediction", "performance"})
"""What a model makes; its inputs are the same whatever its version."""
VERSIONS_MAX = 4
"""Versions of one feature that are watched side by side."""
LIMIT = "model_versions_max"


@dataclass(slots=True, eq=False)
class _Version:
    """One version's series; None where there was no room for it.

    Attributes
    ----------
    since, first
        Event time and number of its first row.
    latest
        Number of its latest row.
    before
        The version to compare it with, until that is done.
    learned_at
        Row of this update at which its reference was complete.
    standing
        That it differs from the version before, while that stands; ``told_at`` is the row of this update that told it.
    until
        Number of the row at which it gave its place to another; None while it has it.
    """

    name: str
    series: Series | None
    since: int
    first: int
    latest: int
    before: _Version | None
    learned_at: int = -1
    standing: Standing | None = None
    told_at: int = -1
    until: int | None = None


class Versions:
    """The series of one feature, one per version. Fed as a ``Series`` is.

    Parameters
    ----------
    first
        The series of the first version.
    make
        Returns the series of a further version, given the suffix of its name; None where there is no room.
    release
        Told that a series was let go.
    """

    def __init__(
        self,
        first: Series,
        make: Callable[[str], Series | None],
        release: Callable[[], None],
        limits_hit: Counter[str],
    ) -> None:
        self._first: Series | None = first
        self._make, self._release, self._limits_hit = make, release, limits_hit
        self._of: dict[str, _Version] = {}
        self._evicted: list[_Version] = []
        self._rows = 0

    def made_by(self, make: Callable[[str], Series | None]) -> None:
        """Have the series of further versions made so."""
        self._make = make

    @property
    def count(self) -> int:
        """Series that are held, that of a version to come included."""
        return len(self.all()) + (self._first is not None)

    def all(self) -> list[Series]:
        """The series of every version."""
        return [version.series for version in self._of.values() if version.series is not None]

    def awaited(self, names: set[str]) -> int:
        """How many series it may come to want for events of these versions."""
        return min(len(names - self._of.keys()), VERSIONS_MAX - self.count)

    @property
    def heat(self) -> float | None:
        """How far the version farthest from its reference is; None while all learn."""
        heats = [series.heat for series in self.all()]
        return max((heat for heat in heats if heat is not None), default=None)

    @property
    def crowded(self) -> Crowded | None:
        """As a series has it: of the first version that says so."""
        return next((v.series.crowded for v in self._of.values() if v.series is not None and v.series.crowded), None)

    @crowded.setter
    def crowded(self, told: Crowded | None) -> None:
        for version in self._of.values():
            if version.series is not None:
                version.series.crowded = told

    def forget(self, block: Block, order: Order, share: float) -> list[Alert]:
        """Let every version learn anew."""
        alerts: list[Alert] = []
        for version in self._of.values():
            if version.standing is not None and version.standing.alert is not None and version.series is not None:
                opened, identity = [("", version.standing.alert)], version.series.identity
                closed = closing(opened, identity, order, block, version.series.seen, share)
                alerts += [_named(alert, version) for alert in closed]
            version.standing = None
        return alerts + [alert for one in self.all() for alert in one.forget(block, order, share)]

    def lend(self, rows: Block) -> Quiet | None:
        """As a series does, where there is one version, and all rows are its."""
        if len(self._of) != 1 or self._evicted:
            return None
        (only,) = self._of.values()
        codes = rows.versions.codes
        if only.series is None or only.standing is not None or (rows.versions.at(0) or "") != only.name:
            return None
        return only.series.lend(rows) if (codes == codes[0]).all() else None

    def took(self, taken: int, rows: int) -> None:
        """As of a series."""
        (only,) = self.all()
        only.took(taken, rows)
        if taken == rows:
            self._rows += rows
            next(iter(self._of.values())).latest = self._rows - 1

    def update(self, rows: Rows, column: Column, taken: int | None = None) -> list[tuple[int, Alert]]:
        """Take the rows' values, each to its version's series; see ``Series.update``."""
        told: list[tuple[int, Alert]] = []
        first, latest = self._rows, {id(version): version.latest for version in self._of.values()}
        owned = self._owned(rows.block, column)
        for version, mine in owned:
            told += self._feed(version, mine, latest.get(id(version)), rows, column, taken)
        served = {id(version) for version, _ in owned}
        for version in (*self._evicted, *self._of.values()):
            if id(version) not in served:
                told += self._gone(version, version.latest, self._rows, rows, first)
        for version, mine in owned:
            told += self._compare(version, mine, rows, first)
        told += self._stand(owned, rows, column, first)
        for version, _ in owned:
            version.learned_at = -1
        return told

    def _feed(
        self, version: _Version, mine: Ints, latest: int | None, rows: Rows, column: Column, taken: int | None
    ) -> list[tuple[int, Alert]]:
        """Give a version its rows, those behind a long absence as what comes after it; ``latest`` numbers its row before."""
        first = self._rows - len(column)
        numbers = first + mine
        before = int(numbers[0]) if latest is None else latest
        told: list[tuple[int, Alert]] = []
        for i, spell in enumerate(spells(numbers, before)):
            told += self._gone(version, before, int(spell[0]), rows, first) if i else []
            if len(spell):
                told += self._give(version, spell - first, rows, column, taken)
                before = int(spell[-1])
        return told + self._gone(version, before, self._rows, rows, first)

    @staticmethod
    def _give(version: _Version, mine: Ints, rows: Rows, column: Column, taken: int | None) -> list[tuple[int, Alert]]:
        if version.series is None:
            return []
        whole = len(mine) == len(column)
        found = version.series.update(*((rows, column, taken) if whole else (rows.of(mine), column.take(mine))))
        if version.series.learned_at is not None:
            version.learned_at = int(mine[version.series.learned_at])
        return [(int(mine[row]), alert) for row, alert in found]

    @staticmethod
    def _gone(version: _Version, latest: int, end: int, rows: Rows, first: int) -> list[tuple[int, Alert]]:
        """End what a version's series has told, where it serves no longer by the rows up to before number ``end``."""
        series = version.series
        if series is None or not series.has_told:
            return []
        until = end if version.until is None else min(end, version.until)
        at = gone_at(latest, (latest - version.first + 1) / max(1, series.seen), until)
        if at is None and until == version.until:
            at = until  # its place is another's
        if at is None:
            return []
        row = max(0, at - first)
        return [(row, _named(alert, version)) for alert in series.withdraw(rows, row)]

    def _stand(
        self, owned: list[tuple[_Version, Ints]], rows: Rows, column: Column, first: int
    ) -> list[tuple[int, Alert]]:
        """What becomes of the differences that were told."""
        told: list[tuple[int, Alert]] = []
        places = {id(version): mine for version, mine in owned}
        for version in (*self._evicted, *self._of.values()):
            standing = version.standing
            if standing is not None:
                mine = places.get(id(version), np.zeros(0, np.int64))
                later = mine[mine > version.told_at]
                tell = _teller(version, rows, mine)
                end = len(column) if version.until is None else version.until - first
                told += standing.update(rows.block, column, later, (first, end), tell)
                told += standing.withdrawn(end, tell) if version.until is not None else []
                version.standing = None if standing.is_over else standing
            version.told_at = -1
        for version in self._evicted:
            version.before = None  # versions that never completed must not hold on to each other for ever
        self._evicted.clear()
        return told

    def _owned(self, block: Block, column: Column) -> list[tuple[_Version, Ints]]:
        """Return the versions of these rows, each with its rows."""
        names = (*block.versions.values, "")  # -1, no version, is the last
        codes = block.versions.codes
        used = np.unique(codes).tolist()
        present = column.kind_of_rows() != ABSENT
        new = [code for code in used if names[code] not in self._of]
        if new and (np.isin(codes, new) & present).any():
            return self._walk(block, names, present.tolist())
        owned = []
        for code in used:
            version = self._of.get(names[code])
            if version is not None:
                mine = np.flatnonzero(codes == code)
                version.latest = self._rows + int(mine[-1])
                owned.append((version, mine))
        self._rows += len(block)
        return owned

    def _walk(self, block: Block, names: tuple[str, ...], present: list[bool]) -> list[tuple[_Version, Ints]]:
        """As ``_owned``, row by row: who gets a place must not hang on how the rows were cut into blocks."""
        owned: dict[_Version, list[int]] = {}
        for row, code in enumerate(block.versions.codes.tolist()):
            name = names[code]
            version = self._of.get(name)
            if version is None and present[row]:
                version = self._admit(name, int(block.time[row]))
            if version is not None:
                version.latest = self._rows
                owned.setdefault(version, []).append(row)
            self._rows += 1
        return [(version, np.array(mine, np.int64)) for version, mine in owned.items()]

    def _admit(self, name: str, time: int) -> _Version | None:
        if len(self._of) >= VERSIONS_MAX:
            self._limits_hit[LIMIT] += 1
            oldest = min(self._of.values(), key=lambda version: version.latest)
            if self._rows - oldest.latest < QUIET_ROWS:
                return None
            del self._of[oldest.name]
            oldest.until = self._rows
            self._evicted.append(oldest)
            if oldest.series is not None:
                oldest.series.let_go()
                self._release()
        series = self._first if self._first is not None else self._make(f"@{name}")
        before = next(reversed(self._of.values()), None)
        self._first = None
        version = self._of[name] = _Version(name, series, time, self._rows, self._rows, before)
        return version

    def _compare(self, version: _Version, mine: Ints, rows: Rows, first: int) -> list[tuple[int, Alert]]:
        """Compare a version's reference with that of the one before, at the row at which both are complete."""
        found = []
        followers = [v for v in self._of.values() if v.before is version]
        for new in ([version] if version.before is not None else []) + followers:
            old = new.before
            if old is None or old.series is None or new.series is None:
                continue
            then, now = old.series.known, new.series.known
            row = max(old.learned_at, new.learned_at)
            if then is None or now is None or row < 0:
                continue
            new.before = None
            if not rows.recorded and (new.until is None or first + row < new.until):
                after = int((mine > row).sum()) if new is version else self._after(new, row, rows.block)
                told = self._tell(new, then, now, rows, row, new.series.seen - after)
                for _, alert in told:
                    number = first + row
                    per_event = (number - new.first + 1) / max(1, new.series.seen - after)
                    new.standing, new.told_at = Standing(alert, then, now, number, per_event), row
                found += told
        return found

    @staticmethod
    def _after(version: _Version, row: int, block: Block) -> int:
        """How many rows of a version are behind this one."""
        names = (*block.versions.values, "")
        return sum(names[code] == version.name for code in block.versions.codes[row + 1 :].tolist())

    @staticmethod
    def _tell(version: _Version, then: Known, now: Known, rows: Rows, row: int, seen: int) -> list[tuple[int, Alert]]:
        series = version.series
        change = compared(then, now, series.threshold, version.since) if series is not None else None
        if series is None or change is None:
            return []
        alert = explain.alert(series.identity, change, rows.block, row, seen, float(rows.share[row]), None)
        return [(row, replace(_named(alert, version), events_since_onset=seen))]


def _teller(version: _Version, rows: Rows, mine: Ints) -> Tell:
    """Makes alerts of a version's difference, whose rows of this update these are."""

    def tell(row: int, change: Change, opened: Alert | None) -> Alert:
        if version.series is None:
            raise RuntimeError("a version without a series was never compared")
        seen = version.series.seen - int((mine > row).sum())
        alert = explain.alert(version.series.identity, change, rows.block, row, seen, float(rows.share[row]), opened)
        return replace(_named(alert, version), events_since_onset=change.current["n"])

    return tell


def _named(alert: Alert, version: _Version) -> Alert:
    """The alert as one of this version, whichever the row's is."""
    return replace(alert, model={"name": alert.model_name, "version": version.name or None})


def role(feature: str) -> str:
    """The role of a feature, by its name."""
    return {"prediction": "prediction", "performance": "performance", "embedding": "embedding"}.get(
        feature.split(".", 1)[0] if "." in feature else "",
        "feature",
    )
