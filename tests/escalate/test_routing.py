"""The tree, conditions, shifts, windows and bounds by themselves, and what is said of a document that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streamdrift.errors import SettingsProblem
from streamdrift.escalate.incident import Incident
from streamdrift.escalate.policy import apply
from streamdrift.escalate.routing.document import Routes, read
from streamdrift.escalate.routing.labels import may_page, of_alert, of_incident
from streamdrift.escalate.routing.matchers import parsed
from streamdrift.escalate.routing.quiet import Quiet, Silence, silenced
from streamdrift.escalate.routing.tree import legs
from streamdrift.settings import EscalateSettings
from tests.escalate.conftest import NOW, make_alert

SET_UP = ("pagerduty", "slack", "email")
TREE = """
[teams]
"fraud-*" = "risk"
"*" = "ml"

[route]
receivers = ["slack"]
steps = [{ after_s = 1800, receivers = ["email"] }]

[[route.routes]]
name = "all criticals"
match = ["severity=critical"]
receivers = ["pagerduty"]
continue = true

[[route.routes]]
name = "risk"
match = ["team=risk"]
receivers = ["email"]
on_call = "risk"

[[route.routes.routes]]
name = "EWR"
match = ["segment=origin=EWR", "reason!=null_rate"]
receivers = ["email", "slack"]
steps = [{ after_s = 600 }, { after_s = 300, receivers = ["pagerduty"] }]

[on_call.risk]
people = ["ada", "grace"]
start = 2026-01-05T09:00:00Z
shift_s = 604800
"""


def routes() -> Routes:
    return read(TREE, "routes.toml", SET_UP)


def taken(model: str, **other: str) -> list[tuple[str, tuple[str, ...], str | None]]:
    labels = {"model": {model}, "team": {routes().team(model)}, "severity": {"warning"}, "segment": {""}}
    labels |= {name: {value} for name, value in other.items()}
    frozen = {name: frozenset(values) for name, values in labels.items()}
    return [(leg.route, leg.receivers, leg.on_call) for leg in legs(routes().route, frozen, SET_UP)]


def incident_of(*features: str, **other: object) -> Incident:
    found: Incident | None = None
    for i, feature in enumerate(features):
        found = apply(found, make_alert(feature, at=i, **other), EscalateSettings()).incident  # type: ignore[arg-type]
    assert found is not None
    return found


# The tree ------------------------------------------------------------------------------------------------------------


def test_the_first_route_that_matches_takes_it_and_the_root_the_rest() -> None:
    assert taken("search") == [("root", ("slack",), None)]
    assert taken("fraud-eu") == [("root / risk", ("email",), "risk")]
    assert taken("fraud-eu", segment="origin=EWR", reason="mean_shift") == [
        ("root / risk / EWR", ("email", "slack"), "risk")
    ]
    assert taken("fraud-eu", segment="origin=EWR", reason="null_rate") == [("root / risk", ("email",), "risk")]


def test_a_route_with_continue_lets_the_next_ones_have_it_too() -> None:
    assert taken("fraud-eu", severity="critical") == [
        ("root / all criticals", ("pagerduty",), None),
        ("root / risk", ("email",), "risk"),
    ]
    assert taken("search", severity="critical") == [("root / all criticals", ("pagerduty",), None)]


def test_steps_are_in_the_order_of_time_with_receivers_of_their_route() -> None:
    labels = {"team": frozenset({"risk"}), "segment": frozenset({"origin=EWR"}), "reason": frozenset({"mean_shift"})}
    (leg,) = legs(routes().route, labels, SET_UP)
    assert [(step.after_s, step.receivers, step.on_call) for step in leg.steps] == [
        (300, ("pagerduty",), "risk"),
        (600, ("email", "slack"), "risk"),
    ]
    (leg,) = legs(routes().route, {}, SET_UP)
    assert [(step.after_s, step.receivers) for step in leg.steps] == [(1800, ("email",))]


def test_without_a_document_everybody_is_told() -> None:
    (leg,) = legs(Routes().route, {}, SET_UP)
    assert (leg.receivers, leg.steps, leg.on_call) == (SET_UP, (), None)


def test_an_incidents_labels_are_those_of_what_explains_it() -> None:
    incident = incident_of("a", "b", severity="critical")
    labels = of_incident(incident, "ml")
    assert labels == {
        "model": {"flight-delay"},
        "team": {"ml"},
        "severity": {"critical"},
        "segment": {"origin=EWR"},
        "reason": {"null_rate"},
        "feature": {"a", "b"},
    }
    assert parsed("segment=").holds(of_incident(incident_of("a", segment=""), ""))


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("model~fraud-*", "fraud-eu", True),
        ("model~fraud-*", "Fraud-eu", False),
        ("model!~fraud-*", "search", True),
        ("model = fraud", "fraud", True),
        ("model=fraud*", "fraud-eu", False),
        ("segment~origin=*", "origin=EWR", True),
        ("segment!=origin=EWR", "origin=EWR", False),
        ("segment=", "", True),
    ],
)
def test_conditions(text: str, value: str, holds: bool) -> None:
    matcher = parsed(text)
    assert matcher.holds({matcher.label: frozenset({value})}) is holds
    assert parsed(str(matcher)) == matcher


# Shifts and windows --------------------------------------------------------------------------------------------------


def test_shifts_follow_the_clocks_of_their_zone() -> None:
    document = """
    [on_call.x]
    people = ["ada", "grace"]
    start = 2026-03-27T09:00:00+01:00
    shift_s = 86400
    zone = "Europe/Berlin"
    [people.ada]
    slack = "U0ADA0000"
    """
    found = read(document, "routes.toml")

    def at(*moment: int) -> str | None:
        return found.on_call["x"].at(datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]

    assert (at(2026, 3, 27, 7, 59), at(2026, 3, 27, 8, 0), at(2026, 3, 28, 7, 59)) == (None, "ada", "ada")
    assert (at(2026, 3, 29, 6, 59), at(2026, 3, 29, 7, 0)) == ("grace", "ada")  # nine o'clock in summer
    noon = datetime(2026, 3, 27, 12, tzinfo=UTC).timestamp()
    assert found.called("x", noon) == {"list": "x", "name": "ada", "slack": "U0ADA0000"}
    assert (found.called("x", 0.0), found.called(None, noon)) == ({}, {})


def test_windows_come_once_or_every_week() -> None:
    document = """
    [[maintenance]]
    name = "night"
    days = ["sat", "sun"]
    at = 23:00:00
    length_s = 7200
    zone = "Europe/Berlin"
    [[maintenance]]
    name = "move"
    start = 2026-07-01T00:00:00Z
    end = 2026-07-02T00:00:00Z
    """
    night, move = read(document, "routes.toml").maintenance

    def at(window: Quiet, *moment: int) -> bool:
        return window.in_force(datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]

    assert [at(night, 2026, 7, 4, 20, 59), at(night, 2026, 7, 4, 21, 0), at(night, 2026, 7, 4, 22, 59)] == [
        False,
        True,
        True,
    ]
    assert [at(night, 2026, 7, 4, 23, 0), at(night, 2026, 7, 3, 21, 0), at(night, 2026, 1, 3, 22, 0)] == [
        False,
        False,
        True,
    ]
    assert [at(move, 2026, 6, 30, 23, 59), at(move, 2026, 7, 1), at(move, 2026, 7, 2)] == [False, True, False]


# Silences ------------------------------------------------------------------------------------------------------------


def silence(*match: str, up_to: float | None = None) -> Silence:
    conditions = tuple(parsed(text) for text in match)
    return Silence("5d2f", conditions, NOW, NOW + 3600, "campaign", "ada", up_to)


def by(quiet: Quiet, incident: Incident, at: float = NOW, **beyond: frozenset[str]) -> bool:
    alerts = [(alert, of_alert(alert, "ml")) for alert in may_page(incident, "warning")]
    return bool(silenced([quiet], alerts, at, beyond=beyond or None))


def test_a_silence_covers_an_incident_whose_every_alert_it_covers() -> None:
    one, two = incident_of("a"), incident_of("a", "b")
    assert by(silence("feature=a"), one)
    assert not by(silence("feature=a"), two)
    assert by(silence("model=flight-delay", "team=ml"), two)
    assert not by(silence("feature=a"), one, NOW - 1)
    assert not by(silence("feature=a"), one, NOW + 3600)


def test_a_silence_has_a_bound() -> None:
    small, large = incident_of("a", effect_size=0.3), incident_of("a", effect_size=-0.31)
    assert by(silence("feature=a", up_to=0.3), small)
    assert not by(silence("feature=a", up_to=0.3), large)
    halved = incident_of("a", effect_size=0.5, effect_unit="ratio")
    assert (by(silence(up_to=0.9), halved), by(silence(up_to=1.0), halved)) == (False, True)


def test_what_nobody_has_seen_is_silenced_by_model_alone() -> None:
    incident, model = incident_of("a"), frozenset({"flight-delay"})
    assert by(silence("model=flight-delay"), incident, model=model)
    assert not by(silence("feature=a"), incident, model=model)
    assert not by(silence("model=flight-delay", up_to=9.0), incident, model=model)


def test_what_may_not_page_is_not_asked_for() -> None:
    incident = incident_of("a")
    held = apply(incident, make_alert("slight", severity="info", at=1), EscalateSettings()).incident
    assert held is not None
    assert by(silence("feature=a"), held)


# Documents that are wrong --------------------------------------------------------------------------------------------

WRONG = [
    ("[route", "routes.toml is not TOML: Expected ']'"),
    ('[route]\nreceivrs = ["slack"]', "line 2, route.receivrs: there is no such key; did you mean receivers?"),
    ('[route]\nreceivers = "slack"', 'line 2, route.receivers: slack is no list such as ["one", "two"]'),
    (
        '[route]\nreceivers = ["slak"]',
        "line 2, route.receivers: there is no receiver set up that is called slak; did you mean slack?",
    ),
    ('[route]\nmatch = ["team=x"]', "line 2, route.match: may not be given: what the root doesn't match"),
    (
        '[route]\n[[route.routes]]\n\nmatch = ["severty=critical"]',
        "line 4, route.routes[0].match[0]: severty=critical asks for a label severty; did you mean severity?",
    ),
    ('[[route.routes]]\nmatch = ["severity=high"]', "asks for a severity that there isn't; there are info, warning"),
    ('[[route.routes]]\nmatch = ["model"]', "model is no condition such as severity=critical"),
    ('[[route.routes]]\nmatch = ["segment=EWR"]', "asks for a segment that is not dimension=value"),
    ('[[route.routes]]\nmatch = ["model="]', "has no value"),
    ('[[route.routes]]\nmatch = ["model~*********"]', "has more than 8 stars"),
    ("[[route.routes]]\nmatch = [5]", "line 2, route.routes[0].match[0]: 5 is no text such as severity=critical"),
    ("[route]\nsteps = [{ after = 5 }]", "route.steps[0].after: there is no such key; did you mean after_s?"),
    ("[route]\nsteps = [{ after_s = -5 }]", "route.steps[0].after_s: -5 should be greater than 0"),
    ('[route]\non_call = "x"', "line 2, route.on_call: there is no on-call list called x; there is none"),
    (
        '[on_call.x]\npeople = ["ada"]\nstart = 2026-01-05T09:00:00\nshift_s = 3600',
        'on_call.x.start: "2026-01-05 09:00:00" has no time zone; end it with Z',
    ),
    (
        '[on_call.x]\npeople = []\nstart = 2026-01-05T09:00:00Z\nshift_s = 3600\nzone = "Mars"',
        "line 5, on_call.x.zone: Mars is no time zone that this machine knows",
    ),
    ('[people.ada]\nslack = "@ada"', "line 2, people.ada.slack: @ada"),
    ('[people.ada]\nemail = "Ada <a@b.c>"', "is no mail address"),
    ('[[maintenance]]\nname = "x"\ndays = ["sat"]', "needs start and end, or days, at and length_s, and not both"),
    (
        '[[maintenance]]\nname = "x"\nstart = 2026-01-05T09:00:00Z\nend = 2026-01-05T09:00:00Z',
        "line 4, maintenance[0].end: is not after start",
    ),
    ('[[inhibit]]\nname = "x"\nsource = []\ntarget = ["severity=info"]', "line 3, inhibit[0].source"),
    ("teams = 5", "line 1, teams: 5 is no table"),
    ("[rout]", "line 1, rout: there is no such key; did you mean route?"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(SettingsProblem) as problem:
        read(text, "routes.toml", SET_UP)
    assert said in str(problem.value)
    assert "\n  " in str(problem.value) or "not TOML" in said


def test_every_problem_is_told_at_once_and_many_are_counted() -> None:
    with pytest.raises(SettingsProblem) as problem:
        read("\n".join(f"key{i} = 1" for i in range(30)), "routes.toml")
    lines = str(problem.value).splitlines()
    assert lines[0] == "routes.toml: 30 things are wrong; docs/routing.md has a whole one."
    assert (len(lines), lines[-1]) == (22, "  and 10 more")


def test_too_many_routes_or_too_deep_ones_are_refused() -> None:
    deep = "".join(f"[[route{'.routes' * n}]]\n" for n in range(1, 12))
    with pytest.raises(SettingsProblem, match="is more than 10 routes deep"):
        read(deep, "routes.toml")
    with pytest.raises(SettingsProblem, match="has 1002 routes below it"):
        read("[[route.routes]]\n" * 1001, "routes.toml")
