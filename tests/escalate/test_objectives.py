"""Measures in, pages about burning budgets out: through the worker and its ledger, in either database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from streamdrift.escalate.burning import Promises
from streamdrift.escalate.receivers import webhook
from streamdrift.slo.burn import Objective, pairs, rate
from streamdrift.slo.counts import HOUR_MS, MINUTE_MS
from streamdrift.slo.indicators import FRESHNESS, VALID, Indicator
from streamdrift.slo.measures import Minute, Slice
from tests.escalate.conftest import NOW, House, KeepingReceiver, make_alert
from tests.test_schemas import schema, validator

TOPIC = "streamdrift.measures"
MODEL = "flight-delay"
MONTH = 30 * 24 * HOUR_MS
START = int(NOW * 1000) - 3 * HOUR_MS
Make = Callable[..., House]


def objective(name: str = "valid", target: float = 0.99, kind: str = VALID, value: float | None = None) -> Objective:
    return Objective(name, Indicator(MODEL, kind, value=value), target, MONTH, pairs(MONTH))


def promises(*found: Objective) -> Promises:
    return Promises(TOPIC, found or (objective(),))


def measured(minute: int, events: int = 100, invalid: int = 0, **other: Any) -> Slice:
    counts = {"events": events, "invalid": invalid} | other
    place = "inference-events", 0, minute
    return Slice(MODEL, "events", place, place, (Minute(START + minute * MINUTE_MS, counts),))


def write(house: House, slices: Sequence[Slice]) -> None:
    for one in slices:
        house.broker.append(TOPIC, one.to_cloudevent(), MODEL.encode(), timestamp_ms=one.latest + 5_000)


def step(house: House, *slices: Slice) -> None:
    write(house, slices)
    house.worker.step(0.0)


def burnt(first: int = 60, until: int = 120, invalid: int = 30) -> list[Slice]:
    """An hour in order, then one in which 30 % are invalid."""
    return [measured(m, invalid=invalid if m >= first else 0) for m in range(until)]


def test_a_burning_budget_pages_once_and_tells_how_much_is_left(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    step(made, *burnt())
    assert len(receiver.pages) == 1
    (page,) = receiver.pages
    assert page.action == "trigger"
    assert page.incident["severity"] == "critical"
    (alert,) = page.alerts
    assert (alert["reason"], alert["feature"], alert["severity"]) == ("slo_burn", "slo.valid", "critical")
    assert alert["current"]["burn_rate"] >= 14.4
    assert alert["current"]["window_s"] == 3600
    (left,) = page.incident["budgets"]
    assert 0.9 < left["left"] < 1
    assert left["text"] in page.incident["explanation"]
    assert "of the 30-day budget of valid left; at this rate gone in" in left["text"]
    assert "bad in 1 h" in page.headline
    step(made, *[measured(m, invalid=30) for m in range(120, 150)])
    assert len(receiver.pages) == 1


def test_recovery_is_told_when_the_short_window_is_clean_and_no_sooner(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    step(made, *burnt(until=90))
    assert [page.action for page in receiver.pages] == ["trigger"]
    step(made)  # nothing comes: that is no recovery
    step(made, measured(90), measured(91))
    assert len(receiver.pages) == 1
    step(made, *[measured(m) for m in range(92, 92 + 60)])
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"]


def test_one_bad_slice_of_five_is_no_page(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    step(made, *[measured(m, events=1, invalid=int(m == 2)) for m in range(5)])
    assert not receiver.pages
    counts = made.ledger.objectives.counts(objective().indicator.key)
    assert rate(objective(), counts.over(5 * MINUTE_MS)) == pytest.approx(20)  # over 14.4


def test_what_comes_again_is_counted_once(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    slices = burnt(until=95)
    step(made, *slices)
    made.crash()
    step(made, *slices)  # by a producer that published at least once
    counts = made.ledger.objectives.counts(objective().indicator.key)
    assert counts.over(MONTH).total == 95 * 100
    assert len(receiver.pages) == 1
    assert made.count("duplicates_total", stage="escalate") >= 95


@pytest.mark.parametrize("at_a_time", [6, 33])
def test_in_how_many_pieces_it_is_read_changes_nothing(house: Make, receiver: KeepingReceiver, at_a_time: int) -> None:
    made, slices = house(receiver, promises=promises()), [*burnt(), *[measured(m) for m in range(120, 200)]]
    for i, begin in enumerate(range(0, len(slices), at_a_time)):
        step(made, *slices[begin : begin + at_a_time])
        if i % 3 == 0:
            made.crash()
    # 30 % of the minutes from the 60th on: of the last 60 minutes, 14.4 % with the 89th; of the last five, 0.8 of that until the 124th
    told = [(page.action, (page.at - START) // MINUTE_MS) for page in receiver.pages]
    assert told == [("trigger", 89), ("resolve", 124)]
    used = 1_800 / (200 * 100) / 0.01 * 200 / 43_200  # of 200 minutes of a month's
    assert made.ledger.objectives.states()[0].left == pytest.approx(1 - used, abs=1e-6)


def test_a_slice_is_counted_with_its_offset_or_not_at_all(
    house: Make, receiver: KeepingReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = house(receiver, promises=promises())
    write(made, burnt(until=70))
    with monkeypatch.context() as patched:
        patched.setattr(made.ledger, "set_next_offset", _fails)
        with pytest.raises(RuntimeError):
            made.worker.step(0.0)
    assert not made.ledger.objectives.size()
    made.crash()
    made.worker.step(0.0)
    assert made.ledger.objectives.counts(objective().indicator.key).over(MONTH).total == 7_000


def _fails(*_: Any) -> None:
    raise RuntimeError("killed here")


def test_old_measures_are_counted_and_page_nobody(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    made.clock.time += 3 * 86_400
    step(made, *burnt())
    assert not receiver.pages
    assert made.ledger.incidents.all_open()


def test_a_nearly_spent_budget_makes_warnings_critical(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises(objective(target=0.9999)))
    step(made, *burnt(first=30, until=100, invalid=10))
    state = made.ledger.objectives.states(MODEL)[0]
    assert state.nearly_spent, state
    made.publish(make_alert("dep_delay", at=30 * 60, onset_at=int(NOW * 1000) + 29 * HOUR_MS))
    made.clock.time += 30 * 3600
    made.worker.step(0.0)
    page = receiver.pages[-1]
    assert page.alerts[0]["feature"] == "dep_delay"
    assert page.incident["severity"] == "critical"
    assert any("warnings count as critical" in told for told in page.incident["explanation"])
    made.publish(make_alert("dep_delay", at=30 * 60, onset_at=int(NOW * 1000) + 29 * HOUR_MS, model="other"))
    made.worker.step(0.0)
    assert receiver.pages[-1].incident["severity"] == "warning"


def test_measures_that_stop_make_a_freshness_objective_burn_by_the_clock(
    house: Make, receiver: KeepingReceiver
) -> None:
    made = house(receiver, promises=promises(objective("fresh", 0.99, FRESHNESS, 300.0)))
    step(made, *[measured(m) for m in range(180)])
    assert not receiver.pages
    for _ in range(25):
        made.wait(60)
    assert [page.action for page in receiver.pages] == ["trigger"]
    assert receiver.pages[0].alerts[0]["feature"] == "slo.fresh"
    write(made, [measured(205 + m) for m in range(60)])
    made.wait(3_600)
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"]


def test_what_fires_for_an_objective_that_is_gone_is_ended(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    step(made, *burnt())
    made.promises = promises(objective("another"))
    made.crash()
    made.worker.step(0.0)
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"]
    assert [state.objective for state in made.ledger.objectives.states()] == []


def test_a_minute_that_is_years_off_moves_no_window(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    slices = burnt(until=62)
    wrong = Slice(MODEL, "events", ("e", 0, -1), ("e", 0, -1), (Minute(START * 2, {"events": 1}),))
    write(made, slices[:61])
    made.broker.append(TOPIC, wrong.to_cloudevent(), timestamp_ms=slices[60].latest)
    step(made, *slices[61:], *burnt(until=120)[62:])
    assert len(receiver.pages) == 1


def test_what_is_no_measures_is_put_aside_in_a_sentence(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    for value in (b"", b"nonsense", b"{}", b'{"type":"io.streamdrift.measures.v1","data":{"model":1}}'):
        made.broker.append(TOPIC, value)
    step(made, *burnt())
    assert made.count("rejected_total", reason="not_measures") == 2
    assert len(receiver.pages) == 1


def test_gauges_tell_how_the_budget_stands(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    step(made, *burnt())
    assert made.count("slo_burn_rate", objective="valid") > 14
    assert 0.9 < made.count("slo_budget_left", objective="valid") < 1


def test_pages_keep_to_the_webhook_s_schema(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    step(made, *burnt())
    step(made, *[measured(m) for m in range(120, 180)])
    told = schema("alert")
    data = Draft202012Validator(told["$defs"]["data"] | {"$defs": told["$defs"]})
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"]
    for page in receiver.pages:
        validator("incident-webhook").validate(orjson.loads(webhook.encode(page)))
        for listed in page.alerts:
            data.validate(listed)


def test_whoever_was_not_told_of_the_beginning_is_told_while_it_goes_on(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    made.clock.time += 23 * 3_600  # it began more than a day ago; the last of it did not
    step(made, *burnt(until=90))
    assert made.ledger.incidents.all_open()
    assert not receiver.pages
    step(made, *[measured(m, invalid=30) for m in range(90, 260)])
    assert [page.action for page in receiver.pages] == ["trigger"]
    step(made, *[measured(m, invalid=40) for m in range(260, 400)])
    assert len(receiver.pages) == 1  # nor is anybody told again as its window fills up


def test_without_any_objective_what_fires_is_ended(house: Make, receiver: KeepingReceiver) -> None:
    made = house(receiver, promises=promises())
    step(made, *burnt())
    made.promises = Promises(TOPIC, ())
    made.crash()
    made.worker.step(0.0)
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"]
    assert not made.ledger.objectives.size()
