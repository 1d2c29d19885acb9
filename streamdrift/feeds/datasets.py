"""What OpenLineage's facets say of one dataset: that its columns changed, that tests failed, how fresh and how full it is.

Source: OpenLineage's specification, facets ``schema``, ``lifecycleStateChange``, ``dataQualityAssertions``, ``dataQualityMetrics`` (with
``lastUpdated`` from its dataset facet), ``inputStatistics``, ``outputStatistics``. All of them are optional, so what is not as specified is
passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamdrift.errors import Rejected
from streamdrift.events import fields
from streamdrift.events.source_report import COLUMNS_MAX as REPORTED_MAX
from streamdrift.events.source_report import ROWS_MAX, SourceReport
from streamdrift.settings import SourceSettings

NAME_LENGTH_MAX = 512
COLUMNS_MAX, SHOWN_MAX = 1_000, 5
LIFECYCLE = {
    "ALTER": ("schema", "was altered"),
    "CREATE": ("schema", "was made"),
    "DROP": ("schema", "was dropped"),
    "RENAME": ("schema", "was renamed"),
    "OVERWRITE": ("data-source", "was written over"),
    "TRUNCATE": ("data-source", "was emptied"),
}
"""Kind of change and words for each state change."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset of a run.

    Attributes
    ----------
    facets
        All that it has, of whatever group.
    written
        Whether the run wrote it, or it is told of by itself.
    """

    namespace: str
    name: str
    facets: Mapping[str, Any]
    written: bool

    @property
    def source(self) -> str:
        """What reports call it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def feeds(self, sources: Mapping[str, SourceSettings]) -> dict[str, SourceSettings]:
        """Return the sources of the settings that it is, by the name that reports call them."""
        named = {source.name or rule: source for rule, source in sources.items()}
        return {name: source for name, source in named.items() if name in {self.source, self.name}}


def dataset(given: Any, *, written: bool) -> Dataset | None:
    """Read one; None where it has no name."""
    if not isinstance(given, dict):
        return None
    namespace, name = given.get("namespace"), given.get("name")
    if not isinstance(name, str) or not name or not isinstance(namespace, str | None):
        return None
    facets: dict[str, Any] = {}
    for group in ("facets", "inputFacets", "outputFacets"):
        found = given.get(group)
        facets |= found if isinstance(found, dict) else {}
    return Dataset((namespace or "")[:NAME_LENGTH_MAX], name[:NAME_LENGTH_MAX], facets, written)


def facet(found: Dataset, name: str) -> Mapping[str, Any]:
    """Return a facet; empty where it isn't there."""
    value = found.facets.get(name)
    return value if isinstance(value, dict) else {}


def lifecycle(found: Dataset) -> tuple[str, str] | None:
    """Return kind and summary of a state change; None where there was none."""
    said = facet(found, "lifecycleStateChange")
    what = LIFECYCLE.get(str(said.get("lifecycleStateChange")))
    if what is None:
        return None
    kind, words = what
    before = said.get("previousIdentifier")
    was = before.get("name") if isinstance(before, dict) else None
    return kind, f"{found.source} {words}" + (f"; it was {was}" if isinstance(was, str) and was else "")


def failed(found: Dataset) -> str | None:
    """Return a summary of the tests that failed on it; None where none did."""
    tests = facet(found, "dataQualityAssertions").get("assertions")
    names = [
        f"{test.get('assertion')}({test.get('column') or ''})"
        for test in (tests if isinstance(tests, list) else [])
        if isinstance(test, dict) and test.get("success") is False
    ]
    return f"{found.source}: {len(names):,} tests failed: {_listed(names)}" if names else None


def columns(found: Dataset) -> dict[str, str]:
    """Return type by name of its columns, those in structures with a dot; empty where it doesn't say."""
    given: dict[str, str] = {}
    rest: list[tuple[str, Any]] = [("", facet(found, "schema").get("fields"))]
    while rest and len(given) < COLUMNS_MAX:
        prefix, below = rest.pop()
        for one in below if isinstance(below, list) else []:
            if isinstance(one, dict) and isinstance(one.get("name"), str) and len(given) < COLUMNS_MAX:
                name = f"{prefix}{one['name']}"[:NAME_LENGTH_MAX]
                given[name] = str(one.get("type") or "")[:64]
                rest.append((f"{name}.", one.get("fields")))
    return given


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Say in what columns differ: ``+ age; − sex; country: string → int``."""
    told = [f"+ {name}" for name in after if name not in before]
    told += [f"− {name}" for name in before if name not in after]
    told += [f"{name}: {before[name]} → {kind}" for name, kind in after.items() if before.get(name, kind) != kind]
    return _listed(told)


def _listed(names: list[str]) -> str:
    rest = len(names) - SHOWN_MAX
    return "; ".join(names[:SHOWN_MAX]) + (f"; {rest:,} more" if rest > 0 else "")


def report(found: Dataset, at: int, *, complete: bool) -> SourceReport | None:
    """Return how fresh and full it is; None where it doesn't say.

    A run that completed and wrote rows says how fresh what it wrote is: as of now. A run that wrote none says nothing of it.
    """
    metrics = facet(found, "dataQualityMetrics")
    rows = _count(metrics.get("rowCount"))
    shares = _shares(metrics.get("columnMetrics"), rows)
    statistics = facet(found, "outputStatistics" if found.written else "inputStatistics")
    counted = _count(statistics.get("rowCount"))
    newest = _time(metrics.get("lastUpdated"))
    if newest is None and found.written and complete and counted != 0:
        newest = at
    if newest is None and not shares:
        return None
    return SourceReport(found.source, at, newest, rows if rows is not None else counted, shares)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= ROWS_MAX else None


def _time(value: Any) -> int | None:
    try:
        return fields.time_ms(value, "lastUpdated")
    except Rejected:
        return None


def _shares(given: Any, rows: int | None) -> dict[str, float]:
    """Share of nulls by column, of those that say it."""
    found: dict[str, float] = {}
    for column, said in given.items() if isinstance(given, dict) else ():
        nulls = _count(said.get("nullCount")) if isinstance(said, dict) else None
        values = rows if rows is not None else _count(said.get("count")) if isinstance(said, dict) else None
        if nulls is not None and values and nulls <= values and len(found) < REPORTED_MAX:
            found[column] = nulls / values
    return found
