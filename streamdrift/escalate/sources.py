"""Sources that were stale, too full of nulls, or not heard of around an incident's onset: suspects, as changes are. Pure.

A source is wrong by what reports say of it, from one on and until another says otherwise: between two nothing is claimed, but that
none came for too long. It is judged by the same three as a change, with how long it had been wrong in the place of how long ago it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from streamdrift.escalate.incident import Incident
from streamdrift.escalate.suspects import (
    AFTER,
    AFTER_MS,
    BEFORE_MS,
    HALF_LIFE_MS,
    KIND,
    NAMES_MAX,
    Suspect,
    onset_of,
    weighed,
)
from streamdrift.escalate.triage import blast_radius
from streamdrift.escalate.words import duration, named, percent
from streamdrift.events.change import Change
from streamdrift.events.source_report import SourceReport
from streamdrift.settings import SourceSettings

KIND_OF_CHANGE = "data-source"
LONG, UNKNOWN, OVER = 0.25, 0.25, 0.5
"""Least weight of what had been wrong for long; weight of what was never heard of; of what was over before the onset."""
COLUMNS_SHOWN_MAX = 3

Wrong = Literal["stale", "nulls", "silent"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that was wrong with a source for a time.

    Attributes
    ----------
    since, until
        Milliseconds since the epoch; ``since`` None where it was never right, ``until`` None where it still is.
    evidence
        A phrase.
    """

    wrong: Wrong
    since: int | None
    until: int | None
    evidence: str


def faults(source: SourceSettings, reports: Sequence[SourceReport], now: int) -> list[Fault]:
    """Return what was wrong with a source, by its reports up to now, oldest first."""
    return [*_stale(source, reports), *_nulls(source, reports), *_silent(source, reports, now)]


def is_wrong(source: SourceSettings, report: SourceReport) -> bool:
    """Whether a report says that something is wrong."""
    return _is_stale(source, report) or bool(_full(source, report))


def _is_stale(source: SourceSettings, report: SourceReport) -> bool:
    newest = report.newest_at
    return source.fresh_s is not None and newest is not None and report.time - newest > source.fresh_s * 1000


def _stale(source: SourceSettings, reports: Sequence[SourceReport]) -> Iterator[Fault]:
    telling = [report for report in reports if report.newest_at is not None]
    for run, after in _runs(telling, [_is_stale(source, report) for report in telling]):
        first, last = run[0], run[-1]
        age = duration((last.time - (last.newest_at or 0)) / 1000)
        since = min(first.time, round((first.newest_at or 0) + (source.fresh_s or 0) * 1000))
        yield Fault("stale", since, after, f"newest row {age} old, expected {duration(source.fresh_s)}")


def _full(source: SourceSettings, report: SourceReport) -> dict[str, float]:
    """Columns with more nulls than they may have."""
    most, columns = source.null_share_max, source.columns or tuple(report.null_shares)
    if most is None:
        return {}
    return {column: report.null_shares[column] for column in columns if report.null_shares.get(column, 0.0) > most}


def _nulls(source: SourceSettings, reports: Sequence[SourceReport]) -> Iterator[Fault]:
    telling = [report for report in reports if report.null_shares]
    for run, after in _runs(telling, [bool(_full(source, report)) for report in telling]):
        worst = sorted(_full(source, run[-1]).items(), key=lambda column: (-column[1], column[0]))
        told = [f"{named(column, 40)} {percent(share)} null" for column, share in worst[:COLUMNS_SHOWN_MAX]]
        rest = len(worst) - len(told)
        told += [f"{rest:,} more columns"] if rest else []
        yield Fault("nulls", run[0].time, after, f"{', '.join(told)}, allowed {percent(source.null_share_max)}")


def _runs(reports: Sequence[SourceReport], wrong: Sequence[bool]) -> Iterator[tuple[list[SourceReport], int | None]]:
    """Reports one after another that say so, and when the next one said otherwise."""
    run: list[SourceReport] = []
    for report, is_so in zip(reports, wrong, strict=True):
        if is_so:
            run.append(report)
        elif run:
            yield run, report.time
            run = []
    if run:
        yield run, None


def _silent(source: SourceSettings, reports: Sequence[SourceReport], now: int) -> Iterator[Fault]:
    if source.report_s is None:
        return
    patience, expected = round(source.report_s * 1000), duration(source.report_s)
    if not reports:
        yield Fault("silent", None, None, f"no report has come yet, expected every {expected}")
    times = [*(report.time for report in reports), None]
    for before, after in pairwise(times):
        if before is not None and (now if after is None else after) - before > patience:
            waited = duration(((now if after is None else after) - before) / 1000)
            yield Fault("silent", before + patience, after, f"no report for {waited}, expected every {expected}")


def suspected(
    incident: Incident,
    sources: Mapping[str, SourceSettings],
    reports: Callable[[str, int], Sequence[SourceReport]],
    now: int,
    alarmed: Collection[str] | None = None,
) -> list[Suspect]:
    """Return what was wrong with sources that feed the incident's features, around its onset.

    Parameters
    ----------
    reports
        Those of one source up to a time.
    now
        Milliseconds since the epoch.
    alarmed
        As ``suspects.suspects``.
    """
    features = set(blast_radius(incident).features) if sources else set()
    found: list[Suspect] = []
    for rule, source in sorted(sources.items()):
        if (source.models and incident.model not in source.models) or (
            source.features and not features & set(source.features)
        ):
            continue
        name = source.name or rule
        latest = {fault.wrong: fault for fault in faults(source, reports(name, now), now) if _reaches(fault, incident)}
        found += [_suspect(fault, name, source, incident, alarmed) for fault in latest.values()]
    return found


def _reaches(fault: Fault, incident: Incident) -> bool:
    earliest, latest = onset_of(incident)
    return (fault.since is None or fault.since <= latest + AFTER_MS) and (
        fault.until is None or fault.until >= earliest - BEFORE_MS
    )


def _suspect(
    fault: Fault, name: str, source: SourceSettings, incident: Incident, alarmed: Collection[str] | None
) -> Suspect:
    said = f"source {named(name, 64)}: {fault.evidence}{_feeds(source)}"
    at = incident.onset_at if fault.since is None else fault.since
    change = Change(
        f"source:{name}:{fault.wrong}",
        at,
        KIND_OF_CHANGE,
        said,
        source.models,
        source.features,
        {},
        None,
        None,
    )
    why, against = list[str](), list[str]()
    score = KIND[KIND_OF_CHANGE] * _time(fault, incident, why, against)
    score *= weighed(change, incident, alarmed, why, against)
    return Suspect(change, score, tuple(why), tuple(against))


def _feeds(source: SourceSettings) -> str:
    shown = [named(feature, 40) for feature in source.features[:NAMES_MAX]]
    rest = len(source.features) - len(shown)
    shown += [f"{rest:,} more"] if rest else []
    return f"; feeds {', '.join(shown)}" if shown else ""


def _time(fault: Fault, incident: Incident, why: list[str], against: list[str]) -> float:
    earliest, latest = onset_of(incident)
    if fault.since is None:
        against.append("how it was is not known")
        return UNKNOWN
    if fault.since > latest:
        against.append(f"it began {duration((fault.since - latest) / 1000)} after the onset")
        return AFTER
    if fault.until is not None and fault.until < earliest:
        against.append(f"it was over {duration((earliest - fault.until) / 1000)} before the onset")
        return OVER * float(0.5 ** ((earliest - fault.until) / HALF_LIFE_MS))
    if fault.since >= earliest:
        why.append("from about the onset on")
        return 1.0
    why.append(f"for {duration((earliest - fault.since) / 1000)} at the onset")
    return max(LONG, float(0.5 ** ((earliest - fault.since) / HALF_LIFE_MS)))
