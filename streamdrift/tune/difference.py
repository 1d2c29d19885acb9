"""What a change of settings would have changed on a history: alerts gained, lost, and told earlier or later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from streamdrift.alerts import Alert
from streamdrift.errors import InputProblem
from streamdrift.tune.tally import Tally

EPISODES_MAX = 200_000
"""Alerts that are compared; far fewer are readable."""
FOREVER = 2**62


@dataclass(slots=True)
class Episode:
    """One alert, from its onset until it is resolved.

    Attributes
    ----------
    paged
        Whether somebody would have been told of it, or of its growth.
    """

    alert: Alert
    paged: bool
    end: int = FOREVER

    def overlaps(self, other: Episode) -> bool:
        """Whether both tell of the same time."""
        return self.alert.onset_at <= other.end and other.alert.onset_at <= self.end


Key = tuple[str, str]


@dataclass(slots=True)
class Episodes:
    """A history's alerts under one tree of settings, of one model."""

    tally: Tally
    by_key: dict[Key, list[Episode]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0

    def take(self, alerts: Sequence[Alert]) -> None:
        """Note the next alerts.

        Raises
        ------
        InputProblem
            There are too many to compare.
        """
        for alert, paged in zip(alerts, self.tally.take(alerts), strict=True):
            mine = self.by_key[alert.series_id, _kind(alert)]
            if alert.status == "resolved":
                for episode in mine:
                    if episode.alert.alert_id == alert.resolves:
                        episode.end = alert.detected_at
            elif alert.updates is not None:
                for episode in mine:
                    if episode.alert.alert_id == alert.updates:
                        episode.paged |= paged
            elif self.count >= EPISODES_MAX:
                raise InputProblem(
                    f"more than {EPISODES_MAX:,} alerts are too many to compare; name one --model, or a shorter history"
                )
            else:
                self.count += 1
                mine.append(Episode(_bare(alert), paged))


def _kind(alert: Alert) -> str:
    """A drift may be named by another score under other settings; a fault has one name."""
    return "drift" if alert.kind == "drift" else alert.reason


def _bare(alert: Alert) -> Alert:
    """As little as identifies it, and what is told of it; its id must stay."""
    return replace(alert, reference={}, current={}, position={})


@dataclass(slots=True)
class Difference:
    """Old against new, each in the order of time.

    Attributes
    ----------
    moved
        The same change, told at another time, or with a page in one alone (old, new).
    same
        Alerts that both tell at the same event, both with a page or both without.
    """

    gained: list[Episode] = field(default_factory=list)
    lost: list[Episode] = field(default_factory=list)
    moved: list[tuple[Episode, Episode]] = field(default_factory=list)
    same: int = 0
    pages_gained: int = 0
    pages_lost: int = 0


def compare(old: Episodes, new: Episodes) -> Difference:
    """Match what tells of the same change in the same series, and tell the rest apart."""
    found = Difference()
    for key in sorted(old.by_key.keys() | new.by_key.keys()):
        _match(old.by_key.get(key, []), new.by_key.get(key, []), found)
    for episodes in (found.gained, found.lost):
        episodes.sort(key=_when)
    found.moved.sort(key=lambda pair: _when(pair[0]))
    return found


def _match(old: Sequence[Episode], new: Sequence[Episode], found: Difference) -> None:
    left = list(new)
    for before in old:
        after = _partner(before, left)
        if after is None:
            found.lost.append(before)
            found.pages_lost += before.paged
            continue
        left.remove(after)
        found.pages_lost += before.paged and not after.paged
        found.pages_gained += after.paged and not before.paged
        if before.alert.detected_at == after.alert.detected_at and before.paged == after.paged:
            found.same += 1
        else:
            found.moved.append((before, after))
    found.gained += left
    found.pages_gained += sum(episode.paged for episode in left)


def _partner(episode: Episode, among: Iterable[Episode]) -> Episode | None:
    """The one of the same event, else the first that tells of the same time."""
    found = [other for other in among if episode.overlaps(other)]
    same = [other for other in found if other.alert.detected_at == episode.alert.detected_at]
    return next(iter([*same, *found]), None)


def _when(episode: Episode) -> tuple[int, str]:
    return episode.alert.detected_at, episode.alert.series_id
