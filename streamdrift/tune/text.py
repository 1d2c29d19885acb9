"""The findings for a terminal: plain text in at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from streamdrift.escalate.words import named
from streamdrift.report.words import day
from streamdrift.tune.findings import Findings, Row, Rung
from streamdrift.tune.sensitivity import Sensitivity
from streamdrift.tune.toml import rule_name

WIDTH = 100
SEGMENTS_SHOWN = 12
NOISY_SHOWN = 10
WORST_SHOWN = 10
NAME = 44


def text(findings: Iterable[Findings], how: str) -> str:
    """Return one section per model, and below them which figures come from which reading."""
    lines = [line.rstrip() for one in findings for line in (*_section(one), "")]
    return "\n".join([*lines, *textwrap.wrap(how, WIDTH)])


def _section(f: Findings) -> Iterator[str]:
    yield f"{_name(f.model, 60)}: {f.events:,} events, {day(f.first)} to {day(f.last)}"
    yield from _would_have(f)
    yield ""
    yield from _table("detector", f.detectors)
    yield ""
    yield from _table("segment", f.segments[:SEGMENTS_SHOWN])
    if len(f.segments) > SEGMENTS_SHOWN:
        yield f"  … and {len(f.segments) - SEGMENTS_SHOWN} more segments (--json has all)"
    yield ""
    yield from _frontier(f)
    yield from _noisy(f)
    yield ""
    yield from _sensitivity(f.sensitivities)


def _would_have(f: Findings) -> Iterator[str]:
    pages, per_week = f.frontier[0].pages, f.frontier[0].pages_per_week
    within = "within" if f.frontier[0].meets else "OVER"
    low, high = f.thresholds
    asked = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    chance = (
        "unknown: the events tell no rate" if f.expected_false_per_week is None else f"{f.expected_false_per_week:.2g}"
    )
    learning = f", {f.learning} more still learn" if f.learning else ""
    yield f"  watched for            {f.weeks:.2g} weeks, {_count(f.series, 'series', 'series')}{learning}"
    yield (
        f"  would have paged       {_count(pages, 'page')} about {_count(f.frontier[0].incidents, 'incident')}: "
        f"{per_week:.2g} a week, {within} the budget of {f.budget_per_week:g}"
    )
    if f.weeks * f.budget_per_week < 1:
        yield f"  {'':<22} (in so short a time one page is within the budget)"
    yield f"  to be expected falsely {chance} a week at {asked} nats, by the scan's measured null rate"


def _table(head: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"  {head:<{NAME}} {'raw flags':>12} {'alerts':>8} {'pages':>7}"
    for row in rows:
        name = _name(row.name or "all traffic", NAME)
        flags = "-" if row.flags is None else f"{row.flags:,}"
        yield f"  {name:<{NAME}} {flags:>12} {row.alerts:>8,} {row.pages:>7,}"


def _frontier(f: Findings) -> Iterator[str]:
    yield f"  {'threshold':<30} {'pages a week':>12} {'pages':>7} {'incidents':>10} {'alerts':>8}"
    for rung in f.frontier:
        chosen = "  <- chosen" if _is_chosen(rung, f) else ""
        over = "" if rung.meets else "  over budget"
        name = f"{rung.threshold:g}" + (f", and {_count(rung.rules, 'rule')} of their own" if rung.rules else "")
        name = name.replace("1 rule of their own", "1 rule of its own")
        yield (
            f"  {name:<30} {rung.pages_per_week:>12.2g} {rung.pages:>7,} {rung.incidents:>10,} {rung.alerts:>8,}"
            f"{over}{chosen}"
        )
    yield from _wrapped(f"{f.choice.why}.")


def _is_chosen(rung: Rung, f: Findings) -> bool:
    return (rung.threshold, rung.rules) == (f.choice.threshold, len(f.choice.rules))


def _noisy(f: Findings) -> Iterator[str]:
    if not f.noisy:
        return
    total = max(1, f.frontier[0].pages)
    yield ""
    yield f"  {'series that paged':<{NAME}} {'a week':>8} {'share':>6}  quiet at"
    for noise in f.noisy[:NOISY_SHOWN]:
        quiet = "no threshold tried" if noise.quiet_at is None else f"{noise.quiet_at:g}"
        yield f"  {_name(noise.series_id, NAME):<{NAME}} {noise.per_week:>8.2g} {noise.pages / total:>6.0%}  {quiet}"
    if len(f.noisy) > NOISY_SHOWN:
        yield f"  … and {len(f.noisy) - NOISY_SHOWN} more"
    for rule in f.choice.rules:
        yield f"  [overrides.{rule_name(rule)}] policy.threshold = {rule.quiet_at:g}"


def _sensitivity(found: Sequence[Sensitivity]) -> Iterator[str]:
    yield "  smallest shift that shows within an hour, at these thresholds (in every second case)"
    for unit, of in (("sd", "numbers, in reference sd"), ("share", "categories, share of events that change")):
        mine = [one for one in found if one.unit == unit]
        if mine:
            yield from _ranked(mine, of)


def _ranked(found: Sequence[Sensitivity], of: str) -> Iterator[str]:
    seen = sorted((one.smallest, one.series_id) for one in found if one.smallest is not None)
    none = len(found) - len(seen)
    yield f"  {of}: {len(found):,} series, {none:,} of them show none within an hour"
    few = sum(one.smallest is None and one.events_per_hour < 16 for one in found)
    if few:
        yield f"    ({few:,} have fewer than 16 events in an hour, the shortest window)"
    if not seen:
        return
    middle = median(size for size, _ in seen)
    yield f"    best {seen[0][0]:.2g} ({_name(seen[0][1], 50)}), median {middle:.2g}, worst {seen[-1][0]:.2g}"
    for size, name in reversed(seen[-WORST_SHOWN:]):
        yield f"    {size:>8.2g}  {_name(name, 80)}"


def _wrapped(told: str) -> Iterator[str]:
    yield from textwrap.wrap(told, WIDTH - 2, initial_indent="  ", subsequent_indent="  ")


def _name(name: str, width: int) -> str:
    return named(name, width)


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
