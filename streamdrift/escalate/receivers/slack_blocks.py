"""What Slack shows of a page, as blocks.

What comes from traffic is of type ``plain_text``: Slack finds no mentions, links or marks in it. The text beside the blocks,
which notifications show, is mrkdwn and escaped.
"""

from __future__ import annotations

from typing import Any

from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Page
from streamdrift.escalate.receivers.documents import facts, state

TEXT_MAX, FIELD_MAX, FIELDS_MAX, SECTION_MAX = 1_000, 200, 10, 2_800
"""Slack takes 3,000 characters in a section, 2,000 in each of ten fields, and about 13,200 in all blocks together."""
SENTENCES_MAX = 6
MARKS = {"resolved": "\u2705", "acknowledged": "\U0001f440", "critical": "\U0001f534", "warning": "\U0001f7e0"}


def message(page: Page) -> dict[str, Any]:
    """The incident as it stands: headline, facts, explanation."""
    mark = MARKS.get(state(page)) or MARKS.get(str(page.incident.get("severity"))) or "\u2139"
    told = facts(page)
    blocks = [_section(f"{mark} {safe_text.plain(page.headline, TEXT_MAX)}"), _fields(told[:FIELDS_MAX])]
    sentences = page.incident.get("explanation") or ()
    explained = "\n".join(f"• {safe_text.plain(sentence, TEXT_MAX)}" for sentence in sentences[:SENTENCES_MAX])
    if explained:
        blocks.append(_section(safe_text.cut(explained, SECTION_MAX)))
    return _message(f"{state(page)}: {page.headline}", blocks)


def reply(page: Page) -> dict[str, Any]:
    """What happened to it, in one line."""
    what = {"trigger": "grew", "acknowledge": "acknowledged", "resolve": "resolved"}[page.action]
    line = f"{what}: {page.headline}"
    key = {"type": "context", "elements": [_plain(safe_text.plain(page.dedup_key, FIELD_MAX))]}
    return _message(line, [_section(safe_text.plain(line, TEXT_MAX)), key])


def _message(text: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    return {"text": safe_text.slack(text, TEXT_MAX), "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _plain(text)}


def _fields(told: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return {
        "type": "section",
        "fields": [_plain(f"{name}: {safe_text.plain(value, FIELD_MAX)}") for name, value in told],
    }


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text or " ", "emoji": False}
