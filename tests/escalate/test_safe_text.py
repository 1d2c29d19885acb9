"""Hostile labels through every receiver, and what came out read as its readers read it."""

from __future__ import annotations

import email
import email.policy
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from streamdrift.checks.receivers import ScriptedServer
from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers import Jira, Markdown, Outcome, Page
from streamdrift.escalate.receivers.documents import Bullets, Document, Heading, Paragraph, Table, of_page
from streamdrift.escalate.receivers.email import compose
from streamdrift.escalate.receivers.formats import to_adf, to_markdown, to_text, to_xhtml
from streamdrift.settings import MarkdownSettings
from tests.escalate.conftest import NOW
from tests.escalate.hostile import HOSTILE
from tests.escalate.rigs import CHANNEL, FACTORIES, OverHttp, jira_settings, make_page

CONTRACTS = Path(__file__).parent / "contracts"
ALLOWED_TAGS = {"html", "head", "meta", "body", "h2", "p", "ul", "li", "table", "tbody", "tr", "td", "th"}
JSON = [label for label in HOSTILE if label != "\ud800"]
"""A lone surrogate is none of JSON's texts: the parser of alerts refuses it."""
hostile = pytest.mark.parametrize("label", HOSTILE, ids=lambda label: ascii(label)[:30])


def told(label: str) -> Page:
    """A page with the label in every place that traffic or somebody's words can reach."""
    page = make_page(key="c0ffee", alerts=2)
    radius = page.incident["blast_radius"]
    radius["features"], radius["segments"] = [label, f"a{label}"], [{label: label}]
    radius |= {"feature": label, "segment": {label: label}, "reason": label}
    alerts = tuple(alert | {"feature": label, "segment": {label: label}, "reason": label} for alert in page.alerts)
    incident = page.incident | {"model": label, "severity": "warning", "explanation": [label, f"{label} moved"]}
    return replace(page, headline=f"model: {label}", incident=incident, alerts=alerts)


def contract(name: str) -> Draft202012Validator:
    return Draft202012Validator(orjson.loads((CONTRACTS / f"{name}.schema.json").read_bytes()))


def harmless(text: str) -> None:
    """Nothing that a terminal or a reader's eye would be led astray by."""
    for character in text:
        assert character == "\n" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}, ascii(text)


def texts(value: Any) -> Iterator[str]:
    """Every text in some JSON."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from texts(item)
        case dict():
            for name, item in value.items():
                yield name
                yield from texts(item)


# Every receiver over HTTP --------------------------------------------------------------------------------------------

SCHEMAS = {
    "pagerduty": "pagerduty-event",
    "slack": "slack-post-message",
    "slack_webhook": "slack-webhook",
    "alertmanager": "alertmanager-alerts",
    "jira": "jira-issue",
    "confluence": "confluence-page",
}


@pytest.mark.parametrize("label", JSON, ids=lambda label: ascii(label)[:30])
@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_sent_keeps_to_the_contract(server: ScriptedServer, name: str, label: str) -> None:
    rig = FACTORIES[name](server.url, 5)
    assert isinstance(rig, OverHttp)
    server._default.status, server._default.body = rig.accepted, rig.answer
    page = replace(told(label), action="resolve" if name == "confluence" else "trigger")
    found: Outcome = rig.receiver.send(page, NOW)
    assert found.name == "delivered", found
    body = orjson.loads(server.requests[-1].body)
    contract(SCHEMAS[name]).validate(body)
    if name != "pagerduty":  # whose details are JSON, and shown as such
        for text in texts(body):
            harmless(text)


@pytest.mark.parametrize("label", JSON, ids=lambda label: ascii(label)[:30])
def test_the_webhook_gives_the_label_as_it_is(server: ScriptedServer, label: str) -> None:
    rig = FACTORIES["webhook"](server.url, 5)
    assert isinstance(rig, OverHttp)
    server._default.status = 200
    found = rig.receiver.send(told(label), NOW)
    assert found.name == "delivered", found
    body = orjson.loads(server.requests[-1].body)
    assert body["data"]["incident"]["model"] == label


@hostile
def test_slack_sees_no_marks_in_it(server: ScriptedServer, label: str) -> None:
    rig = FACTORIES["slack"](server.url, 5)
    assert isinstance(rig, OverHttp)
    server._default.status, server._default.body = 200, rig.answer
    rig.receiver.send(told(label), NOW)
    body = orjson.loads(server.requests[-1].body)
    assert body["channel"] == CHANNEL
    assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", body["text"])
    assert {block["text"]["type"] for block in body["blocks"] if "text" in block} == {"plain_text"}
    assert sum(map(len, texts(body["blocks"]))) < 13_200


@hostile
def test_jira_sees_text(server: ScriptedServer, label: str) -> None:
    server._default.status, server._default.body = 201, FACTORIES["jira"](server.url, 5).answer
    Jira(jira_settings(server.url)).send(told(label), NOW)
    fields = orjson.loads(server.requests[-1].body)["fields"]
    contract("adf").validate(fields["description"])
    assert 0 < len(fields["summary"]) <= 255
    assert "\n" not in fields["summary"]
    assert fields["labels"] == ["streamdrift", "streamdrift-c0ffee"]


# Mail ----------------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@hostile
def test_a_mail_has_its_own_headers_and_parts_alone(label: str) -> None:
    raw = compose(told(label), NOW, "drift@example.com", ("oncall@example.com",)).as_bytes()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    ours = {"From", "To", "Subject", "Date", "Message-ID", "References", "In-Reply-To", "Auto-Submitted"}
    ours |= {"X-Streamdrift-Dedup-Key", "MIME-Version", "Content-Type"}
    assert sorted(mail.keys()) == sorted(ours)
    assert mail["To"] == "oncall@example.com"
    assert mail["Subject"].startswith("[open] model:")
    assert max(map(len, raw.splitlines())) <= 998
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    html = mail.get_body(("html",))
    assert html is not None
    parsed = Tags()
    parsed.feed(html.get_content())
    assert parsed.tags <= ALLOWED_TAGS
    assert parsed.attributes <= {"charset"}
    harmless(parsed.text.replace("\r", ""))


# Formats -------------------------------------------------------------------------------------------------------------


def everywhere(label: str) -> Document:
    rows = ((label, label), ("x", label))
    blocks = (Heading(label), Paragraph(label), Bullets((label, label)), Table((label, label), rows))
    return Document(label, blocks)


ELEMENTS = {
    "heading_open", "heading_close", "inline", "paragraph_open", "paragraph_close", "bullet_list_open", "bullet_list_close",
    "list_item_open", "list_item_close", "table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close",
    "tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close",
}  # fmt: skip


def markdown_is_text(label: str) -> None:
    tokens = (
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .enable("strikethrough")
        .parse(to_markdown(everywhere(label)))
    )
    assert {token.type for token in tokens} <= ELEMENTS
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "text_special"}
    counts = [sum(token.type == kind for token in tokens) for kind in ("heading_open", "list_item_open", "tr_open")]
    assert counts == [2, 2, 3]
    cells = [token.type for token in tokens].count("td_open")
    assert cells == 4
    shown = "".join(child.content for child in inline)
    assert safe_text.plain(label, 2_000).strip() in shown


@hostile
def test_markdown_is_text(label: str) -> None:
    markdown_is_text(label)


@given(st.text(max_size=60))
def test_any_text_is_text_in_markdown(label: str) -> None:
    markdown_is_text(label)


@hostile
def test_xhtml_is_well_formed_and_has_our_elements_alone(label: str) -> None:
    root = ET.fromstring(f"<root>{to_xhtml(everywhere(label))}</root>")
    assert {element.tag for element in root.iter()} == {
        "root",
        "h2",
        "p",
        "ul",
        "li",
        "table",
        "tbody",
        "tr",
        "th",
        "td",
    } - (set() if label else {"th"})
    assert not any(element.attrib for element in root.iter())
    assert (root.findtext("p") or "") == safe_text.plain(label, 2_000)


@given(st.text(max_size=60))
def test_any_text_is_text_in_xhtml_and_adf(label: str) -> None:
    root = ET.fromstring(f"<root>{to_xhtml(everywhere(label))}</root>")
    assert (root.findtext("p") or "") == safe_text.plain(label, 2_000)
    contract("adf").validate(to_adf(everywhere(label)))


@hostile
def test_text_is_harmless_on_a_terminal(label: str) -> None:
    harmless(to_text(of_page(told(label))))


@hostile
def test_files_stay_in_their_folder(tmp_path: Path, label: str) -> None:
    folder = tmp_path / "incidents"
    folder.mkdir()
    receiver = Markdown(MarkdownSettings(folder=folder))
    assert receiver.write(label, of_page(told(label))).name == "delivered"
    assert [path.parent for path in tmp_path.rglob("*.md")] == [folder]


@given(st.text(max_size=300), st.integers(1, 120))
def test_lengths_are_kept_to(text: str, length_max: int) -> None:
    assert len(safe_text.plain(text, length_max)) <= length_max
    assert safe_text.plain(text, length_max).isprintable()
    assert len(safe_text.header(text, length_max)) <= length_max


def test_a_headline_is_never_dropped() -> None:
    page = told("x" * 100_000)
    for written in (to_text(of_page(page)), to_markdown(of_page(page)), to_xhtml(of_page(page))):
        assert "xxx" in written[:200]
