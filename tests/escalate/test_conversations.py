"""Receivers that make one message, ticket or page of an incident: what they say over its life, and when an answer is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from streamdrift.checks.receivers import Request, Script, ScriptedServer
from streamdrift.escalate.receivers import (
    Alertmanager,
    Ambiguous,
    Confluence,
    CorrectiveAction,
    Delivered,
    Jira,
    JiraActions,
    PagerDuty,
    Progress,
    Slack,
    SlackWebhook,
)
from streamdrift.escalate.receivers.documents import Document, Paragraph
from tests.escalate.conftest import NOW
from tests.escalate.rigs import (
    CHANNEL,
    JIRA_OK,
    SLACK_OK,
    TS,
    OverHttp,
    alertmanager,
    confluence_settings,
    jira_settings,
    make_page,
    pagerduty,
    slack,
    slack_webhook,
)

Told = list[tuple[str, Any]]


def path(request: Request) -> str:
    return request.head.split("\r\n")[0].split(" ")[1].removeprefix("/in/path-token-canary")


def told(server: ScriptedServer) -> Told:
    """Path and body of each request so far, which are forgotten."""
    found = [(path(request), orjson.loads(request.body or b"null")) for request in server.requests]
    server.requests.clear()
    return found


def receiver(made: object) -> Any:
    assert isinstance(made, OverHttp)
    return made.receiver


def answers(server: ScriptedServer, *bodies: Any, status: int = 200) -> None:
    server.script.extend(
        Script(status, body=body if isinstance(body, bytes) else orjson.dumps(body)) for body in bodies
    )


# Slack ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_slack(server: ScriptedServer) -> Slack:
    server._default.status, server._default.body = 200, SLACK_OK
    made: Slack = receiver(slack(server.url, 5))
    return made


def test_slack_keeps_one_message_and_a_thread(on_slack: Slack, server: ScriptedServer) -> None:
    first = on_slack.send(make_page(), NOW)
    assert first == Delivered(reference=TS)
    ((where, message),) = told(server)
    assert (where, message["channel"]) == ("/chat.postMessage", CHANNEL)
    assert "thread_ts" not in message
    assert message["metadata"]["event_payload"]["incident_id"] == "incident-1"

    on_slack.send(replace(make_page(key="incident-1.2", alerts=3), reference=TS), NOW)
    (where, update), (also, reply) = told(server)
    assert (where, update["ts"]) == ("/chat.update", TS)
    assert "3 features" in str(update["blocks"])
    assert (also, reply["thread_ts"], reply["reply_broadcast"]) == ("/chat.postMessage", TS, True)

    on_slack.send(replace(make_page("acknowledge"), reference=TS), NOW)
    assert "acknowledged" in str(told(server)[1][1]["blocks"])

    end = on_slack.send(replace(make_page("resolve"), reference=TS), NOW)
    assert end == Delivered(reference=f"{TS} over")
    (_, update), (_, reply) = told(server)
    assert "State: resolved" in str(update["blocks"])
    assert "reply_broadcast" not in reply


def test_slack_tells_one_end_of_an_incident_with_several_pages(on_slack: Slack, server: ScriptedServer) -> None:
    found = on_slack.send(replace(make_page("resolve", "incident-1.2"), reference=f"{TS} over"), NOW)
    assert (found.name, server.requests) == ("delivered", [])
    on_slack.send(replace(make_page(), reference=f"{TS} over"), NOW)  # opened again
    assert [where for where, _ in told(server)] == ["/chat.update", "/chat.postMessage"]


def history(delivery_id: str, incident: str = "incident-1") -> dict[str, Any]:
    payload = {"delivery_id": delivery_id, "incident_id": incident}
    return {"ok": True, "messages": [{"ts": "9.9"}, {"ts": TS, "metadata": {"event_payload": payload}}]}


def test_slack_looks_for_a_message_that_may_have_got_through(on_slack: Slack, server: ScriptedServer) -> None:
    page = replace(make_page(), uncertain=True)
    answers(server, history(page.delivery_id))
    assert on_slack.send(page, NOW) == Delivered("found", TS)
    ((where, _),) = told(server)
    assert where.startswith(f"/conversations.history?channel={CHANNEL}&include_all_metadata=true")

    answers(server, history("another"))
    on_slack.send(page, NOW)
    assert [where.partition("?")[0] for where, _ in told(server)] == ["/conversations.history", "/chat.postMessage"]

    answers(server, SLACK_OK, history(page.delivery_id))
    on_slack.send(replace(page, reference=TS), NOW)  # in the thread
    assert [where.partition("?")[0] for where, _ in told(server)] == ["/chat.update", "/conversations.replies"]


def test_slack_that_cannot_be_searched_says_perhaps(on_slack: Slack, server: ScriptedServer) -> None:
    answers(server, {"ok": False, "error": "missing_scope"})
    found = on_slack.send(replace(make_page(), uncertain=True), NOW)
    assert (found.name, "perhaps delivered" in found.reason) == ("permanent", True)


def test_an_end_on_slack_finds_what_it_ends_or_says_nothing(on_slack: Slack, server: ScriptedServer) -> None:
    answers(server, history("of the trigger"))
    assert on_slack.send(make_page("resolve"), NOW).name == "delivered"
    assert [where.partition("?")[0] for where, _ in told(server)] == ["/conversations.history", "/chat.postMessage"]
    answers(server, history("of another", "incident-2"))
    assert on_slack.send(make_page("resolve"), NOW).name == "delivered"
    assert len(told(server)) == 1


def test_a_message_that_somebody_removed_is_made_anew(on_slack: Slack, server: ScriptedServer) -> None:
    answers(server, {"ok": False, "error": "message_not_found"}, {"ok": True, "ts": "2.2"})
    assert on_slack.send(replace(make_page(), reference=TS), NOW) == Delivered(reference="2.2")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("invalid_auth", "permanent"),
        ("channel_not_found", "permanent"),
        ("msg_too_long", "permanent"),
        ("something_new", "permanent"),
        ("ratelimited", "retry"),
        ("service_unavailable", "retry"),
        ("internal_error", "ambiguous"),
        ("fatal_error", "ambiguous"),
    ],
)
def test_slack_refuses_in_the_body(on_slack: Slack, server: ScriptedServer, error: str, name: str) -> None:
    answers(server, {"ok": False, "error": error})
    found = on_slack.send(make_page(), NOW)
    assert (found.name, found.reason) == (name, error)


def test_an_update_that_is_not_heard_is_repeated_before_anything_is_posted(
    on_slack: Slack, server: ScriptedServer
) -> None:
    server.script.append(Script(fault="reset"))
    assert on_slack.send(replace(make_page(), reference=TS), NOW).name == "retry"
    assert [where for where, _ in told(server)] == ["/chat.update"]


def test_a_webhook_of_slack_does_not_repeat_what_it_may_have_told(server: ScriptedServer) -> None:
    made: SlackWebhook = receiver(slack_webhook(server.url, 5))
    found = made.send(replace(make_page(), uncertain=True), NOW)
    assert (found.name, "perhaps delivered" in found.reason, server.requests) == ("permanent", True, [])


# Jira ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_jira(server: ScriptedServer) -> Jira:
    server._default.status, server._default.body = 201, JIRA_OK
    return Jira(jira_settings(server.url, done_transition="Done"))


def test_jira_has_one_ticket_and_comments(on_jira: Jira, server: ScriptedServer) -> None:
    assert on_jira.send(make_page(), NOW) == Delivered(reference="OPS-17")
    ((where, body),) = told(server)
    fields = body["fields"]
    assert where == "/rest/api/3/issue"
    assert (fields["project"], fields["issuetype"]) == ({"key": "OPS"}, {"name": "Task"})
    assert fields["labels"] == ["streamdrift", "streamdrift-incident-1"]
    assert fields["summary"].startswith("flight-delay: null_rate")

    on_jira.send(replace(make_page(key="incident-1.2"), reference="OPS-17"), NOW)
    ((where, body),) = told(server)
    assert where == "/rest/api/3/issue/OPS-17/comment"
    assert body["body"]["content"][0]["content"][0]["text"].startswith("Grew: ")


def test_a_ticket_is_moved_when_the_incident_is_over(on_jira: Jira, server: ScriptedServer) -> None:
    offered = {"transitions": [{"id": "11", "name": "In Progress"}, {"id": "31", "name": "done"}]}
    answers(server, offered, b"", {"id": "1"})
    end = on_jira.send(replace(make_page("resolve"), reference="OPS-17"), NOW)
    assert end == Delivered(reference="OPS-17 over")
    asked, moved, commented = told(server)
    assert asked[0] == moved[0] == "/rest/api/3/issue/OPS-17/transitions"
    assert moved[1] == {"transition": {"id": "31"}}
    assert commented[0].endswith("/comment")
    assert on_jira.send(replace(make_page("resolve", "incident-1.2"), reference="OPS-17 over"), NOW).name == "delivered"
    assert told(server) == []


def test_jira_looks_for_a_ticket_that_may_have_been_made(on_jira: Jira, server: ScriptedServer) -> None:
    page = make_page()
    server.script.append(Script(fault="reset"))
    found = on_jira.send(page, NOW)
    assert isinstance(found, Ambiguous)
    assert found.seconds == 60
    server.requests.clear()
    answers(server, {"issues": [{"key": "OPS-3"}]})
    assert on_jira.send(replace(page, uncertain=True), NOW) == Delivered("found", "OPS-3")
    ((where, body),) = told(server)
    assert where == "/rest/api/3/search/jql"
    others = '"streamdrift-corrective-action", "streamdrift-postmortem"'
    asked = f'project = "OPS" AND labels = "streamdrift-incident-1" AND labels not in ({others}) ORDER BY created ASC'
    assert body["jql"] == asked
    answers(server, {"issues": []})
    assert on_jira.send(replace(page, uncertain=True), NOW) == Delivered(reference="OPS-17")


def test_jira_looks_for_a_comment_that_may_have_been_made(on_jira: Jira, server: ScriptedServer) -> None:
    page = replace(make_page("acknowledge"), reference="OPS-17", uncertain=True)
    answers(server, {"comments": [{"body": {"text": f"delivery {page.delivery_id}"}}]})
    assert on_jira.send(page, NOW) == Delivered("found", "OPS-17")
    answers(server, {"comments": [{"body": {"text": "delivery of another"}}]})
    assert on_jira.send(page, NOW) == Delivered(reference="OPS-17")


def test_corrective_actions_are_tickets_and_are_followed(server: ScriptedServer) -> None:
    server._default.status, server._default.body = 201, JIRA_OK
    actions = JiraActions(jira_settings(server.url))
    action = CorrectiveAction("a-1", "incident-1", "Validate dep_delay", "No more than 1 % nulls")
    answers(server, {"issues": []})
    assert actions.open(action, NOW) == Delivered(reference="OPS-17")
    labels = told(server)[1][1]["fields"]["labels"]
    assert labels == [
        "streamdrift",
        "streamdrift-corrective-action",
        "streamdrift-incident-1",
        "streamdrift-action-a-1",
    ]
    answers(server, {"issues": [{"key": "OPS-18"}]})
    assert actions.open(action, NOW) == Delivered("found", "OPS-18")
    server.requests.clear()
    done = {"name": "Shipped", "statusCategory": {"key": "done"}}
    open_ = {"name": "To do", "statusCategory": {"key": "new"}}
    issues = [{"key": "OPS-17", "fields": {"status": done}}, {"key": "OPS-18", "fields": {"status": open_}}]
    answers(server, {"issues": issues})
    found = actions.progress(["OPS-17", "OPS-18", "OPS-19"], NOW)
    assert found == {"OPS-17": Progress("Shipped", True), "OPS-18": Progress("To do", False)}
    assert told(server)[0][1]["jql"] == 'key in ("OPS-17", "OPS-18", "OPS-19")'


def test_a_description_too_long_for_jira_keeps_its_beginning(on_jira: Jira, server: ScriptedServer) -> None:
    page = make_page()
    page.incident["explanation"] = [f"sentence {n} " + "x" * 1_900 for n in range(200)]
    on_jira.send(page, NOW)
    description = told(server)[0][1]["fields"]["description"]
    assert len(orjson.dumps(description).decode()) <= 32_000
    assert description["content"][0]["content"][0]["text"] == page.headline


# Confluence ----------------------------------------------------------------------------------------------------------


def test_confluence_has_a_page_once_it_is_over(server: ScriptedServer) -> None:
    server._default.status, server._default.body = 200, orjson.dumps({"id": "4711"})
    made = Confluence(confluence_settings(server.url))
    assert made.send(make_page(), NOW).name == "delivered"
    assert told(server) == []
    assert made.send(make_page("resolve"), NOW) == Delivered("HTTP 200", "4711")
    ((where, body),) = told(server)
    assert where == "/wiki/api/v2/pages"
    assert (body["spaceId"], body["title"]) == ("98304", "Incident incident-1: flight-delay")
    assert made.send(replace(make_page("resolve", "incident-1.2"), reference="4711"), NOW).name == "delivered"
    assert told(server) == []


def test_a_page_of_this_title_is_this_page(server: ScriptedServer) -> None:
    made = Confluence(confluence_settings(server.url))
    clash = {"errors": [{"status": 400, "title": "A page with this title already exists: in this space"}]}
    answers(server, clash, status=400)
    answers(server, {"results": [{"id": "12"}]})
    document = Document("t", (Paragraph("p"),))
    assert made.publish("Post-mortem c0ffee", document, NOW) == Delivered("it was there", "12")
    assert "space-id=98304&title=Post-mortem+c0ffee" in told(server)[1][0]
    answers(server, clash, status=400)
    answers(server, {"results": []})
    assert made.publish("Post-mortem c0ffee", document, NOW).name == "permanent"


# Alertmanager, PagerDuty ---------------------------------------------------------------------------------------------


def test_alertmanager_is_told_until_when_an_alert_fires(server: ScriptedServer) -> None:
    server._default.status = 200
    made: Alertmanager = receiver(alertmanager(server.url, 5))
    made.send(make_page(), NOW)
    made.send(make_page("resolve"), NOW + 60)
    (_, (fired,)), (_, ended) = told(server)
    assert (fired["startsAt"], fired["endsAt"]) == ("2013-04-17T09:59:59.000Z", "2013-05-17T10:00:00.000Z")
    assert [alert["labels"]["severity"] for alert in ended] == ["info", "warning", "critical"]
    assert fired["labels"] in [alert["labels"] for alert in ended]
    assert {alert["endsAt"] for alert in ended} == {"2013-04-17T10:01:00.000Z"}
    assert made.send(make_page("acknowledge"), NOW).name == "delivered"
    assert server.requests == []


def test_pagerduty_takes_acknowledgements_and_changes(server: ScriptedServer) -> None:
    made: PagerDuty = receiver(pagerduty(server.url + "/v2/enqueue", 5))
    assert made.send(make_page("acknowledge"), NOW).name == "delivered"
    change = {
        "change_id": "c-1",
        "occurred_at": "2013-04-17T08:00:00Z",
        "kind": "feature-store",
        "summary": "dep_delay\r\nnow in minutes",
        "scope": {"models": ["flight-delay"]},
        "link": "javascript:alert(1)",
    }
    assert made.change(change, NOW).name == "delivered"
    (where, acknowledged), (changes, event) = told(server)
    assert where.endswith("/v2/enqueue")
    assert (acknowledged["event_action"], acknowledged["dedup_key"]) == ("acknowledge", "incident-1")
    assert changes.endswith("/v2/change/enqueue")
    assert event["payload"]["summary"] == "dep_delay\\r\\nnow in minutes"
    assert "links" not in event
    made.change(change | {"link": "https://ci.example.com/1"}, NOW)
    assert told(server)[0][1]["links"] == [{"href": "https://ci.example.com/1", "text": "change"}]


@pytest.mark.parametrize("make", [slack, alertmanager, pagerduty])
def test_private_addresses_can_be_refused(make: Callable[..., Any], server: ScriptedServer) -> None:
    made = receiver(make(server.url, 5))
    made._door._private = False
    found: Any = made.send(make_page(), NOW)
    assert (found.name, "private address" in found.reason, server.requests) == ("permanent", True, [])
