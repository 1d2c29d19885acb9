"""Settings of what is upstream: the hook that takes changes from elsewhere, and the sources that features come from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from streamdrift.settings.values import Count, Findings, Name, Positive, Secret, Section, refuse

SECRET_LENGTH_MIN = 16
"""Shorter ones could be guessed over the network."""


class ChangesSettings(Section):
    """`streamdrift changes serve`: takes changes over HTTP. Each endpoint is on when its secret is set."""

    host: Name = "0.0.0.0"  # noqa: S104 - a container's hook must be reachable from those that call it
    """Address that it listens on. It speaks plain HTTP: put what ends TLS in front of it."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9_465
    """Its port; 0 takes a free one and logs it."""
    token: Secret | None = None
    """Bearer token of `/v1/changes`, `/v1/sources` and OpenLineage's `/api/v1/lineage`; `changes send --hook` gives it. 16 characters or more."""
    pagerduty_key: Secret | None = None
    """Routing key that PagerDuty change events to `/v2/change/enqueue` have to carry. 16 characters or more."""
    mlflow_secret: Secret | None = None
    """Secret by which MLflow signs its webhooks to `/v1/mlflow`. 16 characters or more."""
    job_runs: Literal["all", "failed"] = "all"
    """Which ends of OpenLineage's runs are changes: each, or those that failed or were aborted alone."""
    body_bytes_max: Annotated[int, Field(ge=1_000, le=900_000)] = 262_144
    """Largest body of a request; larger ones are refused unread."""
    connections_max: Count = 32
    """Connections at the same time; further ones are told to come again."""
    requests_per_minute_max: Count = 600
    """Requests with the right secret in a minute, in bursts of a tenth of that; further ones are told to come again."""
    request_timeout_s: Positive = 10.0
    """How long a request may take to come in, all of it together."""
    publish_timeout_s: Positive = 10.0
    """How long the broker may take to acknowledge; then the sender is told to come again."""

    @model_validator(mode="after")
    def _hold(self) -> Self:
        refuse(self._findings())
        return self

    def _findings(self) -> Findings:
        for field in ("token", "pagerduty_key", "mlflow_secret"):
            given: SecretStr | None = getattr(self, field)
            if given is not None and len(given.get_secret_value()) < SECRET_LENGTH_MIN:
                yield field, f"is shorter than {SECRET_LENGTH_MIN} characters, which can be guessed"


class SourceSettings(Section):
    """A source that features come from, under a name of its own. What is wrong with it is a suspect of incidents of those features."""

    name: Name | None = None
    """What reports call it (OpenLineage: `namespace/name`, or the name alone); the rule's own name without."""
    models: tuple[Name, ...] = ()
    """Models that it feeds; all without."""
    features: tuple[Name, ...] = ()
    """Features that it feeds; all of those models without."""
    fresh_s: Positive | None = None
    """How old its newest row may be; not looked at without."""
    null_share_max: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of nulls that a column may have; not looked at without."""
    columns: tuple[Name, ...] = ()
    """Columns that `null_share_max` is for; all that are reported without."""
    report_s: Positive | None = None
    """How long it may be without a report; not looked at without."""

    @model_validator(mode="after")
    def _looks(self) -> Self:
        refuse(self._findings())
        return self

    def _findings(self) -> Findings:
        if self.fresh_s is None and self.null_share_max is None and self.report_s is None:
            yield "fresh_s", "is not given, nor null_share_max or report_s, so nothing is looked at; give one of them"
        if self.columns and self.null_share_max is None:
            yield "columns", "is given without null_share_max, so nothing is looked at; give both or neither"
