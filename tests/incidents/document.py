"""What came of a played story, as Markdown: nothing in it is written by hand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from streamdrift.escalate.words import duration
from tests.incidents.house import SETTINGS
from tests.incidents.judged import Judged, judge, ms, ms_of, names
from tests.incidents.player import ACKNOWLEDGED_MS, MITIGATED_MS, Played, moment
from tests.incidents.story import HOUR

GROWTH = ("grew", "shrank")
SHOWN_MAX = 6
TEXT_MAX = 420
LIST_MAX = 3


def markdown(played: Played) -> str:
    """The document."""
    judged = judge(played)
    parts = (_head, _went_in, _verdict, _pages, _who, _course, _responder, _recovery, _honest, _postmortem)
    return "\n".join(line for part in parts for line in [*part(played, judged), ""]).rstrip() + "\n"


def _head(played: Played, judged: Judged) -> Iterator[str]:
    del judged
    story = played.story
    yield f"# {story.title}"
    yield ""
    yield (
        f"Played and written by `make incidents`: a seeded generator, a real Kafka broker, `streamdrift detect` and `streamdrift escalate` "
        f"as processes of their own, and scripted receivers. Times are UTC and the story's; the clock of the processes is the story's too, "
        f"so the age guard and all else is as by default. Set are only {_settings()}, where the broker and the receivers are; "
        f"the same for all stories ([more](README.md))."
    )
    yield ""
    yield "## The story"
    yield ""
    yield " ".join(story.told)
    yield ""
    yield f"What only the generator knows: the first wrong event is of {moment(story.onset)}, in {names(story.segments)}, and the change behind it is `{story.guilty}`."


def _settings() -> str:
    return " and ".join(f"`{name}={value}`" for name, value in SETTINGS.items())


def _went_in(played: Played, judged: Judged) -> Iterator[str]:
    del judged
    story = played.story
    yield "## What went in"
    yield ""
    yield f"{_count(played.fed['events'], 'event')}, {_count(played.fed['labels'], 'label')} and {_count(played.fed['changes'], 'change event')} of {_days(played)}, in {played.seconds:,.0f} seconds. Beside the guilty change:"
    yield ""
    yield from (f"- {_change(one)}" for one in story.changes if one["change_id"] != story.guilty)
    yield ""
    yield "And what looks like an incident and is none:"
    yield ""
    yield from (
        f"- {one.what}" + ("" if one.name == "season" else f" ({moment(one.since)} to {moment(one.until)})")
        for one in story.innocents
    )


def _change(one: dict[str, Any]) -> str:
    return f"{moment(ms(one['occurred_at']))} {one['kind']} `{one['change_id']}`: {one['summary']}"


def _verdict(played: Played, judged: Judged) -> Iterator[str]:
    story = played.story
    undone = played.world.undone[-1][0] if played.world.undone else None
    yield "## What came out"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| incidents of the cause | {len(judged.mine)}{'' if len(judged.mine) == 1 else ' (one would be right)'} |"
    yield f"| detected | {_after(judged.detected_at, story.onset, 'the first wrong event')} |"
    yield f"| page delivered | {_after(judged.paged_at, story.onset, 'the first wrong event')}, as far as the player's steps tell |"
    yield f"| place, in the first page | {judged.place} |"
    yield f"| feature, in the first page | {judged.lead} |"
    yield f"| first suspect | {judged.suspect} |"
    yield f"| calls for one dedup key | {_calls(judged)} |"
    yield f"| resolved, by evidence | {_after(judged.resolved_at, undone, 'it was undone')} |"
    paged = [one for one in judged.false if one["pages"]]
    yield f"| false pages | {sum(one['pages'] for one in paged)}, of {_count(len(paged), 'incident')} |"
    yield f"| changed, without an alert | {', '.join(f'`{name}`' for name in judged.missed) or 'nothing'} |"


def _calls(judged: Judged) -> str:
    most = max(judged.triggers.values(), default=0)
    keys = len({key for _, key in judged.triggers})
    return f"{most} at most, to each receiver, of {_count(keys, 'key')}"


def _after(at: int | None, since: int | None, what: str) -> str:
    if at is None:
        return "never"
    return moment(at) if since is None else f"{moment(at)}, {duration(max(0, at - since) / 1000) or '0 s'} after {what}"


def _pages(played: Played, judged: Judged) -> Iterator[str]:
    del played
    yield "## The pages"
    yield ""
    yield f"First lines of the {len(judged.pages)} about the cause, and what the first one says of place and suspects:"
    yield ""
    for page in judged.pages:
        yield f"- {moment(page.at)} ({page.incident['severity']}): {_plain(page.headline)}"
    for page in judged.pages[:1]:
        yield ""
        yield "```text"
        yield from (line.replace("`", "'")[:TEXT_MAX] for line in page.incident["explanation"])
        yield "```"
    for page in judged.pages[1:][-1:]:
        yield ""
        yield "And the last one:"
        yield ""
        yield "```text"
        yield from (line.replace("`", "'")[:TEXT_MAX] for line in page.incident["explanation"])
        yield "```"


def _who(played: Played, judged: Judged) -> Iterator[str]:
    ids = {one["incident_id"] for one in judged.mine}
    yield "## Who was told what"
    yield ""
    yield "| at | receiver | what |"
    yield "|---|---|---|"
    for told in played.told:
        key = _key(told.body)
        if key is None or key.partition(".")[0] in ids or told.receiver == "slack":
            yield f"| {moment(told.at)} | {told.receiver} | {_what(told.body)} |"
    for page in [
        one for one in played.told if one.receiver == "pagerduty" and (_key(one.body) or "").partition(".")[0] in ids
    ][:1]:
        yield ""
        yield "What PagerDuty got first, shortened:"
        yield ""
        yield "```json"
        yield orjson.dumps(_shortened(page.body), option=orjson.OPT_INDENT_2).decode()
        yield "```"


def _key(body: dict[str, Any]) -> str | None:
    found = body.get("dedup_key") or body.get("data", {}).get("dedup_key")
    return None if found is None else str(found)


def _what(body: dict[str, Any]) -> str:
    if "method" in body:
        return f"{body['method']}: {_plain(str(body.get('text', '')), 110)}"
    action = body.get("event_action") or body["data"]["action"]
    return f"{action}, key `{_short(_key(body) or '')}`"


def _short(key: str) -> str:
    incident, dot, rest = key.partition(".")
    return incident[:8] + dot + rest


def _shortened(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict):
        if depth > LIST_MAX:
            return "…"
        return {k: "…" if k == "routing_key" else _shortened(v, depth + 1) for k, v in list(value.items())[:20]}
    if isinstance(value, list):
        return [_shortened(one, depth + 1) for one in value[:LIST_MAX]] + (["…"] if len(value) > LIST_MAX else [])
    return value if not isinstance(value, str) or len(value) <= 160 else value[:159] + "…"


def _course(played: Played, judged: Judged) -> Iterator[str]:
    del played
    yield "## Its course"
    for incident in judged.mine:
        yield ""
        yield f"Incident `{incident['incident_id'][:8]}`; what grew or shrank is counted where it goes on for long:"
        yield ""
        yield from _entries(incident["timeline"])


def _entries(timeline: Sequence[dict[str, Any]]) -> Iterator[str]:
    skipped: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for entry in timeline:
        kind = entry["kind"]
        if kind in GROWTH and shown[kind] >= SHOWN_MAX:
            skipped[kind] += 1
            continue
        yield from _gap(skipped)
        shown[kind] += 1
        yield f"- {moment(ms_of(entry))} **{kind}** {_plain(entry['text'])}"
    yield from _gap(skipped)


def _gap(skipped: Counter[str]) -> Iterator[str]:
    if skipped:
        told = {"grew": "more series joined or grew", "shrank": "more ended"}
        yield "- … " + ", ".join(f"{n} {told[kind]}" for kind, n in sorted(skipped.items()))
        skipped.clear()


def _responder(played: Played, judged: Judged) -> Iterator[str]:
    del judged
    yield "## What the responder did"
    yield ""
    acknowledged, acted = duration(ACKNOWLEDGED_MS / 1000), duration(MITIGATED_MS / 1000)
    yield f"Scripted: acknowledges {acknowledged} after a page, and acts {acted} after the first one of the cause: {played.story.undoing}."
    yield ""
    for command in played.commands:
        arguments = " ".join(_quoted(one) for one in command.arguments)
        yield f"{moment(command.at)}"
        yield ""
        yield "```text"
        yield f"$ streamdrift {arguments}"
        yield from (line.replace("`", "'")[:TEXT_MAX] for line in command.said.splitlines()[:14])
        yield "```"
        yield ""
    if played.by_hand:
        yield "The change was undone outside of streamdrift."
    for order in played.orders:
        data = order.get("data", {})
        yield f"- {order.get('timestamp', '')} the serving side was told: {data.get('operation', '')} {data.get('title', '')}, of which it was said: {data.get('check', {}).get('verdict', '')}"


def _quoted(text: str) -> str:
    if re.fullmatch(r"[0-9a-f]{32}", text):
        return text[:8]
    return f'"{text}"' if " " in text else text


def _recovery(played: Played, judged: Judged) -> Iterator[str]:
    yield "## Recovery"
    yield ""
    for since, until in played.world.undone:
        taken = "" if until > played.ended_at else f", taken back {moment(until)}"
        yield f"- undone from {moment(since)} on{taken}"
    for incident in judged.mine:
        ends = [e for e in incident["timeline"] if e["kind"] in {"recovered", "resolved", "reopened"}]
        yield from (
            f"- `{incident['incident_id'][:8]}` {moment(ms_of(e))} {e['kind']}: {_plain(e['text'])}" for e in ends
        )
        if incident["status"] != "resolved":
            yield f"- `{incident['incident_id'][:8]}` was still {incident['status']} when the story ended, {moment(played.ended_at)}"


def _honest(played: Played, judged: Judged) -> Iterator[str]:
    yield "## False alarms and misses"
    yield ""
    for incident in judged.false:
        paged = f"{_count(incident['pages'], 'page')}" if incident["pages"] else "no page"
        yield f"- {moment(ms(incident['opened_at']))}, {incident['status']}, {paged}: {_plain(incident['headline'])}{_of(played, incident)}"
    if not judged.false:
        yield "- no incident beside"
    for name in judged.missed:
        yield f"- `{name}` is other than it was, and had no alert"


def _of(played: Played, incident: dict[str, Any]) -> str:
    """Which of the innocents it may be of, by feature and time: the shortest."""
    features, began = set(incident["blast_radius"]["features"]), ms(incident["onset_at"])
    for one in sorted(played.story.innocents, key=lambda one: one.until - one.since):
        if features & set(one.shows) and one.since - 12 * HOUR <= began <= one.until + HOUR:
            return f" (perhaps of: {one.what})"
    return ""


def _postmortem(played: Played, judged: Judged) -> Iterator[str]:
    del judged
    yield "## Post-mortem"
    yield ""
    if not played.postmortem:
        yield "This release drafts none."
        return
    yield "As `streamdrift incidents postmortem` drafted it, with nothing added:"
    yield ""
    for line in played.postmortem.splitlines():
        yield f"##{line}" if line.startswith("#") else line


def _days(played: Played) -> str:
    days = (played.ended_at - played.story.start) / (24 * HOUR)
    return f"{days:.1f} days"


def _count(n: int, one: str) -> str:
    return f"{n:,} {one if n == 1 else one + 's'}"


def _plain(text: str, longest: int = TEXT_MAX) -> str:
    """One line without what Markdown would take for its own."""
    told = " ".join(text.split())
    told = told if len(told) <= longest else told[: longest - 1] + "…"
    return told.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")
