"""The alerts of a series that are open: which one a change opens, updates or resolves, and which is not worth telling.

Some series do not keep still: a storm comes and goes, and each is a real change. The first ``policy.flapping_openings`` excursions of a
lane within ``policy.flapping_s`` are told. What comes after them and is like them is followed, but told only once it is
``policy.update_factor`` times as large, or has lasted that many times as long, as any of them.

A broken pipeline is no weather: faults that are what they are by one event alone (a wrong type, a wrong unit, a missing feature …) are told each time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from streamdrift.alerts import Alert
from streamdrift.detect.explain import Change, became_critical, has_grown
from streamdrift.settings import PolicySettings

Place = tuple[str, str]
"""Lane and segment."""

COME_AND_GO = frozenset(
    {
        "mean_shift", "variance_shift", "distribution_shift", "category_shift", "embedding_shift",
        "null_rate", "outliers", "out_of_range", "volume_drop", "volume_surge",
    }
)  # fmt: skip
"""Reasons of what the weather can do."""


PAST_MAX = 16
"""Excursions of a lane that are remembered."""


@dataclass(frozen=True, slots=True)
class Excursion:
    """What came and went by itself.

    Attributes
    ----------
    ended, lasted_ms
        Event time at which it was resolved, and time from its onset to when it was calm.
    largest
        By unit, the change with the largest effect.
    """

    ended: int
    lasted_ms: int
    largest: dict[str, Change]


@dataclass(slots=True)
class _Open:
    """One that is open.

    Attributes
    ----------
    opened, told
        The alert that opened, and the one that was told last; None where nobody was told.
    """

    onset: int
    opened: Alert | None = None
    told: Alert | None = None
    largest: dict[str, Change] = field(default_factory=dict)

    def note(self, change: Change) -> None:
        """Remember how large it has been."""
        before = self.largest.get(change.effect_unit)
        if before is None or has_grown(before, change, 1.0):
            reference = {name: value for name, value in change.reference.items() if name == "which"}
            self.largest[change.effect_unit] = replace(change, reference=reference, current={})


class OpenAlerts:
    """By place: what is open, and what was.

    Parameters
    ----------
    states
        Counts, under ``withheld``, what ended without being told.
    """

    def __init__(self, states: Counter[str]) -> None:
        self._states = states
        self._open: dict[Place, _Open] = {}
        self._past: dict[Place, deque[Excursion]] = {}

    @property
    def opened(self) -> dict[Place, Alert]:
        """The alerts that opened what is open and was told."""
        return {place: one.opened for place, one in self._open.items() if one.opened is not None}

    @property
    def lanes(self) -> set[str]:
        """Lanes in which something is open, told or not."""
        return {lane for lane, _ in self._open}

    def is_untold(self, place: Place) -> bool:
        """Whether something is open there that nobody was told of."""
        one = self._open.get(place)
        return one is not None and one.opened is None

    def take(
        self,
        place: Place,
        change: Change,
        now: int,
        policy: PolicySettings,
        make: Callable[[Change, Alert | None], Alert],
    ) -> Alert | None:
        """Return the change as ``make`` makes an alert of it; None where nobody needs to be told.

        Parameters
        ----------
        now
            Event time of the event that decided it.
        make
            Given the change, and the alert that opened; None where this one does.
        """
        if change.step == "opens":
            self._open[place] = _Open(change.onset)
        one = self._open.get(place)
        if one is None:
            return None
        if change.step == "resolves":
            opened = self._ended(place, change.onset, now, policy)
            return None if opened is None else make(change, opened)
        one.note(change)
        if one.opened is not None:
            told = one.told
            factor = policy.update_factor
            if told is None or not (has_grown(told, change, factor) or became_critical(told, change, factor)):
                return None
            one.told = make(change, one.opened)
            return one.told
        past = self._recent(place, now, policy)
        if (
            change.reason in COME_AND_GO
            and len(past) >= policy.flapping_openings
            and not _stands_out(one, past, change, now, policy)
        ):
            return None
        earlier = {"came_and_went": len(past)} if past else {}
        opening = replace(change, step="opens", current={**change.current, **earlier})
        one.opened = one.told = make(opening, None)
        return one.opened

    def _ended(self, place: Place, calm_since: int, now: int, policy: PolicySettings) -> Alert | None:
        """Remember what came and went; return the alert that opened it, where somebody was told."""
        one = self._open.pop(place)
        past = self._past.setdefault(place, deque(maxlen=max(PAST_MAX, policy.flapping_openings)))
        past.append(Excursion(now, max(0, calm_since - one.onset), one.largest))
        if one.opened is None:
            self._states["withheld"] += 1
        return one.opened

    def _recent(self, place: Place, now: int, policy: PolicySettings) -> list[Excursion]:
        since = now - policy.flapping_s * 1000
        return [one for one in self._past.get(place, ()) if one.ended >= since]

    def leave(self) -> dict[Place, Alert]:
        """Forget all that is open; return the alerts that opened what was told. It is no excursion that came and went."""
        left = self.opened
        self._open.clear()
        return left

    def close(self, place: Place) -> Alert | None:
        """Forget what is open; return the alert that opened it, where there was one."""
        one = self._open.pop(place, None)
        return None if one is None else one.opened


def _stands_out(one: _Open, past: list[Excursion], change: Change, now: int, policy: PolicySettings) -> bool:
    """Whether it is much larger, or has lasted much longer, than what came and went before."""
    factor = policy.update_factor
    if now - one.onset >= factor * max(earlier.lasted_ms for earlier in past):
        return True
    alike = [earlier.largest[change.effect_unit] for earlier in past if change.effect_unit in earlier.largest]
    return bool(alike) and all(has_grown(before, change, factor) for before in alike)
