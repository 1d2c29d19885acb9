"""The figures of tune against replays of their own: the same events, one setting at a time, nothing shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from streamdrift.alerts import Alert
from streamdrift.demo.incidents import events as flights
from streamdrift.detect.bank import Bank
from streamdrift.embedded.history import History, read
from streamdrift.embedded.incidents import IncidentBook
from streamdrift.embedded.run import EmbeddedRun
from streamdrift.embedded.tune import Search
from streamdrift.errors import InputProblem
from streamdrift.escalate.policy import Incident
from streamdrift.settings import Settings, load
from streamdrift.telemetry import Metrics
from streamdrift.transports.files import FileSink, FileSource
from streamdrift.tune import toml
from streamdrift.tune.findings import Findings
from streamdrift.tune.ladder import at
from streamdrift.tune.subset import SubsetBank
from tests.tune.histories import EVENTS, EVERY, SMALL, TREE, shop, written


def history(path: str, model: str | None = None) -> History:
    return History(path, lambda: FileSource((path,)), None, model)


def replayed(path: str, tree: Settings, model: str | None = None) -> tuple[list[Alert], int, int]:
    """Alerts that opened, pages and incidents by `replay`'s own parts."""
    told: list[Alert] = []
    pages: Counter[str] = Counter()

    def page(action: str, _incident: Incident, _at: int) -> None:
        pages[action] += action in {"open", "grow"}

    book = IncidentBook(tree, page)

    def take(alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            if model in {None, alert.model_name}:
                told.append(alert)
                book.take(alert, None)

    run = EmbeddedRun(tree, "", Metrics(), FileSink({}), take)
    run.run(FileSource((path,)))
    run.finish()
    opened = [alert for alert in told if alert.status == "firing" and alert.updates is None]
    return opened, sum(pages.values()), len(book.paged)


def searched(path: str, tree: Settings = TREE, model: str | None = None) -> list[Findings]:
    search = Search(history(path, model), tree)
    try:
        return search.run()
    finally:
        search.close()


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("history") / "shop.ndjson", shop())


@pytest.fixture(scope="module")
def found(shops: str) -> Findings:
    (one,) = searched(shops)
    return one


def test_every_rung_says_what_a_replay_with_its_threshold_says(shops: str, found: Findings) -> None:
    assert [rung.threshold for rung in found.frontier[:6]] == [16, 18, 20, 24, 32, 48]
    for rung in found.frontier[:6]:
        alerts, pages, incidents = replayed(shops, at(TREE, rung.threshold))
        assert (rung.alerts, rung.pages, rung.incidents) == (len(alerts), pages, incidents), rung.threshold
    assert len({rung.pages for rung in found.frontier}) > 2, "the history tells thresholds apart"


def test_counts_by_detector_and_segment_are_the_alerts_own(shops: str, found: Findings) -> None:
    alerts, pages, _ = replayed(shops, TREE)
    by_detector = Counter(name for alert in alerts for name in alert.detectors)
    assert {row.name: row.alerts for row in found.detectors if row.alerts} == by_detector
    by_segment = Counter("".join(f"{k}={v}" for k, v in alert.segment.items()) for alert in alerts)
    assert {row.name: row.alerts for row in found.segments if row.alerts} == by_segment
    assert sum(row.pages for row in found.segments) == pages
    assert found.reasons == Counter(alert.reason for alert in alerts)


def test_raw_flags_are_those_of_the_detectors_alone(shops: str, found: Findings) -> None:
    raw = Settings.model_validate({**SMALL, "policy": {"confirm": "off"}})
    alerts, _, _ = replayed(shops, raw)
    by_detector = Counter(alert.detector for alert in alerts if alert.kind == "drift")
    assert {row.name: row.flags for row in found.detectors if row.name != "scan"} == {
        name: by_detector.get(name, 0) for name in ("adwin", "page_hinkley", "ks")
    }


def test_weeks_and_series_are_those_past_learning(found: Findings) -> None:
    # 200 values per series: all traffic is watched from event 200 on, the countries from 400
    assert found.weeks == pytest.approx((EVENTS - 200) / 1_008, abs=0.01)
    assert (found.series, found.learning, found.events) == (15, 0, EVENTS)
    assert found.frontier[0].pages_per_week == pytest.approx(found.frontier[0].pages / found.weeks, abs=0.001)


def test_the_restless_series_gets_a_rule_and_a_replay_with_the_file_keeps_the_budget(
    shops: str, found: Findings, tmp_path: Path
) -> None:
    assert not found.frontier[0].meets
    (rule,) = found.choice.rules
    assert rule.series_id == "shop/country=DE/price"
    assert found.noisy[0] == rule
    path = tmp_path / "tuned.toml"
    changes = toml.chosen({found.model: found.choice})
    path.write_text(toml.document(SMALL, TREE, changes, ["head"]), encoding="utf-8")
    tuned = load({"STREAMDRIFT_CONFIG": str(path)}, root=tmp_path).settings
    assert tuned == toml.applied(TREE, changes)
    alerts, pages, incidents = replayed(shops, tuned)
    last = found.frontier[-1]
    assert (last.rules, last.alerts, last.pages, last.incidents) == (1, len(alerts), pages, incidents)
    assert last.meets
    assert pages / found.weeks <= TREE.policy.false_pages_per_model_week


def test_a_budget_that_is_kept_changes_nothing(shops: str) -> None:
    tree = Settings.model_validate({**SMALL, "policy": {**SMALL["policy"], "false_pages_per_model_week": 5.0}})
    (one,) = searched(shops, tree)
    assert one.choice.meets
    assert not one.choice.changes
    assert toml.chosen({one.model: one.choice}) == {}


def test_where_many_series_page_all_are_asked_for_more(tmp_path: Path) -> None:
    """Two of six series are restless: more than may have rules of their own, fewer than would stay."""
    events = shop()
    for event, other in zip(events, shop(seed=9, phase=EVERY // 2), strict=True):
        event["features"] = {"a": event["features"]["price"], "b": other["features"]["price"]}
    path = written(tmp_path / "shop.ndjson", events)
    strict = {**SMALL["policy"], "false_pages_per_model_week": 0.3}
    (one,) = searched(path, Settings.model_validate({**SMALL, "policy": strict}))
    assert one.series == 6
    assert not one.frontier[0].meets
    assert one.choice.changes
    assert one.choice.rules == ()
    chosen = next(rung for rung in one.frontier if rung.threshold == one.choice.threshold)
    assert chosen.meets
    assert not [rung for rung in one.frontier if rung.meets and rung.threshold < chosen.threshold]
    assert toml.chosen({"shop": one.choice}) == {"policy": {"threshold": one.choice.threshold}}
    two = toml.chosen({"shop": one.choice, "other": one.choice})
    rules = [rule["model"] for rule in two["overrides"].values()]
    assert sorted(rules) == ["other", "shop"]
    assert "policy" not in two


def test_one_model_alone_is_as_it_is_among_others(tmp_path: Path) -> None:
    quiet = shop(seed=21, model="quiet", restless=0.0)
    both = [event for pair in zip(shop(), quiet, strict=True) for event in pair]
    path = written(tmp_path / "both.ndjson", both)
    all_models = searched(path)
    assert [one.model for one in all_models] == ["quiet", "shop"]
    assert [one.choice.changes for one in all_models] == [False, True]
    (alone,) = searched(path, model="shop")
    assert alone.frontier == all_models[1].frontier
    alerts, pages, _ = replayed(path, TREE, "shop")
    assert (alone.frontier[0].alerts, alone.frontier[0].pages) == (len(alerts), pages)


def test_without_confirmation_there_is_one_rung(shops: str) -> None:
    (one,) = searched(shops, Settings.model_validate({**SMALL, "policy": {"confirm": "off"}}))
    assert len(one.frontier) == 1
    assert one.frontier[0].alerts == len(
        replayed(shops, Settings.model_validate({**SMALL, "policy": {"confirm": "off"}}))[0]
    )


def test_delayed_labels_are_let_in_as_replay_does(tmp_path: Path) -> None:
    """The model's error grows for good in the third week: a series of its own, from labels alone."""
    events = shop(restless=0.0)
    rng = np.random.default_rng(3)
    labels = []
    for i, event in enumerate(events):
        event["prediction"] = {"score": 0.5}
        error = float(rng.normal(0, 1)) + (3.0 if i > 2_000 else 0.0)
        label = {"prediction_id": event["prediction_id"], "model": "shop", "value": 0.5 + error}
        labels.append({**label, "observed_at": event["occurred_at"] + 60_000})
    path, labels_path = written(tmp_path / "e.ndjson", events), written(tmp_path / "l.ndjson", labels)
    search = Search(History(path, lambda: FileSource((path,)), labels_path), TREE)
    (one,) = search.run()
    search.close()
    assert one.reasons["performance_drop"] == 6  # error and loss, in all traffic and in each country
    assert one.series == 3 * 8
    assert {"shop//performance.error"} <= {noise.series_id for noise in one.noisy} | {
        found.series_id for found in one.sensitivities
    }
    (without,) = searched(path)
    assert without.series == 3 * 6


def test_a_subset_takes_the_places_that_all_would_take(shops: str) -> None:
    tree = Settings.model_validate({**SMALL, "series_max": 12})
    whole, part = Bank(tree, ""), SubsetBank(tree, "", {"shop/country=DE/price"}, {"price"})
    read(history(shops), tree, [whole, part], lambda _n, _batch, _alerts: None)
    assert whole.series == part.series == 12
    assert whole.limits_hit == part.limits_hit
    assert {(g.name, feature) for g, feature, _ in part.watched()} == {("", "price"), ("country=DE", "price")}


def test_banks_share_the_blocks_and_leave_them_alone(shops: str) -> None:
    heard: list[list[str]] = [[], []]
    banks = [Bank(TREE, ""), Bank(TREE, "")]
    read(history(shops), TREE, banks, lambda n, _batch, alerts: heard[n].extend(a.alert_id for a in alerts))
    assert heard[0] == heard[1]
    assert heard[0]


@pytest.mark.parametrize(
    ("lines", "model", "words"),
    [
        ("", None, "has no event that can be read"),
        ("nothing\n", None, "(not_json 1)"),
        ('{"model": "m", "features": {"x": 1}}\n', "other", "none of model 'other'"),
        ('{"model": "m", "features": {"x": 1}}\n', None, "too short: no series has the 200 values"),
    ],
)
def test_a_history_that_tells_nothing_is_refused_in_a_sentence(
    tmp_path: Path, lines: str, model: str | None, words: str
) -> None:
    path = tmp_path / "history.ndjson"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(InputProblem) as e:
        searched(str(path), model=model)
    assert words in str(e.value)


@pytest.mark.slow
def test_the_recorded_flights_are_counted_as_a_replay_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "flights.ndjson"
    path.write_bytes(b"\n".join(flights()) + b"\n")
    (one,) = searched(str(path), Settings())
    for rung in one.frontier[:1] + one.frontier[3:4]:
        alerts, pages, incidents = replayed(str(path), at(Settings(), rung.threshold))
        assert (rung.alerts, rung.pages, rung.incidents) == (len(alerts), pages, incidents), rung.threshold


def test_a_recorded_baseline_is_learned_from_by_every_reading(tmp_path: Path) -> None:
    """A history that is too short by itself is watched from its first event on, and told as replay tells it."""
    whole = shop()
    before, path = written(tmp_path / "before.ndjson", whole[:1_200]), written(tmp_path / "e.ndjson", whole[1_200:])
    tree = TREE.model_copy(update={"reference": TREE.reference.model_copy(update={"baseline": Path(before)})})
    search = Search(history(path), tree)
    (one,) = search.run()
    search.close()
    alerts, pages, _ = replayed(path, tree)
    assert alerts
    assert one.weeks == pytest.approx((one.last - one.first) / (7 * 86_400_000), rel=1e-3)
    assert (one.frontier[0].alerts, one.frontier[0].pages) == (len(alerts), pages)
