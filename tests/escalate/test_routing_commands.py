"""`streamdrift escalate check` and `streamdrift incidents silence`, and the worked example of docs/routing.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamdrift.embedded.escalate_check import Check, check
from streamdrift.embedded.silence_commands import Silencing, silencing
from streamdrift.errors import InputProblem, SettingsProblem
from streamdrift.escalate.ledger import Ledger
from streamdrift.settings import Settings
from tests.command import streamdrift
from tests.escalate.conftest import NOW, House, KeepingReceiver, make_alert

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "routing.md").read_text(encoding="utf-8")
RECEIVERS = {
    "STREAMDRIFT_ESCALATE__PAGERDUTY__ROUTING_KEY": "k" * 32,
    "STREAMDRIFT_ESCALATE__SLACK__TOKEN": "xoxb-token",
    "STREAMDRIFT_ESCALATE__SLACK__CHANNEL": "C0123456789",
    "STREAMDRIFT_ESCALATE__EMAIL__HOST": "mail.example.com",
    "STREAMDRIFT_ESCALATE__EMAIL__SENDER": "drift@example.com",
    "STREAMDRIFT_ESCALATE__EMAIL__RECIPIENTS": '["ops@example.com"]',
    "STREAMDRIFT_ESCALATE__JIRA__URL": "https://example.atlassian.net",
    "STREAMDRIFT_ESCALATE__JIRA__USER": "drift@example.com",
    "STREAMDRIFT_ESCALATE__JIRA__TOKEN": "secret-token",
    "STREAMDRIFT_ESCALATE__JIRA__PROJECT": "OPS",
}


def fenced(kind: str) -> str:
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    place = tmp_path / "routes.toml"
    place.write_text(fenced("toml"), encoding="utf-8")
    ledger = tmp_path / "ledger.sqlite3"
    Ledger(ledger).close()
    return {
        **RECEIVERS,
        "STREAMDRIFT_ESCALATE__ROUTES": str(place),
        "STREAMDRIFT_ESCALATE__LEDGER": str(ledger),
    }


def settings(path: Path, **other: Any) -> Settings:
    return Settings.model_validate({"escalate": {"ledger": path, **other}})


# The example ---------------------------------------------------------------------------------------------------------


def test_the_example_of_the_documentation_says_what_is_written_there(environment: dict[str, str]) -> None:
    (line,) = re.findall(r"`streamdrift (escalate check --model[^`]*)`", PAGE)
    done = streamdrift(*line.split(), settings=environment)
    assert (done.code, done.out) == (0, fenced("text"))
    alone = streamdrift("escalate", "check", settings=environment)
    assert alone.code == 0
    assert "is valid: 2 teams, 3 on-call lists, 1 maintenance windows, 1 inhibitions" in alone.out
    assert "receivers set up: pagerduty, slack, email, jira" in alone.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--model", "fraud-shadow"], 0, "root / risk\n    at once        jira"),
        (["--model", "search-shadow"], 1, "root / shadow models\n    at once        nobody"),
        (["--model", "search", "--severity", "info"], 1, "pages nobody: below_severity"),
        (["--model", "search"], 0, "root\n    at once        slack\n  withheld while an incident is open that"),
        (
            ["--model", "search", "--reason", "null_rate", "--at", "2026-07-05T01:00:00Z"],
            1,
            "withheld while this lasts: maintenance weekly loading; then:",
        ),
        (["--model", "search", "--reason", "null_rate", "--at", "2026-07-05T01:00:00Z", "--effect", "0.4"], 0, "slack"),
    ],
)
def test_where_an_alert_would_go(environment: dict[str, str], arguments: list[str], code: int, said: str) -> None:
    done = streamdrift("escalate", "check", *arguments, settings=environment)
    assert (done.code, done.said) == (code, "")
    assert said in done.out


def test_what_is_wrong_with_the_file_is_told_with_its_line(environment: dict[str, str]) -> None:
    place = Path(environment["STREAMDRIFT_ESCALATE__ROUTES"])
    place.write_text('[route]\nreceivers = ["pagerdutty"]\n', encoding="utf-8")
    done = streamdrift("escalate", "check", settings=environment)
    assert (done.code, done.out) == (2, "")
    assert "line 2, route.receivers: there is no receiver set up that is called pagerdutty; did you mean" in done.said
    place.unlink()
    done = streamdrift("escalate", "check", settings=environment)
    assert done.code == 2
    assert "escalate.routes" in done.said
    assert "does not exist" in done.said


# Alerts from a file --------------------------------------------------------------------------------------------------


def test_alerts_of_a_file_are_looked_at_each(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    path.write_bytes(b"\n".join(make_alert(model=f"m{i}").to_cloudevent() for i in range(3)) + b"\n")
    told, code = check(Check(file=str(path), as_json=True), settings(tmp_path / "none"), NOW)
    found = json.loads(told)
    assert [one["model"] for one in found["alerts"]] == ["m0", "m1", "m2"]
    assert (code, found["receivers"], found["alerts"][0]["segment"]) == (1, [], "origin=EWR")
    assert "none" in found["silences_unknown"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read: No such file"),
        (b"", "has no alert in it"),
        (b"{}\n{", "line 1 is no alert: type is not"),
        (b"5", "is no alert: type is not"),
        (b"x\n" * 1001, "or more than 1000"),
    ],
)
def test_a_file_without_alerts_is_told(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "alerts.ndjson"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputProblem, match=re.escape(said)):
        check(Check(file=str(path)), settings(tmp_path / "none"), NOW)


def test_arguments_that_can_not_be_meant(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="both say what to look at"):
        check(Check(file="x", model="y"), settings(tmp_path / "none"), NOW)
    with pytest.raises(SettingsProblem, match="is not DIM=VALUE"):
        check(Check(model="y", segment="EWR"), settings(tmp_path / "none"), NOW)
    with pytest.raises(SettingsProblem, match=r"escalate\.pages_unlimited names slack, which is not set up"):
        check(Check(model="y"), settings(tmp_path / "none", pages_unlimited=["slack"]), NOW)


# Silences ------------------------------------------------------------------------------------------------------------


def added(here: Settings, *match: str, **other: Any) -> str:
    asked: dict[str, Any] = {"lasts": "2h", "comment": "campaign", "author": "ada"} | other
    told, code = silencing(Silencing("add", match=match, **asked), here, NOW)
    assert code == 0
    return told.partition(":")[0]


def test_a_silence_is_added_withholds_and_is_ended(house: Callable[..., House], receiver: KeepingReceiver) -> None:
    here = house(receiver)
    mine = (
        settings(here.path)
        if isinstance(here.path, Path)
        else Settings.model_validate({"escalate": {"ledger": here.path}})
    )
    name = added(mine, "model=flight-delay", "segment~origin=*", up_to=0.3)
    listed, _ = silencing(Silencing("list"), mine, NOW + 60)
    assert listed == f"{name}  1 h 59 min left  model=flight-delay segment~origin=*, up to effect 0.3  (ada: campaign)"
    here.step(make_alert())
    assert receiver.pages == []
    told, _ = silencing(Silencing("end", silence=name[:4]), mine, NOW + 60)
    assert told == f"{name}: ended; what it withheld and is still open is paged once"
    here.wait(70)
    assert len(receiver.pages) == 1
    assert silencing(Silencing("list"), mine, NOW + 61) == ("there is no silence", 0)
    (kept,) = json.loads(silencing(Silencing("list", everything=True, as_json=True), mine, NOW + 61)[0])
    assert (kept["silence_id"], kept["state"], kept["up_to"]) == (name, "over", 0.3)
    with pytest.raises(SettingsProblem, match="is over already"):
        silencing(Silencing("end", silence=name), mine, NOW + 62)


def test_silences_that_would_hit_are_told_beforehand(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite3"
    Ledger(ledger).close()
    mine = settings(ledger, pagerduty={"routing_key": "k" * 32})
    name = added(mine, "model=fraud", up_to=0.3)
    assert check(Check(model="fraud", effect=0.2), mine, NOW)[1] == 1
    told, code = check(Check(model="fraud", effect=0.2), mine, NOW)
    assert (code, f"withheld while this lasts: silence {name}; then:" in told) == (1, True)
    assert check(Check(model="fraud", effect=0.4), mine, NOW)[1] == 0
    assert check(Check(model="other", effect=0.2), mine, NOW)[1] == 0
    assert check(Check(model="fraud", effect=0.2, at="2013-04-17T13:00:00Z"), mine, NOW)[1] == 0


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"match": ()}, "--match says what is expected"),
        ({"match": ("modl=x",)}, "--match modl=x asks for a label modl; did you mean model?"),
        ({"lasts": None}, "a silence needs an end"),
        ({"until": "2013-04-18T00:00:00Z"}, "a silence needs an end"),
        ({"lasts": "soon"}, "--for soon is no time such as 90m, 2h or 3d"),
        ({"lasts": "0"}, "ends after it begins"),
        ({"lasts": "91d"}, "within 90 days; for longer, let the references be learned anew"),
        ({"lasts": None, "until": "2013-04-16T00:00:00Z"}, "ends after it begins"),
        ({"up_to": -1.0}, "is no size of an effect"),
        ({"comment": "  "}, "--comment"),
        ({"author": ""}, "--author"),
    ],
)
def test_a_silence_that_can_not_be_meant(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    asked: dict[str, Any] = {"match": ("model=x",), "lasts": "2h", "comment": "campaign", "author": "ada"} | other
    with pytest.raises(SettingsProblem, match=re.escape(said)):
        silencing(Silencing("add", **asked), settings(tmp_path / "none"), NOW)


def test_the_command_line_of_silences(environment: dict[str, str]) -> None:
    line = "incidents silence add --match model=fraud-eu --for 2h --up-to 0.3 --comment x --author ada --json"
    done = streamdrift(*line.split(), settings=environment)
    (made,) = json.loads(done.out)
    assert (done.code, made["match"], made["state"]) == (0, ["model=fraud-eu"], "in force")
    listed = streamdrift("incidents", "silence", "list", settings=environment)
    assert (listed.code, made["silence_id"] in listed.out) == (0, True)
    ended = streamdrift("incidents", "silence", "end", "zzz", settings=environment)
    assert (ended.code, "there is no silence zzz" in ended.said) == (2, True)


def test_there_is_a_bound_on_silences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamdrift.escalate.silences.SILENCES_MAX", 2)
    ledger = tmp_path / "ledger.sqlite3"
    Ledger(ledger).close()
    added(settings(ledger), "model=a")
    added(settings(ledger), "model=b")
    with pytest.raises(SettingsProblem, match="silences that are not over; end some of them"):
        added(settings(ledger), "model=c")
