"""Where values come from, and which wins."""

from pathlib import Path
from typing import Any

import pytest

from streamdrift.errors import SettingsProblem
from streamdrift.settings import Loaded, Settings, load, secret_values

SASL = {
    "STREAMDRIFT_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "STREAMDRIFT_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
    "STREAMDRIFT_KAFKA__SASL_USERNAME": "drift",
}


def loaded(tmp_path: Path, toml: str | None = None, **environ: str) -> Loaded:
    names = {f"STREAMDRIFT_{name}": value for name, value in environ.items()}
    if toml is not None:
        (tmp_path / "drift.toml").write_text(toml, encoding="utf-8")
        names["STREAMDRIFT_CONFIG"] = "drift.toml"
    return load({"PATH": "/bin", "HOME": "/root", **names}, root=tmp_path)


def test_nothing_given_is_all_defaults(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert found.settings == Settings()
    assert set(found.origins.values()) == {"default"}
    assert "detectors.adwin.delta" in found.origins


def test_environment_over_file_over_default_setting_by_setting(tmp_path: Path) -> None:
    toml = "series_max = 7\n[detectors.adwin]\ndelta = 0.01\nclock = 16\n[topics]\nalerts = 'ml.drift'\n"
    found = loaded(tmp_path, toml, DETECTORS__ADWIN__DELTA="0.02", SERIES_MAX="9")
    assert found.settings.detectors.adwin.model_dump() == {
        "enabled": True,
        "delta": 0.02,
        "clock": 16,
        "grace_period": 10,
    }
    assert (found.settings.series_max, found.settings.topics.alerts) == (9, "ml.drift")
    assert found.origins["detectors.adwin.delta"] == "environment STREAMDRIFT_DETECTORS__ADWIN__DELTA"
    assert found.origins["detectors.adwin.clock"] == "file drift.toml"
    assert found.origins["detectors.adwin.grace_period"] == "default"


@pytest.mark.parametrize(
    ("name", "text", "place", "value"),
    [
        ("DETECTORS__KS__ENABLED", "no", "detectors.ks.enabled", False),
        ("DETECTORS__KS__ENABLED", "1", "detectors.ks.enabled", True),
        ("SERIES_MAX", "20_000", "series_max", 20_000),
        ("POLICY__THRESHOLD", "2e1", "policy.threshold", 20.0),
        ("SEGMENTS", '["origin","carrier"]', "segments", ("origin", "carrier")),
        ("SEGMENTS", "[]", "segments", ()),
        ("SEGMENTS", "null", "segments", None),
        ("ESCALATE__LEDGER", "/var/lib/x.sqlite3", "escalate.ledger", "/var/lib/x.sqlite3"),
        ("REFERENCE__BASELINE", "/var/lib/x.ndjson", "reference.baseline", Path("/var/lib/x.ndjson")),
        ("KAFKA__BOOTSTRAP_SERVERS", "a:1, [::1]:9092", "kafka.bootstrap_servers", "a:1, [::1]:9092"),
    ],
)
def test_text_becomes_what_the_setting_is(tmp_path: Path, name: str, text: str, place: str, value: Any) -> None:
    found: Any = loaded(tmp_path, **{name: text}).settings
    for part in place.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_a_whole_section_as_json_and_single_names_win_over_it(tmp_path: Path) -> None:
    found = loaded(tmp_path, TOPICS='{"alerts":"a","events":"b"}', TOPICS__EVENTS="c").settings.topics
    assert (found.alerts, found.events, found.labels) == ("a", "c", "inference-labels")


def test_override_rules_merge_file_and_environment(tmp_path: Path) -> None:
    toml = '[overrides.eu_price]\nmodel="shop"\nfeature="Price.USD"\nsegment="country=DE"\nadwin={clock=8}\n'
    found = loaded(tmp_path, toml, OVERRIDES__EU_PRICE__ADWIN__DELTA="0.3", OVERRIDES='{"night":{"enabled":false}}')
    rule = found.settings.overrides["eu_price"]
    assert (rule.model, rule.feature, rule.segment) == ("shop", "Price.USD", "country=DE")
    assert rule.adwin is not None
    assert rule.adwin.model_fields_set == {"delta", "clock"}
    assert found.settings.overrides["night"].enabled is False
    assert {name: origin for name, origin in found.origins.items() if name.startswith("overrides")} == {
        "overrides.eu_price.adwin.clock": "file drift.toml",
        "overrides.eu_price.adwin.delta": "environment STREAMDRIFT_OVERRIDES__EU_PRICE__ADWIN__DELTA",
        "overrides.eu_price.feature": "file drift.toml",
        "overrides.eu_price.model": "file drift.toml",
        "overrides.eu_price.segment": "file drift.toml",
        "overrides.night.enabled": "environment STREAMDRIFT_OVERRIDES",
    }


@pytest.mark.parametrize(
    ("raw", "secret"),
    [
        (b"hunter2!", "hunter2!"),
        (b"hunter2!\n", "hunter2!"),
        (b"hunter2!\r\n", "hunter2!"),
        (b"hunter2!\n\n", "hunter2!\n"),
        (b" sp ace ", " sp ace "),
        ("pä${x}".encode(), "pä${x}"),
    ],
)
def test_a_secret_file_is_the_secret_without_one_newline(tmp_path: Path, raw: bytes, secret: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(raw)
    found = load({**SASL, "STREAMDRIFT_KAFKA__SASL_PASSWORD_FILE": str(path)}, root=tmp_path)
    assert found.origins["kafka.sasl_password"] == f"secret file {path}"
    assert secret_values(found.settings) == (secret,)
    assert secret not in repr(found.settings)


def test_a_secret_file_named_in_toml_and_overruled_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    toml = "[escalate.pagerduty]\nrouting_key_file = 'key'\n"
    assert secret_values(loaded(tmp_path, toml).settings) == ("from-file",)
    assert secret_values(loaded(tmp_path, toml, ESCALATE__PAGERDUTY__ROUTING_KEY="from-env").settings) == ("from-env",)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert loaded(tmp_path, "\ufeffseries_max = 5\n").settings.series_max == 5


def test_what_kubernetes_sets_beside_a_service_is_passed_over(tmp_path: Path) -> None:
    link = {
        "STREAMDRIFT_SERVICE_HOST": "10.0.0.1",
        "STREAMDRIFT_SERVICE_PORT": "9464",
        "STREAMDRIFT_SERVICE_PORT_METRICS": "9464",
        "STREAMDRIFT_PORT": "tcp://10.0.0.1:9464",
        "STREAMDRIFT_PORT_9464_TCP": "tcp://10.0.0.1:9464",
        "STREAMDRIFT_PORT_9464_TCP_PROTO": "tcp",
        "STREAMDRIFT_PORT_9464_TCP_PORT": "9464",
        "STREAMDRIFT_PORT_9464_TCP_ADDR": "10.0.0.1",
        "STREAMDRIFT_DETECT_SERVICE_HOST": "10.0.0.2",
        "STREAMDRIFT_DETECT_PORT": "tcp://10.0.0.2:80",
    }
    assert load(link, root=tmp_path).settings == Settings()
    with pytest.raises(SettingsProblem, match="STREAMDRIFT_TELEMETRY__PORT"):
        load({"STREAMDRIFT_TELEMETRY_PORT": "9464"}, root=tmp_path)


def test_the_arguments_are_all_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMDRIFT_SERIES_MAX", "1")
    assert load({}, root=tmp_path).settings.series_max == 10_000
