"""OpenLineage's run events: ends of jobs, and what their datasets' facets say.

Source: OpenLineage's specification 2-0-2: ``eventType``, ``eventTime``, ``run.runId``, ``job.namespace``, ``job.name``, ``inputs``, ``outputs``;
``DatasetEvent`` has ``dataset`` in place of run and job. The run's id makes ids that are the same when an event comes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from streamdrift.errors import Rejected
from streamdrift.events import fields
from streamdrift.events.source_report import SourceReport
from streamdrift.feeds import datasets
from streamdrift.feeds.datasets import Dataset
from streamdrift.feeds.drafts import Scope, event, identity
from streamdrift.feeds.schemas import Schemas
from streamdrift.settings import SourceSettings

ENDS = {"COMPLETE": "completed", "FAIL": "failed", "ABORT": "was aborted"}
DATASETS_MAX = 100
"""Of one event."""
FEATURE_STORES = ("feast",)
"""In the producer's URL or the job's namespace: its jobs fill a feature store."""


@dataclass(slots=True)
class Lineage:
    """What one event says.

    Attributes
    ----------
    schemas
        Columns by dataset, to be kept once the drafts are published.
    """

    drafts: list[dict[str, Any]]
    reports: list[SourceReport]
    schemas: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Run:
    run: str
    job: str
    end: str | None
    kind: str
    at: int
    error: str


def read(
    body: Mapping[str, Any], scope: Scope, sources: Mapping[str, SourceSettings], seen: Schemas, *, failed_only: bool
) -> Lineage:
    """Return what an event changes.

    Parameters
    ----------
    sources
        Those of the settings: of what a dataset that is one of them says models and features are known.
    seen
        Columns that datasets had.
    failed_only
        Whether a run that completed is no change.

    Raises
    ------
    Rejected
        It is no event of OpenLineage.
    """
    run = _run(body)
    found = list(_datasets(body))[:DATASETS_MAX]
    lineage = Lineage([], [], {})
    if run.end is not None and not (failed_only and run.end == "COMPLETE"):
        said = f"job {run.job} {ENDS[run.end]}{run.error}"
        change_id = identity("openlineage", run.run, run.job, run.end)
        lineage.drafts.append(_draft(change_id, run.at, run.kind, said, scope, _fed(found, sources)))
    for one in found:
        for what, kind, said in _changes(one, run, seen, lineage):
            change_id = identity("openlineage", run.run, one.source, what)
            lineage.drafts.append(_draft(change_id, run.at, kind, said, scope, list(one.feeds(sources).values())))
        report = datasets.report(one, run.at, complete=run.end == "COMPLETE")
        lineage.reports += [replace(report, source=name) for name in one.feeds(sources)] if report else []
    return lineage


def _changes(one: Dataset, run: _Run, seen: Schemas, lineage: Lineage) -> Iterable[tuple[str, str, str]]:
    """What happened to a dataset, each as its name in ids, kind and summary."""
    state = datasets.lifecycle(one)
    if state is not None:
        yield "lifecycle", *state
    if said := datasets.failed(one):
        yield "assertions", "data-source", said
    columns = datasets.columns(one) if one.written else {}  # who reads may name but the columns that it needs
    if columns and run.end not in {"FAIL", "ABORT"}:
        before = seen.get(one.source)
        if before is not None and (what := datasets.difference(before, columns)):
            yield "schema", "schema", f"columns of {one.source} changed: {what}"
        lineage.schemas[one.source] = columns


def _run(body: Mapping[str, Any]) -> _Run:
    run, job = fields.mapping(body, "run"), fields.mapping(body, "job")
    run_id, name = fields.text(run, "runId", 64), fields.text(job, "name", 512)
    if "dataset" not in body and (not run_id or not name):
        raise Rejected(
            "missing_field", "a run event has `run.runId` and `job.name`, as text; a dataset event `dataset`"
        )
    namespace = fields.text(job, "namespace", 512) or ""
    producer = str(body.get("producer") or "").lower()
    stored = any(word in producer or word in namespace.lower() for word in FEATURE_STORES)
    kind = "feature-store" if stored else "feature-pipeline"
    end = body.get("eventType")
    at = fields.time_ms(body.get("eventTime"), "eventTime")
    told = fields.mapping(run, "facets").get("errorMessage")
    error = told.get("message") if isinstance(told, dict) else None
    return _Run(
        run_id or str(at),
        f"{namespace}/{name}" if namespace else name or "",
        end if isinstance(end, str) and end in ENDS else None,
        kind,
        at,
        f": {error}" if isinstance(error, str) and error else "",
    )


def _datasets(body: Mapping[str, Any]) -> Iterable[Dataset]:
    for group, written in (("outputs", True), ("inputs", False)):
        given = body.get(group)
        for one in given if isinstance(given, list) else []:
            found = datasets.dataset(one, written=written)
            if found is not None:
                yield found
    alone = datasets.dataset(body.get("dataset"), written=True)
    if alone is not None:
        yield alone


def _fed(found: Iterable[Dataset], sources: Mapping[str, SourceSettings]) -> list[SourceSettings]:
    """The sources that a run wrote."""
    return [source for one in found if one.written for source in one.feeds(sources).values()]


def _draft(change_id: str, at: int, kind: str, summary: str, scope: Scope, fed: list[SourceSettings]) -> dict[str, Any]:
    """Where a source is known, its models and features are the scope; where one of several feeds all, there is no bound."""
    return event(
        change_id,
        at,
        kind,
        summary,
        models=_union([source.models for source in fed]) or scope.models,
        features=_union([source.features for source in fed]) or scope.features,
    )


def _union(names: list[tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some)) if all(names) else []
