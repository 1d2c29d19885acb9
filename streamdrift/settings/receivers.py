"""Settings of the receivers, a section each. A receiver is on when its section names a place to go to."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamdrift.settings.values import (
    Channel,
    FilePath,
    Findings,
    Header,
    MailAddress,
    Name,
    Positive,
    ProjectKey,
    Secret,
    Section,
    SigningSecret,
    Url,
    refuse,
)


class ReceiverSection(Section):
    """What all have in common: some fields are given together or not at all."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        refuse(self._findings())
        return self

    def _findings(self) -> Findings:
        yield from ()

    def _together(self, *fields: str) -> Findings:
        given = [field for field in fields if getattr(self, field) is not None]
        for field in fields:
            if given and field not in given:
                yield field, f"is needed with {' and '.join(given)}; give all of {', '.join(fields)}, or none"


class PagerDutySettings(ReceiverSection):
    """PagerDuty Events v2. On when it has a routing key."""

    routing_key: Secret | None = None
    """Integration key of the service to page."""
    url: Url = "https://events.pagerduty.com/v2/enqueue"
    """Where events go; `https://events.eu.pagerduty.com/v2/enqueue` in the EU region."""
    timeout_s: Positive = 10.0
    """How long one request may take."""


class WebhookSettings(ReceiverSection):
    """A webhook signed as Standard Webhooks has it. On when it has a URL."""

    url: Url | None = None
    """Where pages go."""
    secret: SigningSecret | None = None
    """Key of the signature, as plain text or `whsec_` and base64."""
    timeout_s: Positive = 10.0
    """How long one request may take."""

    def _findings(self) -> Findings:
        if self.secret is not None and self.url is None:
            yield "secret", "is given without url, so nothing would be sent; give both or neither"


class SlackSettings(ReceiverSection):
    """Slack's web API: a message per incident that is kept up to date, with a thread. On when it has a token and a channel."""

    token: Secret | None = None
    """Token of an app's bot, `xoxb-…`, with `chat:write` and, to look for a message that may have got through, `channels:history` (`groups:history` in a private channel)."""
    channel: Channel | None = None
    """Id of the channel (its details show it, at the bottom); the bot has to be in it."""
    url: Url = "https://slack.com/api"
    """Where the methods are."""
    timeout_s: Positive = 10.0
    """How long one request may take."""

    def _findings(self) -> Findings:
        yield from self._together("token", "channel")


class SlackWebhookSettings(ReceiverSection):
    """An incoming webhook of Slack: messages alone, without threads. On when it has a URL."""

    url: Secret | None = None
    """The webhook's URL, `https://hooks.slack.com/services/…`; who has it can write to the channel."""
    timeout_s: Positive = 10.0
    """How long one request may take."""

    def _findings(self) -> Findings:
        if self.url is not None and not self.url.get_secret_value().startswith(("https://", "http://")):
            yield "url", "is not a URL that begins with https:// or http://"


class AlertmanagerSettings(ReceiverSection):
    """Alertmanager's API v2. On when it has a URL."""

    url: Url | None = None
    """Alertmanager's address, without `/api/v2`."""
    username: Name | None = None
    """User to log in as, if there is something in front that asks."""
    password: Secret | None = None
    """Password of that user."""
    hold_s: Annotated[float, Field(ge=600, le=31_536_000)] = 2_592_000.0
    """For so long an alert fires there if nobody says that it is over. An incident that lasts longer is over there before."""
    timeout_s: Positive = 10.0
    """How long one request may take."""

    def _findings(self) -> Findings:
        yield from self._together("username", "password")
        if self.password is not None and self.url is None:
            yield "password", "is given without url, so nothing would be sent; give both or neither"


class JiraSettings(ReceiverSection):
    """Jira Cloud's API v3: a ticket per incident. On when it has a URL."""

    url: Url | None = None
    """The site, such as `https://example.atlassian.net`."""
    user: MailAddress | None = None
    """Account that writes the tickets."""
    token: Secret | None = None
    """API token of that account."""
    project: ProjectKey | None = None
    """Key of the project, such as `OPS`."""
    issue_type: Header = "Task"
    """Type of an incident's ticket, by name."""
    action_type: Header = "Task"
    """Type of a corrective action's ticket, by name."""
    done_transition: Header | None = None
    """Transition that a ticket takes when its incident is over, by name; without, it is told in a comment alone."""
    timeout_s: Positive = 10.0
    """How long one request may take."""

    def _findings(self) -> Findings:
        yield from self._together("url", "user", "token", "project")


class ConfluenceSettings(ReceiverSection):
    """Confluence Cloud's API v2: a page per incident once it is over. On when it has a URL."""

    url: Url | None = None
    """The site, such as `https://example.atlassian.net`."""
    user: MailAddress | None = None
    """Account that writes the pages."""
    token: Secret | None = None
    """API token of that account."""
    space_id: Annotated[int, Field(ge=1)] | None = None
    """Number of the space."""
    parent_id: Annotated[int, Field(ge=1)] | None = None
    """Number of the page that they go under; without, the space's home page."""
    timeout_s: Positive = 10.0
    """How long one request may take."""

    def _findings(self) -> Findings:
        yield from self._together("url", "user", "token", "space_id")
        if self.parent_id is not None and self.url is None:
            yield "parent_id", "is given without url, so nothing would be written; give both or neither"


class MarkdownSettings(ReceiverSection):
    """A Markdown file per incident. On when it has a folder."""

    folder: FilePath | None = None
    """Where the files go; it has to exist."""


class EmailSettings(ReceiverSection):
    """E-mail by SMTP. On when it has a host."""

    host: Name | None = None
    """The mail server."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    """Its port."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` insists on it; `tls` is encrypted from the first byte (port 465); `none` for a server on this machine."""
    username: Name | None = None
    """User to log in as."""
    password: Secret | None = None
    """Password of that user."""
    sender: MailAddress | None = None
    """Who it is from."""
    recipients: tuple[MailAddress, ...] = ()
    """Who is told, as a JSON list."""
    timeout_s: Positive = 20.0
    """How long one delivery to the server may take."""

    def _findings(self) -> Findings:
        yield from self._together("host", "sender")
        yield from self._together("username", "password")
        if self.host is not None and not self.recipients:
            yield "recipients", "is empty, so nobody would be told; name somebody, or leave host out"
        if self.password is not None and self.security == "none":
            yield "security", "is none, which would send the password in the clear; use starttls or tls"
        if self.password is not None and self.host is None:
            yield "password", "is given without host, so nothing would be sent; give both or neither"


class AppriseSettings(ReceiverSection):
    """Any of the services that Apprise knows (`pip install streamdrift[apprise]`), as well as it can. On when it has URLs."""

    urls: Secret | None = None
    """Apprise's URLs, with white space between them."""
