"""A post-mortem is published once to each receiver, whatever dies in between, and never as a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.embedded.incident_commands import Incidents, incidents
from streamdrift.embedded.learning_commands import Learning, learning
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.ledger import KEPT_S
from streamdrift.escalate.outbox_rows import POSTMORTEM
from streamdrift.escalate.receivers import Confluence, Delivered, Jira, Markdown, Outcome, Page, Permanent
from streamdrift.settings import EscalateSettings, MarkdownSettings, Settings
from tests.escalate.conftest import House, KeepingReceiver, make_alert
from tests.escalate.rigs import confluence_settings, jira_settings
from tests.escalate.test_conversations import told

JIRA_OK = orjson.dumps({"id": "10042", "key": "OPS-17", "issues": [], "comments": [], "transitions": []})


def settings_of(here: House, folder: Path | None = None, server: ScriptedServer | None = None) -> Settings:
    known: dict[str, Any] = {"ledger": here.path, "markdown": MarkdownSettings(folder=folder)}
    if server is not None:
        known |= {"confluence": confluence_settings(server.url), "jira": jira_settings(server.url)}
    return Settings(escalate=EscalateSettings().model_copy(update=known))


def do(here: House, settings: Settings, incident: str, **other: Any) -> str:
    return learning(Learning("postmortem", incident, **other), settings, here.clock.now())[0]


def over(here: House) -> str:
    alert = make_alert()
    here.step(alert)
    here.step(make_alert(closes=alert, at=5))
    (incident,) = here.ledger.incidents.all()
    return incident.incident_id


def test_it_goes_to_a_file_once_and_belongs_to_those_who_edit_it(tmp_path: Path, house: Callable[..., House]) -> None:
    here = house(Markdown(MarkdownSettings(folder=tmp_path)))
    settings = settings_of(here, tmp_path)
    incident = over(here)
    assert do(here, settings, incident, publish=True) == f"{incident}: post-mortem to markdown: handed to the worker"
    assert "waits for the worker already" in do(here, settings, incident, publish=True)
    here.step()
    path = tmp_path / f"{incident}-postmortem.md"
    assert path.read_text(encoding="utf-8").startswith(f"# Post-mortem {incident}")
    assert (tmp_path / f"{incident}.md").exists(), "the incident's own file is another"
    path.write_text("edited", encoding="utf-8")
    said = do(here, settings, incident, publish=True)
    assert f"told before, as {path.name}; it belongs to those who edit it" in said
    here.step()
    assert path.read_text(encoding="utf-8") == "edited"
    entries = here.ledger.timeline.entries(incident)
    assert "post-mortem delivered to markdown" in [entry.text for entry in entries]
    assert here.ledger.timeline.entries(incident + POSTMORTEM) == []
    told_pages = [entry for entry in entries if entry.kind == "delivered" and entry.detail["action"] == "trigger"]
    assert len(told_pages) == 1, "a post-mortem is no page"


def test_what_goes_on_is_not_published(tmp_path: Path, house: Callable[..., House]) -> None:
    here = house()
    here.step(make_alert())
    incident = here.ledger.incidents.all()[0].incident_id
    with pytest.raises(SettingsProblem, match="is open; a post-mortem is published once"):
        do(here, settings_of(here, tmp_path), incident, publish=True)
    assert here.ledger.actions.of(incident) == [], "all or nothing"


def test_where_it_can_not_go_is_told(tmp_path: Path, house: Callable[..., House]) -> None:
    here = house()
    incident = over(here)
    for folder, other, words in (
        (None, {"publish": True}, "no receiver that keeps documents"),
        (tmp_path, {"publish": True, "to": ("confluence",)}, "confluence is not set up for documents; markdown can be"),
        (tmp_path, {"to": ("markdown",)}, "add --publish"),
    ):
        with pytest.raises(SettingsProblem, match=words):
            do(here, settings_of(here, folder), incident, **other)


def test_pages_and_ends_leave_it_alone(receiver: KeepingReceiver, tmp_path: Path, house: Callable[..., House]) -> None:
    receiver.name = "markdown"
    here = house(receiver)
    incident = over(here)
    do(here, settings_of(here, tmp_path), incident, publish=True)
    again = make_alert(at=10, events_seen=13_000)
    here.worker._deliverer._receivers = ()  # nothing is delivered yet
    here.step(again)
    here.step(make_alert(closes=again, at=12))
    assert [(row.action, row.state) for row in here.ledger.outbox.rows(incident) if row.incident_id != incident] == [
        ("trigger", "pending")
    ]
    here.crash()
    here.step()
    assert [page.dedup_key for page in receiver.pages].count(incident + POSTMORTEM) == 1


def test_one_that_was_given_up_is_listed_and_sent_again_and_calls_nobody(
    tmp_path: Path, house: Callable[..., House]
) -> None:
    keeps, pager = KeepingReceiver("markdown"), KeepingReceiver("pager")
    fallback = Settings(escalate=EscalateSettings(fallback="pager"))
    here = house(keeps, pager, settings=fallback)
    incident = over(here)
    settings = settings_of(here, tmp_path)
    keeps.script.append(Permanent("no room"))
    do(here, settings, incident, publish=True)
    here.step()
    here.step()
    assert [page.action for page in pager.pages] == ["trigger", "resolve"], "nobody is called for a document"
    rows = json.loads(incidents(Incidents("redrive", incident[:8], as_json=True), settings, here.clock.now()))
    assert [(row["incident_id"], row["kept_back"], row["sent_again"]) for row in rows] == [(incident, None, True)]
    keeps.script.append(Permanent("no room"))
    here.step()
    assert "it had been given up" in do(here, settings, incident, publish=True)
    here.step()
    assert [page.dedup_key for page in keeps.pages][-3:] == [incident + POSTMORTEM] * 3
    assert here.ledger.outbox.dead() == []
    shown = incidents(Incidents("show", incident), settings, here.clock.now())
    assert "  markdown       post-mortem" in shown


@pytest.mark.parametrize("when", ["before it is sent", "after it was sent"])
def test_a_crash_publishes_it_once(tmp_path: Path, house: Callable[..., House], when: str) -> None:
    class Killed(BaseException):
        pass

    class Fragile:
        name = "markdown"

        def __init__(self) -> None:
            self.real, self.kills, self.made = Markdown(MarkdownSettings(folder=tmp_path)), 1, 0

        def send(self, page: Page, now: float) -> Outcome:
            if POSTMORTEM in page.dedup_key and self.kills:
                self.kills -= 1
                if when == "after it was sent":
                    self.real.send(page, now)
                    self.made += 1
                    next(tmp_path.glob("*-postmortem.md")).write_text("edited", encoding="utf-8")
                raise Killed
            return self.real.send(page, now)

    here = house(Fragile())
    incident = over(here)
    do(here, settings_of(here, tmp_path), incident, publish=True)
    with pytest.raises(Killed):
        here.step()
    here.crash()
    here.step()
    (path,) = tmp_path.glob("*-postmortem.md")
    text = path.read_text(encoding="utf-8")
    assert (text == "edited") == (when == "after it was sent")
    assert [row.state for row in here.ledger.outbox.rows(incident) if row.incident_id != incident] == ["done"]


def test_on_confluence_it_is_a_page_that_is_made_once(server: ScriptedServer, house: Callable[..., House]) -> None:
    here = house(Confluence(confluence_settings(server.url)))
    server._default.status, server._default.body = 200, orjson.dumps({"id": "4711"})
    incident = over(here)
    told(server)
    settings = settings_of(here, None, server)
    do(here, settings, incident, publish=True, to=("confluence",))
    server.script.append(Script(fault="reset"))
    here.step()
    assert [path for path, _ in told(server)] == ["/wiki/api/v2/pages"]
    clash = {"errors": [{"status": 400, "title": "A page with this title already exists: in this space"}]}
    server.script.extend(
        [Script(400, body=orjson.dumps(clash)), Script(200, body=orjson.dumps({"results": [{"id": "12"}]}))]
    )
    here.wait(120)
    (path, body), (look, _) = told(server)
    assert (path, body["title"]) == ("/wiki/api/v2/pages", f"Post-mortem {incident}: flight-delay")
    assert "<h2>RCA: 5 Whys</h2>" in body["body"]["value"]
    assert "title=Post-mortem" in look
    assert here.ledger.outbox.reference("confluence", incident + POSTMORTEM) == "12"
    assert here.ledger.outbox.reference("confluence", incident) == "4711", "the incident's own page is another"
    here.ledger.prune(here.clock.now() + KEPT_S + 86_400)
    assert here.ledger.outbox.reference("confluence", incident) is None
    assert here.ledger.outbox.reference("confluence", incident + POSTMORTEM) == "12", "kept with what was learnt"


def test_on_jira_it_is_a_comment_on_the_incidents_ticket(server: ScriptedServer, house: Callable[..., House]) -> None:
    here = house(Jira(jira_settings(server.url)))
    server._default.status, server._default.body = 201, orjson.dumps({"id": "1", "key": "OPS-17"})
    incident = over(here)
    told(server)
    do(here, settings_of(here, None, server), incident, publish=True, to=("jira",))
    server.script.append(Script(fault="reset"))
    here.step()
    ((path, body),) = told(server)
    assert path == "/rest/api/3/issue/OPS-17/comment"
    mark = body["body"]["content"][0]["content"][0]["text"]
    server.script.append(Script(200, body=orjson.dumps({"comments": [{"body": {"text": mark}}]})))
    here.wait(120)
    assert [path.partition("?")[0] for path, _ in told(server)] == ["/rest/api/3/issue/OPS-17/comment"], (
        "only looked for"
    )
    assert here.ledger.outbox.reference("jira", incident + POSTMORTEM) == "OPS-17"


def test_on_jira_without_a_ticket_it_is_one(server: ScriptedServer, house: Callable[..., House]) -> None:
    here = house(KeepingReceiver())
    incident = over(here)
    settings = settings_of(here, None, server)
    server._default.status, server._default.body = 201, orjson.dumps({"id": "1", "key": "OPS-18", "issues": []})
    here.receivers = (Jira(jira_settings(server.url)),)
    here.crash()
    do(here, settings, incident, publish=True, to=("jira",))
    server.script.append(Script(fault="reset"))
    here.step()
    ((path, body),) = told(server)
    assert (path, body["fields"]["summary"]) == ("/rest/api/3/issue", f"Post-mortem {incident}: flight-delay")
    server.script.append(Script(200, body=orjson.dumps({"issues": [{"key": "OPS-3"}]})))
    here.wait(120)
    ((path, body),) = told(server)
    assert f'labels = "streamdrift-postmortem-{incident}"' in body["jql"]
    assert here.ledger.outbox.reference("jira", incident + POSTMORTEM) == "OPS-3"


def test_a_long_one_keeps_its_beginning_on_jira(server: ScriptedServer, house: Callable[..., House]) -> None:
    here = house(Jira(jira_settings(server.url)))
    server._default.status, server._default.body = 201, JIRA_OK
    alerts = [make_alert(f"f{i}", at=i) for i in range(100)]
    here.step(*alerts)
    here.step(*(make_alert(closes=alert, at=200) for alert in alerts))
    told(server)
    incident = here.ledger.incidents.all()[0].incident_id
    do(here, settings_of(here, None, server), incident, publish=True, to=("jira",))
    here.step()
    description = told(server)[-1][1]["body"]
    assert len(orjson.dumps(description).decode()) <= 32_000
    headings = [node["content"][0]["text"] for node in description["content"] if node["type"] == "heading"]
    assert headings[:3] == ["Summary", "Impact", "Detect"]


def test_a_reference_of_delivery_is_kept(
    receiver: KeepingReceiver, tmp_path: Path, house: Callable[..., House]
) -> None:
    receiver.name = "markdown"
    receiver.script.extend([Delivered(), Delivered(), Delivered(reference="page 9")])
    here = house(receiver)
    incident = over(here)
    settings = settings_of(here, tmp_path)
    do(here, settings, incident, publish=True)
    here.step()
    assert "as page 9" in do(here, settings, incident, publish=True)
    told_all = json.loads(do(here, settings, incident, as_json=True))
    assert told_all["published"] == {}
    assert told_all["title"] == f"Post-mortem {incident}: flight-delay"
