"""Each thing that can be wrong: what, where, what to do; all at once; no secret given away."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamdrift.errors import SettingsProblem
from streamdrift.settings import load
from streamdrift.settings.fields import CONFIG, FILE, LEAVES, PREFIX, environment_name
from streamdrift.settings.sources import _one_slip

NAMES = [CONFIG, *(environment_name(place) for place in LEAVES if "*" not in place)]
NAMES += [environment_name((*p[:-1], p[-1] + FILE)) for p, leaf in LEAVES.items() if leaf.secret]


def problems(environ: dict[str, str], root: Path = Path("/nowhere")) -> list[str]:
    """The lines below the head, of which each is one problem."""
    with pytest.raises(SettingsProblem) as caught:
        load(environ, root=root)
    assert caught.value.exit_code == 2
    head, *lines = str(caught.value).split("\n")
    number = "1 setting is wrong" if len(lines) == 1 else f"{len(lines)} settings are wrong"
    assert head == f"{number}; nothing was started. Every setting is in docs/settings.md."
    assert all(line.isprintable() for line in lines)
    return [line.strip() for line in lines]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "DETECTORS__ADWIN__DELTA",
            "2",
            (
                "detectors.adwin.delta = 2: should be less than 1; allowed: number, above 0, below 1 "
                "(environment STREAMDRIFT_DETECTORS__ADWIN__DELTA)"
            ),
        ),
        (
            "SERIES_MAX",
            "many",
            (
                "series_max = many: should be a valid integer, unable to parse string as an integer; "
                "allowed: whole number, at least 1 (environment STREAMDRIFT_SERIES_MAX)"
            ),
        ),
        (
            "SEGMENTS",
            "origin, carrier",
            (
                """segments = origin, carrier: is not JSON; write it as a JSON list, such as '["origin","carrier"]'; """
                """allowed: JSON list of names, such as '["origin","carrier"]' (environment STREAMDRIFT_SEGMENTS)"""
            ),
        ),
        (
            "KAFKA__GROUP",
            "${GROUP}",
            (
                "kafka.group = ${GROUP}: has ${…} in it, which nothing here fills in; put the value itself; "
                "allowed: text, not empty (environment STREAMDRIFT_KAFKA__GROUP)"
            ),
        ),
        (
            "TELEMETRY__HOST",
            "",
            'telemetry.host = "": is empty; allowed: text, not empty (environment STREAMDRIFT_TELEMETRY__HOST)',
        ),
        (
            "KAFKA__BOOTSTRAP_SERVERS",
            "kafka",
            (
                "kafka.bootstrap_servers = kafka: 'kafka' is not host:port; allowed: host:port, several with commas "
                "between them (environment STREAMDRIFT_KAFKA__BOOTSTRAP_SERVERS)"
            ),
        ),
        (
            "KAFKA",
            "kafka:9092",
            (
                "kafka: is a section: set STREAMDRIFT_KAFKA__… one by one, or give a JSON object, such as "
                """'{"name": "value"}' (environment STREAMDRIFT_KAFKA)"""
            ),
        ),
        (
            "KAFKA",
            "[1]",
            (
                "kafka: is a section and takes no value of its own; use [kafka] in the file, or STREAMDRIFT_KAFKA__… in "
                "the environment (environment STREAMDRIFT_KAFKA)"
            ),
        ),
        (
            "KAFKA",
            '{"grup":"x"}',
            "kafka.grup: there is no such setting; did you mean kafka.group? (environment STREAMDRIFT_KAFKA)",
        ),
        (
            "KAFKA__GROUP_FILE",
            "/run/group",
            (
                "kafka.group: can't be given by a file name; only secrets can; allowed: text, not empty "
                "(environment STREAMDRIFT_KAFKA__GROUP_FILE)"
            ),
        ),
        (
            "ESCALATE__WEBHOOK__URL",
            "ftp://x",
            (
                "escalate.webhook.url = ftp://x: is not a URL that begins with https:// or http://; "
                "allowed: https:// or http:// URL without a password (environment STREAMDRIFT_ESCALATE__WEBHOOK__URL)"
            ),
        ),
        (
            "OVERRIDES__EU__SEGMENT",
            "DE",
            (
                "overrides.eu.segment = DE: is not dimension=value; allowed: dimension=value, or empty text for all "
                "traffic (environment STREAMDRIFT_OVERRIDES__EU__SEGMENT)"
            ),
        ),
        (
            "OVERRIDES__EU__KS__WINDOW_EVENTS",
            "6000",
            (
                "overrides.eu.ks.window_events = 6000: is 6000, more than reference.events (5000); lower it, or raise that; "
                "allowed: whole number, at least 16, at most 10000 (environment STREAMDRIFT_OVERRIDES__EU__KS__WINDOW_EVENTS)"
            ),
        ),
        (
            "OVERRIDES__EU__KS__ALHPA",
            "0.1",
            (
                "STREAMDRIFT_OVERRIDES__EU__KS__ALHPA: there is no such setting; did you mean "
                "STREAMDRIFT_OVERRIDES__EU__KS__ALPHA? (environment)"
            ),
        ),
        (
            "DETECTRS__ADWIN__DELTA",
            "0.1",
            (
                "STREAMDRIFT_DETECTRS__ADWIN__DELTA: there is no such setting; did you mean "
                "STREAMDRIFT_DETECTORS__ADWIN__DELTA? (environment)"
            ),
        ),
        (
            "QQQ",
            "1",
            "STREAMDRIFT_QQQ: there is no such setting; docs/settings.md lists them all (environment)",
        ),
        (
            "TOPICS__LABELS",
            "drift-alerts",
            (
                "topics.alerts: is the topic of labels too; each needs its own; allowed: 1 to 249 letters, digits, '.', "
                "'_', '-' (not set; STREAMDRIFT_TOPICS__ALERTS would set it)"
            ),
        ),
        (
            "ESCALATE__RETRY__INITIAL_S",
            "400",
            (
                "escalate.retry.initial_s = 400: is longer than max_s (300); it is the shortest wait; allowed: number, "
                "above 0 (environment STREAMDRIFT_ESCALATE__RETRY__INITIAL_S)"
            ),
        ),
    ],
)
def test_one_problem_is_one_sentence(name: str, value: str, sentence: str) -> None:
    assert problems({PREFIX + name: value}) == [sentence]


def test_login_needs_all_of_its_parts() -> None:
    found = problems({"STREAMDRIFT_KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "STREAMDRIFT_KAFKA__SSL_CERTFILE": "/c.pem"})
    assert [line.split(";")[0] for line in found] == [
        "kafka.sasl_mechanism: is needed with security_protocol SASL_SSL",
        "kafka.sasl_username: is needed with security_protocol SASL_SSL",
        "kafka.sasl_password: is needed with security_protocol SASL_SSL",
        "kafka.ssl_certfile = /c.pem: is given without ssl_keyfile",
    ]
    assert found[2].endswith("(not set; STREAMDRIFT_KAFKA__SASL_PASSWORD would set it)")


def test_a_password_that_would_not_be_used_is_refused() -> None:
    (line,) = problems({"STREAMDRIFT_KAFKA__SASL_PASSWORD": "canary-1f6d"})
    assert line.startswith("kafka.sasl_password = **********: is used only with security_protocol SASL_SSL")


def test_signing_secret_without_url_and_bad_base64() -> None:
    (line,) = problems({"STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": "canary-1f6d"})
    assert line.startswith("escalate.webhook.secret = **********: is given without url, so nothing would be sent")
    (line,) = problems({"STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": "whsec_canary-1f6d"})
    assert line.startswith("escalate.webhook.secret = **********: what follows whsec_ is not base64")


def test_every_problem_at_once_file_and_environment(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'sries_max = 3\n[kafka]\ngroup = 5\npoll_records_max = true\n[overrides."Price.USD"]\nenabled=false\n'
    )
    found = problems(
        {"STREAMDRIFT_CONFIG": "x.toml", "STREAMDRIFT_POLICY__THRESHOLD": "nan", "STREAMDRIFT_X": ""}, tmp_path
    )
    assert found == [
        "sries_max: there is no such setting; did you mean series_max? (file x.toml)",
        "kafka.poll_records_max = true: is a boolean; allowed: whole number, at least 1 (file x.toml)",
        "STREAMDRIFT_X: there is no such setting; docs/settings.md lists them all (environment)",
        "kafka.group = 5: should be a valid string; allowed: text, not empty (file x.toml)",
        (
            "policy.threshold = nan: should be less than or equal to 200; allowed: number, at least 4, at most 200 "
            "(environment STREAMDRIFT_POLICY__THRESHOLD)"
        ),
        (
            "overrides.Price.USD: is no rule name: use lower-case letters and digits with single '_' between them, and put "
            "the names that it is for in its model, feature and segment (file x.toml)"
        ),
    ]


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (None, "STREAMDRIFT_CONFIG: file x.toml does not exist; check the path, and that it is mounted"),
        (
            b"a = 1\nb = = 2\n",
            "STREAMDRIFT_CONFIG: file x.toml is not TOML: Invalid value (at line 2, column 5); mend that line",
        ),
        (b"a = '\xff'\n", "STREAMDRIFT_CONFIG: file x.toml is not UTF-8 text (byte 5)"),
        (b"#" * 1_000_001, "STREAMDRIFT_CONFIG: file x.toml is larger than 1000000 bytes; is it the right one?"),
        (b"a = " + b"[" * 100_000, "STREAMDRIFT_CONFIG: file x.toml is nested too deep to be settings"),
    ],
)
def test_a_file_that_is_no_settings_file(tmp_path: Path, raw: bytes | None, sentence: str) -> None:
    if raw is not None:
        (tmp_path / "x.toml").write_bytes(raw)
    assert problems({"STREAMDRIFT_CONFIG": "x.toml"}, tmp_path) == [sentence]


@pytest.mark.parametrize("name", ["", "${CONFIG}"])
def test_a_file_without_a_usable_name(name: str) -> None:
    (line,) = problems({"STREAMDRIFT_CONFIG": name})
    assert "has no usable name: it is empty or has ${…} in it" in line


def test_a_folder_and_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (line,) = problems({"STREAMDRIFT_CONFIG": "."}, tmp_path)
    assert line == "STREAMDRIFT_CONFIG: file . can't be read: Is a directory"
    locked = tmp_path / "locked.toml"
    locked.touch(mode=0o000)
    if not os.access(locked, os.R_OK):  # root may read everything
        (line,) = problems({"STREAMDRIFT_CONFIG": "locked.toml"}, tmp_path)
        assert line == "STREAMDRIFT_CONFIG: file locked.toml can't be read: Permission denied"


def test_secret_given_twice_missing_empty(tmp_path: Path) -> None:
    name = "STREAMDRIFT_ESCALATE__PAGERDUTY__ROUTING_KEY"
    (tmp_path / "key").write_text("canary-1f6d\n")
    (line,) = problems({name: "canary-1f6d", name + "_FILE": str(tmp_path / "key")})
    assert line.startswith("escalate.pagerduty.routing_key: is given both as a value and as a file; keep one of them")
    (line,) = problems({name + "_FILE": "/run/secrets/none"})
    assert line == (
        "escalate.pagerduty.routing_key: its file does not exist; check the path, and that it is mounted; "
        "allowed: text, not empty (secret file /run/secrets/none)"
    )
    (line,) = problems({name: ""})
    assert line.startswith("escalate.pagerduty.routing_key = **********: is empty; leave the name out altogether")
    (tmp_path / "key").write_text("\n")
    (line,) = problems({name + "_FILE": str(tmp_path / "key")})
    assert "is empty" in line
    assert line.endswith(f"(secret file {tmp_path / 'key'})")
    (line,) = problems({name: "${KEY}"})
    assert "if it belongs there, give the secret by its _FILE name" in line


@pytest.mark.parametrize("names", [("routing_key_file", "routing_key"), ("routing_key", "routing_key_file")])
def test_secret_given_twice_in_the_file_in_any_order(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "key").write_text("key")
    (tmp_path / "x.toml").write_text("[escalate.pagerduty]\n" + "".join(f"{name} = 'key'\n" for name in names))
    (line,) = problems({"STREAMDRIFT_CONFIG": "x.toml"}, tmp_path)
    assert line.startswith("escalate.pagerduty.routing_key: is given both as a value and as a file; keep one of them")
    assert line.endswith("(file x.toml)")


@pytest.mark.parametrize(
    "environ",
    [
        {"STREAMDRIFT_KAFKA__SASL_PASWORD": "canary-1f6d"},
        {"STREAMDRIFT_KAFKA__SASL_PASSWORD": "canary-1f6d"},
        {"STREAMDRIFT_KAFKA__SASL_PASSWORD": "canary-1f6d${"},
        {"STREAMDRIFT_KAFKA__SASL_PASSWORD_FILE": "canary-1f6d"},
        {"STREAMDRIFT_KAFKA": '{"sasl_password": "canary-1f6d"'},
        {"STREAMDRIFT_KAFKA": '{"sasl_password": ["canary-1f6d"]}'},
        {"STREAMDRIFT_KAFKA": '{"sasl_pasword": "canary-1f6d"}'},
        {"STREAMDRIFT_ESCALATE__WEBHOOK__URL": "https://u:canary-1f6d@example.com/"},
        {"STREAMDRIFT_ESCALATE__WEBHOOK__SECRET": "whsec_canary-1f6d"},
    ],
)
def test_no_problem_tells_a_secret(environ: dict[str, str]) -> None:
    assert "canary-1f6d" not in "".join(problems(environ))


def test_a_value_can_not_break_its_line() -> None:
    (line,) = problems({"STREAMDRIFT_EXCHANGE": "a\nb\x1b[2J\u2028" + "x" * 500})
    assert line.startswith(r"exchange = a\nb\x1b[2J\u2028xxx")
    assert "x…: should be 'topic' or 'direct'" in line
    (line,) = problems({"STREAMDRIFT_KAFKA__GROUP": os.fsdecode(b"caf\xe9")})
    assert line.startswith(r"kafka.group = caf\udce9: is not UTF-8 text")


def test_deeply_nested_json_is_a_sentence() -> None:
    (line,) = problems({"STREAMDRIFT_SEGMENTS": "[" * 200_000})
    assert line.startswith("segments = [[[[")
    assert "is not JSON" in line


@given(st.data())
def test_a_slip_of_one_character_is_refused_with_the_right_name(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    at = data.draw(st.integers(0, len(name) - 1))
    character = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789abc-. "))
    kind = data.draw(st.sampled_from(["other", "more", "fewer"]))
    slip = name[:at] + ("" if kind == "fewer" else character) + name[at + (kind != "more") :]
    if slip not in NAMES:
        (line,) = problems({slip: "1"})
        # a blank before the first line's name is cut off with the line's own
        head, meant = f"{slip.lstrip()}: there is no such setting; did you mean ", line.removesuffix("? (environment)")
        # One slip may lie between two names: S9SL_PASSWORD is as near to SSL_ as to SASL_PASSWORD.
        assert meant in {head + known for known in NAMES if known == name or _one_slip(slip, known)}


def test_names_of_others_are_none_of_ours() -> None:
    others = {"STREAMLIT_SERVER_PORT": "1", "DRIFT": "x", "UPSTREAM_KAFKA__GROUP": "y", "STREAMDRIFTER": "1"}
    assert load(others, root=Path()).settings.series_max == 10_000
