"""Objectives as OpenSLO v1 documents have them: SLO, SLI, AlertPolicy and AlertCondition, in YAML or JSON.

What a file says and we would not do is refused in a sentence with the file, the document and the path in it; what changes nothing
(owners, links, where OpenSLO would notify) is passed over with a warning.

An indicator of ours is a metric source of type ``streamdrift``. What is a share by itself is the ``raw`` of a ``ratioMetric``, what is
good up to a value a ``thresholdMetric``, with ``op: lte`` and ``value`` in the objective.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from streamdrift.errors import SettingsProblem
from streamdrift.slo.burn import FACTOR_MIN, Objective, Pair, Severity, pairs, short_of
from streamdrift.slo.counts import HOUR_MS, MINUTE_MS
from streamdrift.slo.document import DOCUMENTS_MAX, Document, parsed
from streamdrift.slo.indicators import FRESHNESS, NULLS, PERFORMANCE, RATIOS, THRESHOLDS, Indicator
from streamdrift.slo.measures import LADDER, NAME_LENGTH_MAX

VERSION = "openslo/v1"
SOURCE = "streamdrift"
OBJECTIVES_MAX = 200
CONDITIONS_MAX = 10
PERIOD_MS = (HOUR_MS * 24, HOUR_MS * 24 * 92)
"""Shortest and longest."""
FRESH_S = (180.0, 86_400.0)
"""A slice comes every two minutes, where nothing is behind."""
PASSED_OVER = frozenset({"Service", "DataSource", "AlertNotificationTarget"})
SEVERITIES: dict[str, Severity] = {
    **dict.fromkeys(("page", "critical"), "critical"),
    **dict.fromkeys(("ticket", "warning"), "warning"),
}
_UNITS = {"m": MINUTE_MS, "h": HOUR_MS, "d": 24 * HOUR_MS, "w": 168 * HOUR_MS}
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(slots=True)
class Read:
    """What files say.

    Attributes
    ----------
    warnings
        What was passed over, a sentence each.
    """

    objectives: list[Objective] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(files: Iterable[tuple[str, bytes]]) -> Read:
    """Read files, each by its name and what is in it; they may refer to one another's documents.

    Raises
    ------
    SettingsProblem
        Something in them is wrong, or says what we don't do.
    """
    found, known = Read(), dict[tuple[str, str], Document]()
    for file, data in files:
        for document in parsed(file, data):
            if (key := _key(document, found)) is None:
                continue
            if key in known:
                raise document.problem("metadata.name", f"is that of another {key[0]}; each needs its own")
            if len(known) >= DOCUMENTS_MAX:
                raise SettingsProblem(f"the OpenSLO files have more than {DOCUMENTS_MAX} documents; leave some out")
            known[key] = document
    reader = _Reader(known, found)
    for (kind, _), document in known.items():
        if kind == "SLO":
            reader.objective(document)
    if len(found.objectives) > OBJECTIVES_MAX:
        raise SettingsProblem(f"the OpenSLO files have more than {OBJECTIVES_MAX} objectives; leave some out")
    return found


def _key(document: Document, found: Read) -> tuple[str, str] | None:
    """Kind and name of a document; None where it is passed over."""
    if document.text("apiVersion") != VERSION:
        raise document.problem("apiVersion", f"is not {VERSION}, which is the version that is read")
    kind, name = document.text("kind"), document.text("metadata", "name")
    if kind in PASSED_OVER:
        found.warnings.append(f"{document}: a {kind} is passed over")
        return None
    if kind not in {"SLO", "SLI", "AlertPolicy", "AlertCondition"}:
        raise document.problem("kind", "is none of SLO, SLI, AlertPolicy, AlertCondition")
    if not _NAME.fullmatch(name):
        raise document.problem("metadata.name", "is not 1 to 63 letters, digits, '.', '_' and '-'")
    return kind, name


def duration_ms(text: str) -> int | None:
    """Read OpenSLO's short form; None where it is none of minutes, hours, days or weeks.

    >>> [duration_ms(text) for text in ("5m", "4w", "1M", "0d")]
    [300000, 2419200000, None, None]
    """
    match = re.fullmatch(r"([1-9]\d{0,4})([mhdw])", text)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


class _Reader:
    def __init__(self, known: dict[tuple[str, str], Document], found: Read) -> None:
        self._known, self._found = known, found

    def objective(self, slo: Document) -> None:
        self._only(slo, (), ("apiVersion", "kind", "metadata", "spec"), ())
        self._only(slo, ("metadata",), ("name", "displayName"), ("labels", "annotations"))
        takes = ("indicator", "indicatorRef", "timeWindow", "budgetingMethod", "objectives", "alertPolicies")
        self._only(slo, ("spec",), takes, ("description", "service"))
        if (method := slo.get("spec", "budgetingMethod", default="Occurrences")) != "Occurrences":
            raise slo.problem(
                "spec.budgetingMethod",
                f"is {method!r}; only Occurrences is kept (series and freshness are counted by the minute)",
            )
        goal = ("spec", "objectives", 0)
        if slo.length("spec", "objectives") != 1:
            raise slo.problem("spec.objectives", "are not one; write an SLO for each")
        self._only(slo, goal, ("displayName", "target", "targetPercent", "op", "value"), ())
        indicator = self._indicator(slo, goal)
        period_ms = self._period(slo)
        target = self._target(slo, goal)
        found = Objective(
            name=slo.text("metadata", "name"),
            indicator=indicator,
            target=target,
            period_ms=period_ms,
            pairs=self._pairs(slo, period_ms),
            minimum=self._minimum(slo),
            title=str(slo.get("metadata", "displayName", default=""))[:200],
        )
        if found.pairs and not any(found.can_fire(pair) for pair in found.pairs):
            raise slo.problem(
                "spec.objectives[0].target",
                "is so low that no burn rate reaches a factor; raise it, or give conditions",
            )
        self._found.objectives.append(found)

    def _only(self, document: Document, path: tuple[Any, ...], takes: Iterable[str], passes: Iterable[str]) -> None:
        """Refuse fields that are not known here; warn of those that are passed over."""
        takes, passes = set(takes), set(passes)
        for name in document.fields(*path):
            if name in passes:
                if name in {"labels", "annotations", "notificationTargets"}:
                    self._found.warnings.append(f"{document}: {document.at(*path, name)} is passed over")
            elif name not in takes:
                raise document.problem(
                    document.at(*path, name), f"is not known; there may be {', '.join(sorted(takes))}"
                )

    # The indicator -----------------------------------------------------------------------------------------------------

    def _sli(self, slo: Document) -> tuple[Document, tuple[Any, ...]]:
        """The document and path of the indicator's spec."""
        inline, ref = (slo.get("spec", name, default=None) for name in ("indicator", "indicatorRef"))
        if (inline is None) == (ref is None):
            raise slo.problem("spec", "has not one of indicator and indicatorRef")
        if inline is not None:
            self._only(slo, ("spec", "indicator"), ("metadata", "spec"), ("apiVersion", "kind"))
            return slo, ("spec", "indicator", "spec")
        sli = self._known.get(("SLI", slo.text("spec", "indicatorRef")))
        if sli is None:
            raise slo.problem("spec.indicatorRef", f"names no SLI of these files: {str(ref)[:80]!r}")
        self._only(sli, (), ("apiVersion", "kind", "metadata", "spec"), ())
        return sli, ("spec",)

    def _source(self, slo: Document) -> tuple[Document, tuple[Any, ...], str]:
        """Where our metric source is, and under which kind of metric."""
        document, spec = self._sli(slo)
        self._only(document, spec, ("ratioMetric", "thresholdMetric"), ("description",))
        metrics = [name for name in document.fields(*spec) if name != "description"]
        if len(metrics) != 1:
            raise document.problem(document.at(*spec), "has not one of ratioMetric and thresholdMetric")
        path = (*spec, metrics[0])
        if metrics[0] == "ratioMetric":
            self._only(document, path, ("raw", "rawType"), ("counter",))
            if document.get(*path, "rawType", default="success") != "success":
                raise document.problem(
                    document.at(*path, "rawType"), "is not success: indicators are shares of what is good"
                )
            path = (*path, "raw")
        self._only(document, path, ("metricSource",), ())
        path = (*path, "metricSource")
        self._only(document, path, ("type", "spec"), ("metricSourceRef",))
        if document.text(*path, "type") != SOURCE:
            raise document.problem(document.at(*path, "type"), f"is not {SOURCE}; other sources are not read")
        return document, (*path, "spec"), metrics[0]

    def _indicator(self, slo: Document, goal: tuple[Any, ...]) -> Indicator:
        document, path, metric = self._source(slo)
        kind = document.text(*path, "indicator")
        if kind not in {*RATIOS, *THRESHOLDS}:
            names = ", ".join((*RATIOS, *THRESHOLDS))
            raise document.problem(document.at(*path, "indicator"), f"is none of {names}")
        self._only(document, path, ("model", "indicator", "minimum", *(["feature"] if kind == NULLS else [])), ())
        wanted = "ratioMetric" if kind in RATIOS else "thresholdMetric"
        if metric != wanted:
            raise document.problem(document.at(*path, "indicator"), f"is {kind}, which belongs under a {wanted}")
        feature = None if document.get(*path, "feature", default=None) is None else document.text(*path, "feature")
        value = self._value(slo, goal, kind)
        model = document.text(*path, "model")
        if len(model) > NAME_LENGTH_MAX or len(feature or "") > NAME_LENGTH_MAX:
            raise document.problem(document.at(*path), "has a name that is too long")
        return Indicator(model, kind, feature, value)

    def _value(self, slo: Document, goal: tuple[Any, ...], kind: str) -> float | None:
        where = slo.at(*goal, "value")
        if kind in RATIOS:
            for name in ("op", "value"):
                if slo.get(*goal, name, default=None) is not None:
                    raise slo.problem(slo.at(*goal, name), f"is of no use with {kind}, which is a share by itself")
            return None
        if slo.get(*goal, "op", default="lte") != "lte":
            raise slo.problem(slo.at(*goal, "op"), "is not lte: good is what is at most value")
        if kind == PERFORMANCE and slo.get(*goal, "value", default=None) is None:
            return 0.0
        value = slo.number(*goal, "value")
        if kind == FRESHNESS and not FRESH_S[0] <= value <= FRESH_S[1]:
            raise slo.problem(
                where, f"is {value:g} seconds, not {FRESH_S[0]:g} to {FRESH_S[1]:g}: counts come every two minutes"
            )
        if kind == PERFORMANCE and value not in LADDER:
            below, above = (
                max((b for b in LADDER if b < value), default=0.0),
                min((b for b in LADDER if b > value), default=LADDER[-1]),
            )
            raise slo.problem(
                where,
                f"is {value:g}; errors are counted up to {below:g} and to {above:g} (1, 2, 5 and their tens): give one of these",
            )
        return value

    def _minimum(self, slo: Document) -> int:
        document, path, _ = self._source(slo)
        if document.get(*path, "minimum", default=None) is None:
            return 0
        found = document.number(*path, "minimum")
        if found != int(found) or not 1 <= found <= 1e12:
            raise document.problem(document.at(*path, "minimum"), "is no whole number from 1")
        return int(found)

    # Window, target, conditions ----------------------------------------------------------------------------------------

    def _period(self, slo: Document) -> int:
        if slo.length("spec", "timeWindow") != 1:
            raise slo.problem("spec.timeWindow", "is not one window")
        window = ("spec", "timeWindow", 0)
        self._only(slo, window, ("duration", "isRolling"), ())
        if slo.get(*window, "isRolling", default=None) is not True:
            raise slo.problem(slo.at(*window, "isRolling"), "is not true; budgets are kept over rolling windows")
        period_ms = duration_ms(slo.text(*window, "duration"))
        if period_ms is None or not PERIOD_MS[0] <= period_ms <= PERIOD_MS[1]:
            raise slo.problem(slo.at(*window, "duration"), "is not 1d to 92d, or as many hours or weeks (28d, 4w)")
        return period_ms

    def _target(self, slo: Document, goal: tuple[Any, ...]) -> float:
        given = [name for name in ("target", "targetPercent") if slo.get(*goal, name, default=None) is not None]
        if len(given) != 1:
            raise slo.problem(slo.at(*goal), "has not one of target and targetPercent")
        target = slo.number(*goal, given[0])
        target = target / 100 if given[0] == "targetPercent" else target
        if not 0 < target < 1:
            most = "1" if given[0] == "target" else "100"
            raise slo.problem(
                slo.at(*goal, given[0]), f"is not between 0 and {most}: with all of it there is no budget"
            )
        return round(target, 12)

    def _pairs(self, slo: Document, period_ms: int) -> tuple[Pair, ...]:
        if slo.get("spec", "alertPolicies", default=None) is None:
            return pairs(period_ms)
        found: list[Pair] = []
        for i in range(slo.length("spec", "alertPolicies")):
            found += self._of_policy(*self._referred(slo, ("spec", "alertPolicies", i), "AlertPolicy"), period_ms)
        if len(found) > CONDITIONS_MAX:
            raise slo.problem("spec.alertPolicies", f"have more than {CONDITIONS_MAX} conditions")
        return tuple(sorted(set(found), key=lambda pair: (pair.long_ms, pair.factor)))

    def _referred(self, document: Document, path: tuple[Any, ...], kind: str) -> tuple[Document, tuple[Any, ...]]:
        """The document and path of an AlertPolicy or AlertCondition that is given by name, by reference, or in place."""
        given = document.get(*path, default=None)
        ref = f"{kind[0].lower()}{kind[1:]}Ref" if kind == "AlertPolicy" else "conditionRef"
        name = given if isinstance(given, str) else given.get(ref) if isinstance(given, dict) else None
        if name is None:
            self._only(document, path, ("kind", "metadata", "spec"), ("apiVersion",))
            return document, (*path, "spec")
        other = self._known.get((kind, str(name)))
        if other is None:
            raise document.problem(document.at(*path), f"names no {kind} of these files: {str(name)[:80]!r}")
        self._only(other, (), ("apiVersion", "kind", "metadata", "spec"), ())
        return other, ("spec",)

    def _of_policy(self, policy: Document, path: tuple[Any, ...], period_ms: int) -> list[Pair]:
        takes = ("conditions", "alertWhenBreaching", "alertWhenNoData", "alertWhenResolved")
        self._only(policy, path, takes, ("description", "notificationTargets"))
        if policy.get(*path, "alertWhenNoData", default=False) is not False:
            raise policy.problem(
                policy.at(*path, "alertWhenNoData"), "is true; what doesn't come is told by a freshness objective"
            )
        if policy.get(*path, "alertWhenBreaching", default=True) is not True:
            return []
        places = [(*path, "conditions", i) for i in range(policy.length(*path, "conditions"))]
        return [self._condition(*self._referred(policy, place, "AlertCondition"), period_ms) for place in places]

    def _condition(self, document: Document, path: tuple[Any, ...], period_ms: int) -> Pair:
        self._only(document, path, ("severity", "condition"), ("description",))
        severity = SEVERITIES.get(document.text(*path, "severity").lower())
        if severity is None:
            raise document.problem(document.at(*path, "severity"), f"is none of {', '.join(SEVERITIES)}")
        path = (*path, "condition")
        self._only(document, path, ("kind", "op", "threshold", "lookbackWindow", "alertAfter"), ())
        if document.text(*path, "kind").lower() != "burnrate":
            raise document.problem(document.at(*path, "kind"), "is not burnrate, the one kind there is")
        op = document.get(*path, "op", default="gte")
        if op not in {"gt", "gte"}:
            raise document.problem(document.at(*path, "op"), "is neither gt nor gte: what burns fast is told")
        threshold = document.number(*path, "threshold")
        if not FACTOR_MIN <= threshold <= 1e6:
            raise document.problem(
                document.at(*path, "threshold"), f"is not {FACTOR_MIN:g} or more: a budget outlives a lower burn rate"
            )
        long_ms = duration_ms(document.text(*path, "lookbackWindow"))
        if long_ms is None or not SHORTEST_MS <= long_ms <= period_ms:
            raise document.problem(document.at(*path, "lookbackWindow"), "is not 12m to the objective's own window")
        short_ms = short_of(long_ms)
        if document.get(*path, "alertAfter", default=None) is not None:
            after = duration_ms(document.text(*path, "alertAfter"))
            if after is None or after >= long_ms:
                raise document.problem(document.at(*path, "alertAfter"), "is no time shorter than lookbackWindow")
            short_ms = max(after, short_ms)
        return Pair(long_ms, short_ms, threshold, severity, strict=op == "gt")


SHORTEST_MS = 12 * MINUTE_MS
"""Of a long window: its short one has a minute."""
