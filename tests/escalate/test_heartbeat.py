"""A pipeline that is silent is an incident, and one that works again ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata
from pydantic import ValidationError

from streamdrift.errors import Retriable
from streamdrift.escalate.heartbeat import Heart, Observation
from streamdrift.settings import EscalateSettings, KafkaSettings, Settings, TopicSettings
from streamdrift.transports.kafka import KafkaPulse
from tests.escalate.conftest import House, KeepingReceiver
from tests.test_services import environment as environment  # noqa: PLC0414 - a fixture
from tests.test_services import publish, run

SILENT = Settings.model_validate({"escalate": {"heartbeat_s": 600}})


@dataclass
class ScriptedPulse:
    """Says what it is set to."""

    written: int = 100
    read: int = 100
    away: bool = False
    looks: int = 0
    others: list[Observation] = field(default_factory=list)

    def look(self) -> Sequence[Observation]:
        self.looks += 1
        if self.away:
            raise Retriable("no broker")
        return [Observation("detect", self.written, self.read), *self.others]

    def close(self) -> None:
        pass


def see(heart: Heart, now: float, written: int, read: int) -> list[str]:
    return list(heart.beat([Observation("detect", written, read)], now))


def test_what_comes_and_is_not_committed_is_silence() -> None:
    heart = Heart(600)
    assert see(heart, 0, 100, 100) == []
    assert see(heart, 10, 105, 100) == []
    assert see(heart, 609, 110, 100) == []
    assert heart.beat([Observation("detect", 111, 100)], 610) == {"detect": 600}
    assert see(heart, 700, 111, 101) == []
    assert heart.moved == {"detect"}
    assert see(heart, 9_999, 111, 101) == [], "nothing came since"


def test_nothing_comes_or_the_last_mark_is_never_committed_is_no_silence() -> None:
    heart = Heart(600)
    for now in range(0, 9_000, 100):
        assert see(heart, now, 101, 100) == []
    for now in range(9_000, 20_000, 100):  # it works: both move
        assert see(heart, now, 101 + now, 100 + now) == []


def test_it_is_paged_once_and_ended_by_the_next_commit_also_after_a_restart(
    receiver: KeepingReceiver, house: Callable[..., House]
) -> None:
    pulse = ScriptedPulse()
    here = house(receiver, settings=SILENT, pulse=pulse)
    here.step()
    pulse.written = 200
    for _ in range(10):
        here.wait(150)
    (page,) = receiver.pages
    assert page.headline.startswith(
        "pipeline of streamdrift: pipeline_silent on traffic.heartbeat in stage=detect (100 % of traffic) since "
    )
    assert "; 10 min without a commit, though records came; " in page.headline
    assert page.incident["severity"] == "critical"
    here.crash()
    here.wait(150)
    pulse.read = 150
    here.wait(150)
    here.wait(150)
    assert [page.action for page in receiver.pages] == ["trigger", "resolve"]
    (incident,) = here.ledger.incidents.all()
    kinds = [entry.kind for entry in here.ledger.timeline.entries(incident.incident_id)]
    assert kinds == ["detected", "paged", "delivered", "recovered", "resolved", "delivered"]


def test_a_broker_that_is_away_is_no_evidence_and_said_once(
    receiver: KeepingReceiver, house: Callable[..., House], capsys: pytest.CaptureFixture[str]
) -> None:
    pulse = ScriptedPulse(away=True)
    here = house(receiver, settings=SILENT, pulse=pulse)
    for _ in range(20):
        here.wait(150)
    assert (pulse.looks, receiver.pages) == (20, [])
    assert capsys.readouterr().out.count("the heartbeat of detection can't be looked at") == 1
    here.wait(1)
    assert pulse.looks == 20, "four looks within heartbeat_s"


def test_shorter_than_a_restart_is_refused() -> None:
    with pytest.raises(ValidationError, match="is shorter than a restart takes; give 60 or more"):
        EscalateSettings(heartbeat_s=59)


@pytest.mark.broker
def test_the_broker_says_what_was_written_and_committed(
    kafka_settings: KafkaSettings, environment: dict[str, str]
) -> None:
    topics = {name: environment[f"STREAMDRIFT_TOPICS__{name.upper()}"] for name in ("events", "blocks")}
    assert run(["topics", "create"], environment).returncode == 0
    group = environment["STREAMDRIFT_KAFKA__GROUP"]
    kafka = kafka_settings.model_copy(update={"group": group})
    tree = Settings(kafka=kafka, topics=TopicSettings(**topics), exchange="direct")
    publish(kafka_settings, topics["events"], [b"{}"] * 7)
    pulse = KafkaPulse(tree)
    assert list(pulse.look()) == [Observation("detect", 7, 0)]
    consumer = KafkaConsumer(
        bootstrap_servers=kafka_settings.bootstrap_servers,
        group_id=f"{group}-detect",
        enable_auto_commit=False,
    )
    place = TopicPartition(topics["events"], 0)
    consumer.assign([place])
    consumer.commit({place: OffsetAndMetadata(5, "", -1)})
    consumer.close()
    publish(kafka_settings, topics["events"], [b"{}"])
    assert list(pulse.look()) == [Observation("detect", 8, 5)]
    pulse.close()
