"""A receiver that is away for hours, and alerts that are read again from the first: what each dedup key was told, counted there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from streamdrift.escalate.receivers import Outcome, RetryAt
from streamdrift.escalate.receivers.base import Page
from streamdrift.escalate.worker import EscalationWorker
from streamdrift.transports.memory import MemorySource
from tests.escalate.conftest import NOW, TOPIC, House, Joined, KeepingReceiver, make_alert, opened

HOUR = 3_600.0
Make = Callable[..., House]


class Away(KeepingReceiver):
    """Answers nobody until a time; counts what it is told from then on."""

    until = NOW + 6 * HOUR

    def send(self, page: Page, now: float) -> Outcome:
        return RetryAt(reason="HTTP 503") if now < self.until else super().send(page, now)


def counts(receiver: KeepingReceiver) -> Counter[tuple[str, str]]:
    return Counter(receiver.told)


def lived(here: House, seconds: float, step: float = 60.0) -> None:
    for _ in range(round(seconds / step)):
        here.wait(step)


def test_a_receiver_that_is_away_for_six_hours_is_told_once_of_all_that_goes_on(house: Make) -> None:
    away, there = Away("away"), KeepingReceiver("there")
    here = house(away, there)
    alerts = [make_alert(f"f{i}", model=f"m{i}") for i in range(5)]
    here.step(*alerts)
    lived(here, HOUR)
    here.step(make_alert(closes=alerts[0], at=60))  # it came and went: nobody there needs to know
    here.crash()
    lived(here, 5.2 * HOUR)
    keys = {page.dedup_key for page in there.pages}
    assert len(keys) == 5
    assert counts(there) == Counter([*(("trigger", key) for key in keys), ("resolve", there.pages[-1].dedup_key)])
    assert counts(away) == Counter(("trigger", key) for key in keys - {there.pages[-1].dedup_key})
    here.step(*(make_alert(closes=alert, at=400) for alert in alerts[1:]))
    lived(here, HOUR)
    assert set(counts(away).values()) == set(counts(there).values()) == {1}
    assert here.ledger.outbox.dead() == []


def anew(here: House, path: Path | str | None = None) -> None:
    """Another worker that has no offsets and reads from the first; with another ledger where a path is given."""
    here.worker.close()
    here.ledger = opened(here.path if path is None else path)
    source = Joined([MemorySource(here.broker, TOPIC, f"group-{here.clock.time}")])
    here.worker = EscalationWorker(source, here.ledger, here.receivers, here.settings, here.clock, here.metrics)


def test_alerts_that_are_read_again_from_the_first_page_nobody_twice(house: Make, receiver: KeepingReceiver) -> None:
    here = house(receiver)
    alerts = [make_alert(f"f{i}", model=f"m{i}") for i in range(4)]
    here.step(*alerts)
    here.step(make_alert(closes=alerts[0], at=5))
    told = counts(receiver)
    for _ in range(3):
        anew(here)
        lived(here, 300)
    assert counts(receiver) == told
    assert set(told.values()) == {1}
    assert len(told) == 5


def test_an_empty_ledger_calls_nobody_for_last_week(tmp_path: Path, receiver: KeepingReceiver) -> None:
    here = House(tmp_path / "one.sqlite3", (receiver,))
    here.step(*(make_alert(f"f{i}", model=f"m{i}") for i in range(4)))
    assert len(receiver.pages) == 4
    here.clock.time += 8 * 86_400
    anew(here, tmp_path / "two.sqlite3")
    lived(here, 600)
    assert len(receiver.pages) == 4
    assert len(here.ledger.incidents.all()) == 4
    here.worker.close()


@pytest.mark.parametrize("killed", [False, True])
def test_two_workers_tell_it_once(tmp_path: Path, receiver: KeepingReceiver, killed: bool) -> None:
    """The second takes over what the first had read: by the ledger, not by the group's offsets."""
    here = House(tmp_path / "ledger.sqlite3", (receiver,))
    alert = make_alert()
    here.publish(alert)
    if killed:
        here.worker._take(here.worker._source.poll(100, 0.0))  # read and written; nothing sent
    else:
        here.worker.step(0.0)
    anew(here)
    lived(here, 300)
    assert counts(receiver) == Counter([("trigger", receiver.pages[0].dedup_key)])
    here.worker.close()
