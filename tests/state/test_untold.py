"""What is told without a record that could be read again, or by an order that will be given again, is told once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from streamdrift.detect.rebaseline import Order
from streamdrift.events.change import REBASELINE
from streamdrift.orders import Orders
from streamdrift.pipeline import Direct
from streamdrift.telemetry import Metrics
from tests.state import much_traffic
from tests.state.much_traffic import Broker, Process

FOUND = much_traffic.events(1_400)
TREE = much_traffic.tree(kafka={"state_flush_s": 1_000.0})
"""Nothing is due by itself."""


def test_silence_that_the_clock_showed_is_put_away_with_its_alert() -> None:
    broker = Broker(much_traffic.log(FOUND))
    process = Process(much_traffic.direct(TREE)(), broker)
    while process.step():
        process.commit()
    kept = {place: dict(found) for place, found in broker.changelog.items()}
    hours = 20 * 3_600_000
    now, waited = FOUND[-1]["occurred_at"] + hours, dict.fromkeys(broker.logs, hours)
    told = process.stage.mark(now, waited).alerts
    assert {alert.reason for alert in told} == {"silence"}
    process.commit()
    assert broker.changelog != kept
    again = Process(much_traffic.direct(TREE)(), broker)
    while again.step():
        pass
    assert not again.stage.mark(now, waited).alerts
    # and had it not been put away, it would have been told twice
    lost = Process(much_traffic.direct(TREE)(), Broker(broker.logs, broker.committed, kept))
    while lost.step():
        pass
    assert [alert.alert_id for alert in lost.stage.mark(now, waited).alerts] == [alert.alert_id for alert in told]


def ordered(broker: Broker, deaths: Sequence[tuple[int, int]]) -> dict[tuple[str, str, str], str]:
    def make() -> Direct:
        orders = Orders()
        for change_id, at in (("first", 700), ("second", 1_100)):  # each process is given all of them
            moment = FOUND[at]["occurred_at"]
            orders.put(Order(change_id, moment, REBASELINE, "a new normal", ("m",), (), {}, None, None))
        return Direct(much_traffic.tree(), "config", Metrics(), orders=orders)

    return much_traffic.hashes(much_traffic.run(make, broker, deaths))  # type: ignore[arg-type]


def test_an_order_that_was_followed_is_not_followed_again() -> None:
    whole = Broker(much_traffic.log(FOUND))
    states = ordered(whole, [])
    followed = {json.loads(value)["data"]["current"].get("rebaseline") for _, value in whole.out}
    assert {"first", "second"} & followed
    for deaths in ([(9, 0)], [(7, 1), (2, 0), (4, 1)], [(12, 0)]):
        broker = Broker(much_traffic.log(FOUND))
        assert ordered(broker, deaths) == states
        assert broker.out == whole.out
    unordered = much_traffic.run(much_traffic.direct(much_traffic.tree()), Broker(much_traffic.log(FOUND)))
    assert states != much_traffic.hashes(unordered)  # type: ignore[arg-type]


def test_what_was_learned_from_recorded_events_is_there_before_and_after(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.ndjson"
    recorded.write_text("".join(json.dumps(event) + "\n" for event in FOUND[:500]))
    settings = much_traffic.tree(reference={"baseline": recorded})
    whole = Broker(much_traffic.log(FOUND[500:]))
    states = much_traffic.hashes(much_traffic.run(much_traffic.direct(settings), whole))  # type: ignore[arg-type]
    assert whole.out
    for deaths in ([(1, 1)], [(4, 1), (2, 0)]):
        broker = Broker(much_traffic.log(FOUND[500:]))
        assert much_traffic.hashes(much_traffic.run(much_traffic.direct(settings), broker, deaths)) == states  # type: ignore[arg-type]
        assert broker.out == whole.out
