"""What `config show` prints, and the page in docs."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from streamdrift import settings_docs
from streamdrift.errors import SettingsProblem
from streamdrift.settings import Loaded, config_hash, load, secret_values, show, show_json
from streamdrift.settings.fields import LEAVES, environment_name
from streamdrift.tune import toml

CANARY = "canary-1f6d"


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    (tmp_path / "key").write_text(CANARY)
    (tmp_path / "drift.toml").write_text(
        '[overrides.eu]\nsegment = ""\nks.alpha = 1e-9\n[topics]\nalerts = "ml.drift"\n'
    )
    environ = {
        "STREAMDRIFT_CONFIG": "drift.toml",
        "STREAMDRIFT_SEGMENTS": '["origin","a\u2028b"]',
        "STREAMDRIFT_ESCALATE__PAGERDUTY__ROUTING_KEY_FILE": "key",
        "STREAMDRIFT_ESCALATE__WEBHOOK__URL": "https://example.com/hook",
        "STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": CANARY,
    }
    return load(environ, root=tmp_path)


def test_every_setting_its_value_and_its_origin(loaded: Loaded) -> None:
    lines = show(loaded, {"engine": "reference"}).splitlines()
    rows = {line.split()[0]: re.split(r"  +", line)[1:] for line in lines[1:] if "  " in line}
    assert lines[0].split() == ["setting", "value", "origin"]
    assert {".".join(place) for place in LEAVES if "*" not in place} <= set(rows)
    assert rows["series_max"] == ["10000", "default"]
    assert rows["topics.alerts"] == ["ml.drift", "file drift.toml"]
    assert rows["segments"] == [r'["origin","a\u2028b"]', "environment STREAMDRIFT_SEGMENTS"]
    assert rows["detectors.ks.enabled"] == ["true", "default"]
    assert rows["kafka.sasl_password"] == ["(not set)", "default"]
    assert rows["escalate.pagerduty.routing_key"] == ["**********", "secret file key"]
    assert rows["escalate.webhook.secret"] == ["**********", "environment STREAMDRIFT_ESCALATE__WEBHOOK__SECRET"]
    assert rows["overrides.eu.segment"] == ['""', "file drift.toml"]
    assert rows["overrides.eu.ks.alpha"] == ["1e-09", "file drift.toml"]
    assert lines[-2:] == [f"config hash: {config_hash(loaded.settings)}", "engine: reference"]


def test_columns_stand_below_each_other(loaded: Loaded) -> None:
    head, *rows = show(loaded).split("\n\n")[0].splitlines()
    at = head.index("origin")
    assert all(
        re.match(r"default|file |environment |secret file ", row[at:]) and row[at - 2 : at] == "  " for row in rows
    )


def test_the_same_as_json(loaded: Loaded) -> None:
    document = json.loads(show_json(loaded, {"engine": "reference"}))
    assert document["settings"]["segments"]["value"] == ["origin", "a\u2028b"]
    assert document["settings"]["escalate.ledger"] == {"value": "streamdrift-ledger.sqlite3", "origin": "default"}
    assert document["settings"]["escalate.webhook.secret"]["value"] == "**********"
    assert document["settings"]["kafka.sasl_password"]["value"] is None
    assert (document["config_hash"], document["engine"]) == (config_hash(loaded.settings), "reference")


def test_no_form_tells_a_secret(loaded: Loaded) -> None:
    assert CANARY not in show(loaded) + show_json(loaded) + repr(loaded) + loaded.settings.model_dump_json()


def test_the_page_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    assert settings_docs.main(["--check"]) == 0


def test_a_stale_page_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(settings_docs, "PAGE", tmp_path / "settings.md")
    assert settings_docs.main(["--check"]) == 1
    assert "is stale; run: python -m streamdrift.settings_docs" in capsys.readouterr().err
    assert settings_docs.main([]) == 0
    assert settings_docs.main(["--check"]) == 0


def test_the_page_has_every_setting() -> None:
    page = settings_docs.page()
    for place, leaf in LEAVES.items():
        if "*" not in place:
            assert f"| `{'.'.join(place)}` | `{environment_name(place)}` | " in page
        assert leaf.text, f"{place} has no docstring"


def test_the_examples_of_the_page_load(tmp_path: Path) -> None:
    page = settings_docs.page()
    toml = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    environ = dict(re.findall(r"^export (STREAMDRIFT_\w+)='?(.*?)'?(?:\s+#.*)?$", page, re.MULTILINE))
    for text in toml:
        assert tomllib.loads(text)
        (tmp_path / "x.toml").write_text(text)
        load({"STREAMDRIFT_CONFIG": "x.toml", **environ}, root=tmp_path)
    assert len(toml) == 2
    assert len(environ) == 5


LEDGER = f"postgresql+psycopg://drift:{CANARY}%40x@db.example.com:5432/drift?sslpassword={CANARY}"


@pytest.mark.parametrize("given", [LEDGER, LEDGER.replace("+psycopg", "")])
def test_the_password_of_the_ledger_is_shown_nowhere(tmp_path: Path, given: str) -> None:
    found = load({"STREAMDRIFT_ESCALATE__LEDGER": given}, root=tmp_path)
    told = given.split("drift:", maxsplit=1)[0] + "**********@db.example.com:5432/drift?**********"
    assert found.settings.escalate.ledger == given
    assert json.loads(show_json(found))["settings"]["escalate.ledger"]["value"] == told
    assert told in show(found)
    assert CANARY not in show(found) + show_json(found)
    assert {f"{CANARY}%40x", f"{CANARY}@x", CANARY} <= set(secret_values(found.settings))
    written = toml.document({"escalate": {"ledger": given, "severity_min": "info"}}, found.settings, {}, [])
    assert "escalate.ledger is a secret, and left out here" in written
    assert 'severity_min = "info"' in written
    assert CANARY not in written


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "is empty"),
        (f"mysql://me:{CANARY}@db/x", "is a URL of something that the ledger can't be in"),
        ("sqlite://ledger", "is no sqlite:///path; a path from the root has four slashes"),
        ("sqlite:///", "is no sqlite:///path"),
        (f"postgresql://me:{CANARY}@db", "is no postgresql+psycopg://user@host/database"),
        (f"postgresql://me:{CANARY}@db:port/x", "is no postgresql+psycopg://user@host/database"),
    ],
)
def test_a_place_that_is_none_for_a_ledger_is_told_without_its_password(tmp_path: Path, given: str, why: str) -> None:
    with pytest.raises(SettingsProblem) as e:
        load({"STREAMDRIFT_ESCALATE__LEDGER": given}, root=tmp_path)
    assert why in str(e.value)
    assert "allowed: path, sqlite:///path, or postgresql+psycopg://user@host/database" in str(e.value)
    assert CANARY not in str(e.value)
