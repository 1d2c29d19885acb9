"""A difference as Markdown, fit for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from streamdrift.escalate.words import duration, moment, named
from streamdrift.report.words import day
from streamdrift.settings import Loaded
from streamdrift.settings.fields import value_at
from streamdrift.settings.problems import shown_at
from streamdrift.tune.difference import Difference, Episode, Episodes
from streamdrift.tune.findings import Seen

ROWS_MAX = 50
NAME_MAX = 100
Change = tuple[str, str, str]


def changed(old: Loaded, new: Loaded) -> list[Change]:
    """Return every setting that differs: its name, the old and the new value, secrets masked."""
    found = []
    for name in [*old.origins, *(name for name in new.origins if name not in old.origins)]:
        place = tuple(name.split("."))
        before, after = (value_at(loaded.settings, place) for loaded in (old, new))
        if before != after:
            found.append((name, shown_at(place, before), shown_at(place, after)))
    return found


def heading(name: str, changes: Sequence[Change]) -> str:
    """Return what stands above the models."""
    lines = [
        "## streamdrift tune: what a change of settings would have changed",
        "",
        f"Replayed: {_name(name)}. A page is an alert that would have told somebody; alerts of one cause are one incident.",
        "",
        *_table(("setting", "old", "new"), ([_name(part) for part in change] for change in changes)),
    ]
    return "\n".join(lines) + "\n"


def section(model: str, seen: Seen, weeks: float, old: Episodes, new: Episodes, difference: Difference) -> str:
    """Return what changed for one model."""
    return "\n".join(_section(model, seen, weeks, old, new, difference)) + "\n"


def _section(model: str, seen: Seen, weeks: float, old: Episodes, new: Episodes, found: Difference) -> Iterator[str]:
    yield f"### {_name(model)}"
    yield ""
    yield f"{seen.events:,} events, {day(seen.first)} to {day(seen.last)}; watched for {weeks:.2g} weeks."
    yield ""
    yield from _table(("", "old", "new", "gained", "lost"), _totals(weeks, old, new, found))
    yield ""
    yield f"{found.same:,} alerts are told alike by both, {len(found.moved):,} earlier, later, or with a page in one alone."
    if found.gained:
        yield from _episodes("Gained", found.gained)
    if found.lost:
        yield from _episodes("Lost", found.lost)
    if found.moved:
        yield from _moved(found.moved)


def _totals(weeks: float, old: Episodes, new: Episodes, found: Difference) -> Iterator[list[str]]:
    a, b = old.tally, new.tally
    yield ["alerts", f"{a.total.alerts:,}", f"{b.total.alerts:,}", f"{len(found.gained):,}", f"{len(found.lost):,}"]
    yield ["pages", f"{a.total.pages:,}", f"{b.total.pages:,}", f"{found.pages_gained:,}", f"{found.pages_lost:,}"]
    yield ["incidents that page", f"{a.incidents:,}", f"{b.incidents:,}", "", ""]
    yield ["alerts a week", f"{a.total.alerts / weeks:.2f}", f"{b.total.alerts / weeks:.2f}", "", ""]
    yield ["pages a week", f"{a.total.pages / weeks:.2f}", f"{b.total.pages / weeks:.2f}", "", ""]


def _episodes(title: str, episodes: Sequence[Episode]) -> Iterator[str]:
    yield ""
    yield f"**{title}: {len(episodes):,}**"
    yield ""
    rows = ([moment(e.alert.detected_at), *_what(e), _yes(paged=e.paged)] for e in episodes[:ROWS_MAX])
    yield from _table(("told at (UTC)", "series", "reason", "severity", "pages"), rows)
    yield from _more(len(episodes))


def _moved(moved: Sequence[tuple[Episode, Episode]]) -> Iterator[str]:
    yield ""
    yield f"**Told otherwise: {len(moved):,}**"
    yield ""
    yield from _table(
        ("told at, old (UTC)", "series", "reason", "severity", "new", "pages"), map(_shift, moved[:ROWS_MAX])
    )
    yield from _more(len(moved))


def _shift(pair: tuple[Episode, Episode]) -> list[str]:
    old, new = pair
    ms = new.alert.detected_at - old.alert.detected_at
    when = f"{duration(abs(ms) / 1000)} {'later' if ms > 0 else 'earlier'}" if ms else "at the same event"
    pages = _yes(paged=old.paged) if old.paged == new.paged else f"{_yes(paged=old.paged)} → {_yes(paged=new.paged)}"
    return [moment(old.alert.detected_at), *_what(new), when, pages]


def _what(episode: Episode) -> list[str]:
    return [_name(episode.alert.series_id), _name(episode.alert.reason), episode.alert.severity]


def _yes(*, paged: bool) -> str:
    return "yes" if paged else "no"


def _more(n: int) -> Iterator[str]:
    if n > ROWS_MAX:
        yield ""
        yield f"… and {n - ROWS_MAX:,} more."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _name(text: str) -> str:
    """A name from the events as code, so that nothing in it acts as Markdown."""
    plain = named(text, NAME_MAX).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`" if plain.strip() else "all traffic"
