"""Receivers as the settings ask for them, what the worker tells them of earlier attempts, and those without a protocol of their own."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr, ValidationError

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.receivers import Ambiguous, Apprise, Delivered, Markdown, build_receivers
from streamdrift.settings import (
    AlertmanagerSettings,
    AppriseSettings,
    ConfluenceSettings,
    EmailSettings,
    EscalateSettings,
    JiraSettings,
    MarkdownSettings,
    Settings,
    SlackSettings,
    SlackWebhookSettings,
)
from streamdrift.telemetry import Metrics
from tests.escalate.conftest import NOW, House, KeepingReceiver, make_alert
from tests.escalate.rigs import CHANNEL, TOKEN, confluence_settings, jira_settings, make_page


def test_all_receivers_can_be_on(tmp_path: Path) -> None:
    settings = EscalateSettings(
        slack=SlackSettings(token=SecretStr(TOKEN), channel=CHANNEL),
        slack_webhook=SlackWebhookSettings(url=SecretStr("https://hooks.slack.com/services/T/B/x")),
        alertmanager=AlertmanagerSettings(url="http://localhost:9093"),
        jira=jira_settings("https://example.atlassian.net"),
        confluence=confluence_settings("https://example.atlassian.net"),
        markdown=MarkdownSettings(folder=tmp_path),
        email=EmailSettings(host="localhost", sender="drift@example.com", recipients=("oncall@example.com",)),
    )
    names = [receiver.name for receiver in build_receivers(Settings(escalate=settings), Metrics())]
    assert names == ["slack", "slack_webhook", "alertmanager", "email", "jira", "markdown", "confluence"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SlackSettings(token=SecretStr(TOKEN)), "channel is needed with token; give all of token, channel"),
        (lambda: SlackSettings(token=SecretStr(TOKEN), channel="#alerts"), "is no id of a channel"),
        (lambda: SlackWebhookSettings(url=SecretStr("hooks.slack.com/x")), "is not a URL that begins with https://"),
        (lambda: AlertmanagerSettings(url="http://am", username="me"), "password is needed with username"),
        (lambda: JiraSettings(url="https://x.example"), "token is needed with url"),
        (lambda: JiraSettings(project='OPS" OR x'), "is no key of a project"),
        (lambda: ConfluenceSettings(parent_id=1), "parent_id is given without url"),
        (lambda: EmailSettings(host="mx", sender="a@b.c"), "recipients is empty"),
        (lambda: EmailSettings(sender="a@b.c\r\nBcc: x@y.z"), "is no mail address"),
        (lambda: EmailSettings(sender="a@b.c\n"), "is no mail address"),
        (lambda: EmailSettings(username="me", password=SecretStr("x"), security="none"), "in the clear"),
    ],
)
def test_what_does_not_go_together_is_told(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValidationError) as found:
        make()
    assert told in str(found.value)
    assert TOKEN not in str(found.value)


def test_a_receiver_hears_that_it_may_have_told_it(house: Callable[..., House]) -> None:
    receiver = KeepingReceiver(script=deque([Ambiguous("no answer", seconds=40.0)]))
    worker = house(receiver)
    worker.step(make_alert())
    worker.wait(30)
    assert [page.uncertain for page in receiver.pages] == [False]  # not before it could be found
    worker.wait(30)
    assert [page.uncertain for page in receiver.pages] == [False, True]


# Markdown ------------------------------------------------------------------------------------------------------------


def test_a_file_per_incident_is_written_anew(tmp_path: Path) -> None:
    receiver = Markdown(MarkdownSettings(folder=tmp_path))
    assert receiver.send(make_page(), NOW) == Delivered(reference="incident-1.md")
    receiver.send(make_page("resolve", "incident-1.2"), NOW)
    (file,) = tmp_path.iterdir()
    assert "| State | resolved |" in file.read_text(encoding="utf-8")


def test_a_post_mortem_is_not_written_over(tmp_path: Path) -> None:
    from streamdrift.escalate.receivers.documents import Document, Paragraph

    receiver = Markdown(MarkdownSettings(folder=tmp_path))
    document = Document("Post-mortem", (Paragraph("draft"),))
    assert receiver.write("c0ffee-postmortem", document, once=True).name == "delivered"
    (tmp_path / "c0ffee-postmortem.md").write_text("edited")
    assert receiver.write("c0ffee-postmortem", document, once=True) == Delivered("it was there", "c0ffee-postmortem.md")
    assert (tmp_path / "c0ffee-postmortem.md").read_text() == "edited"


def test_a_folder_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    receiver = Markdown(MarkdownSettings(folder=tmp_path / "share"))
    found = receiver.send(make_page(), NOW)
    assert (found.name, "No such file" in found.reason) == ("retry", True)
    (tmp_path / "share").mkdir()
    assert receiver.send(make_page(), NOW).name == "delivered"
    assert [path.name for path in (tmp_path / "share").iterdir()] == ["incident-1.md"]


# Apprise -------------------------------------------------------------------------------------------------------------


def apprise(urls: str) -> Apprise:
    pytest.importorskip("apprise", reason="needs Apprise, an extra")
    return Apprise(AppriseSettings(urls=SecretStr(urls)))


@pytest.mark.filterwarnings("ignore:.imghdr.:DeprecationWarning")
def test_apprise_tells_its_services(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    server._default.status = 200
    place = server.url.removeprefix("http://")
    receiver = apprise(f"json://{place}\njson://{place}")
    assert receiver.send(make_page(), NOW).name == "delivered"
    assert len(server.requests) == 2
    body: Any = orjson.loads(server.requests[0].body)
    assert body["title"].startswith("[open] flight-delay: null_rate")
    assert "Severity: warning" in body["message"]
    caplog.set_level(logging.DEBUG)
    server.script.extend([Script(500), Script(200)])
    assert receiver.send(make_page(), NOW).name == "retry"
    assert "path-token-canary" not in caplog.text + repr(receiver)


@pytest.mark.filterwarnings("ignore:.imghdr.:DeprecationWarning")
def test_an_url_that_apprise_does_not_know_is_told_at_start_by_its_place() -> None:
    with pytest.raises(SettingsProblem, match="the URL at place 2 is none") as found:
        apprise("json://localhost/x canary://secret")
    assert "secret" not in str(found.value)


def test_apprise_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(SettingsProblem, match=r"pip install streamdrift\[apprise\]"):
        Apprise(AppriseSettings(urls=SecretStr("json://localhost")))
