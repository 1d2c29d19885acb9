"""One alert for what a series shows against two references: the fixed one and the rolling one beside it.

Both are watched by a lane of their own, and a sudden change opens both. It is one change, so it is one alert: the lane that
opens first tells it, names the other where that has half the evidence by then, and the other one joins it. It is resolved when no
lane holds it any more. ``reference.which`` says who saw it:

- ``both``: a sudden change;
- ``first``: drift so slow that the rolling reference took it in step by step;
- ``rolling``: what the recent past did not do, and the first reference knows as normal; or, with ``first_moved``, what came on
  top of a change against the first that is open still, so that the first can't tell.

What one of them alone sees, though the other could, is a step less severe: it broke nothing today, or it was normal once.

A lane joins an open alert; but the rolling one opens another if its change began after the open one was told, and within what
it has seen since the last renewal: that is news, however long something slow has been open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streamdrift.detect.explain import Change

FIRST, ROLLING = "values", "rolling"
"""The lanes."""
SEEN = 0.5
"""Share of the threshold from which a lane is said to see a change that another one tells."""


@dataclass(slots=True)
class _Told:
    """An open alert.

    Attributes
    ----------
    owner
        The lane that opened it, and tells how it grows.
    holders
        The lanes that are open with it.
    seen_by
        The lanes that had a part in it.
    at
        Event time at which it was told.
    moved
        Whether the first lane had another alert open then.
    """

    owner: str
    holders: set[str]
    seen_by: set[str]
    unit: str
    at: int
    moved: bool


class SideBySide:
    """Turns the changes of two lanes into those of the alerts that they share, by place in ``OpenAlerts``."""

    def __init__(self) -> None:
        self._open: dict[str, _Told] = {}

    @property
    def rolling_is_open(self) -> bool:
        """Whether an alert is open in which the rolling lane has a part."""
        return any(ROLLING in told.seen_by for told in self._open.values())

    def take(self, lane: str, change: Change, now: int, *, also: bool, since: int) -> Change | None:
        """Return what is to be told of a lane's change; None where another lane tells it.

        Parameters
        ----------
        now
            Event time of the change's event.
        also
            Whether the other lane sees it, too.
        since
            Event time of the first value that the rolling lane was shown: it can't tell of an earlier onset.
        """
        if change.step == "opens":
            return self._opens(lane, change, now, also=also, since=since)
        place = next(place for place, told in self._open.items() if lane in told.holders)
        told = self._open[place]
        if change.step == "looks":
            return _named(change, place, told) if told.owner == lane else None
        told.holders.remove(lane)
        if told.holders:
            return None
        del self._open[place]
        return _named(change, place, told)

    def _opens(self, lane: str, change: Change, now: int, *, also: bool, since: int) -> Change | None:
        for place, told in self._open.items():  # one at most: each is held by the other lane
            if lane == FIRST or _is_same(told, change, since):
                news = lane not in told.seen_by
                told.holders.add(lane)
                told.seen_by.add(lane)
                return _named(replace(change, step="looks"), place, told) if news else None
        # where another alert is open, the other lane's evidence is of that
        moved = bool(self._open)
        seen_by = {FIRST, ROLLING} if also and not moved else {lane}
        place = lane if lane not in self._open else f"{lane} again"
        told = self._open[place] = _Told(lane, {lane}, seen_by, change.effect_unit, now, moved)
        return _named(change, place, told)


def _is_same(told: _Told, change: Change, since: int) -> bool:
    """Whether a change that the rolling lane sees may have begun before this was told, and can be told as its growth.

    What the rolling reference has a part in keeps it from being renewed: then it is the same that it sees.
    """
    began = change.onset if change.onset_range is None else change.onset_range[0]
    return ROLLING in told.seen_by or (began <= max(told.at, since) and change.effect_unit == told.unit)


def _named(change: Change, place: str, told: _Told) -> Change:
    which = "both" if len(told.seen_by) > 1 else "first" if FIRST in told.seen_by else "rolling"
    moved = {"first_moved": True} if told.moved else {}
    return replace(change, lane=place, reference={"which": which, **moved, **change.reference})
