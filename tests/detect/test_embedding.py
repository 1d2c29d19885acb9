"""Embeddings from events to alerts: what moves is found, what doesn't is quiet, and no cut changes a bit."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdrift.alerts import Alert
from streamdrift.blocks import vectors
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.column import ABSENT, NUMBER, Floats
from streamdrift.blocks.vectors import UNIT
from streamdrift.detect.bank import Bank
from streamdrift.detect.embedding import CLUSTERS, DECIDING, LEARN_MAX, Embedding, k_means, nearest
from streamdrift.ports import Partition, Record
from streamdrift.settings import Settings
from tests.detect.test_bank import SMALL, START, delivered_twice, detect, records

MIDDLE = Settings.model_validate({"reference": {"events": 1_000}})
N, ONSET = 5_000, 3_500


def events(x: Floats | Sequence[Any], name: str = "photo") -> list[dict[str, Any]]:
    rows = x.tolist() if isinstance(x, np.ndarray) else x
    return [
        {"model": "m", "occurred_at": START + i * 1_000, "segments": {"d": "ab"[i % 7 > 3]}, "embeddings": {name: row}}
        for i, row in enumerate(rows)
    ]


def told(alerts: Sequence[Alert]) -> set[tuple[str, str]]:
    return {(a.series_id, a.reason) for a in alerts if a.status == "firing"}


def stationary(kind: str, n: int, rng: np.random.Generator) -> Floats:
    """Isotropic, mostly one direction and never negative, clusters on a sphere, heavy tails of the norm."""
    x: Floats
    match kind:
        case "gaussian":
            x = rng.standard_normal((n, 24))
        case "relu":
            x = np.maximum(rng.standard_normal((n, 48)) + rng.standard_normal(48), 0.0)
        case "clusters":
            x = clustered(rng.choice(6, n, p=rng.dirichlet(np.full(6, 3.0))), rng)
            x /= np.linalg.norm(x, axis=1)[:, None]
        case _:
            x = rng.standard_t(3, (n, 8)) * rng.lognormal(0, 0.7, (n, 1))
    return x


def clustered(which: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator) -> Floats:
    centres = 2 * rng.standard_normal((8, 32))
    return centres[which] + rng.standard_normal((len(which), 32))


@pytest.mark.parametrize("kind", ["gaussian", "relu", "clusters", "heavy"])
def test_nothing_is_told_of_embeddings_that_do_not_move(kind: str) -> None:
    # 8 × 3 groups × 7 series × some 2,000 watched events, half of them in the segments: the target of .01 per 10,000 gives 0.2
    seeds = range(8)
    alerts = [
        detect(records(events(stationary(kind, N, np.random.default_rng([s, len(kind)])))), tree=MIDDLE) for s in seeds
    ]
    assert sum(len(told(of_seed)) for of_seed in alerts) <= 1


@pytest.mark.parametrize(("shift", "median_max"), [(0.25, 600), (0.5, 200), (1.0, 64)])
def test_a_mean_that_moves_is_found(shift: float, median_max: int) -> None:
    delays = []
    for seed in range(5):
        rng = np.random.default_rng([seed, 1])
        x = stationary("gaussian", N, rng)
        direction = rng.standard_normal(24)
        x[ONSET:] += shift * np.sqrt(24) * direction / np.linalg.norm(direction)
        alerts = [a for a in detect(records(events(x)), tree=MIDDLE) if a.status == "firing" and not a.segment]
        assert {a.reason for a in alerts} <= {"embedding_shift"}
        assert {a.role for a in alerts} <= {"embedding"}
        after = [(a.detected_at - START) // 1_000 - ONSET for a in alerts]
        delays.append(min((d for d in after if d >= 0), default=N))
    assert np.median(delays) <= median_max


def test_clusters_that_change_their_shares_are_found_and_named() -> None:
    before, after = [0.35, 0.25, 0.2, 0.15, 0.05], [0.2, 0.25, 0.2, 0.15, 0.2]
    found = 0
    for seed in range(5):
        rng = np.random.default_rng([seed, 2])
        which = np.concatenate([rng.choice(5, ONSET, p=before), rng.choice(5, N - ONSET, p=after)])
        alerts = detect(records(events(clustered(which, rng))), tree=MIDDLE)
        shares = [a for a in alerts if a.series_id == "m//embedding.photo.cluster" and a.status == "firing"]
        found += bool(shares)
        for alert in shares:
            assert (alert.reason, alert.effect_unit) == ("embedding_shift", "share")
            assert alert.detected_at >= START + ONSET * 1_000
            assert sum(alert.reference["categories"].values()) == pytest.approx(1, abs=0.01)
    assert found == 5


def test_a_norm_that_doubles_moves_no_direction() -> None:
    x = stationary("gaussian", N, np.random.default_rng(3))
    x[ONSET:] *= 2
    assert told(detect(records(events(x)), tree=MIDDLE)) == {
        (f"m/{segment}/embedding.photo.norm", "embedding_shift") for segment in ("", "d=a", "d=b")
    }


def mixed(n: int = 1_500) -> list[dict[str, Any]]:
    """Two embeddings; one is sometimes absent, null, wrong; from two thirds on it moves, and the other changes its length."""
    rng = np.random.default_rng(5)
    made = []
    for i in range(n):
        late = i >= 2 * n // 3
        embeddings: dict[str, Any] = {"text": rng.standard_normal(5 if late else 20).tolist()}
        if i % 11:
            embeddings["photo"] = (rng.standard_normal(6) + (2 if late else 0)).tolist()
        if i % 97 == 5:
            embeddings["photo"] = [None, "x", [], [0.0] * 6, [1.0] * 7, {}][i // 97 % 6]
        made.append(
            {
                "model": "m",
                "occurred_at": START + i * 1_000,
                "segments": {"d": "ab"[int(rng.integers(2))]},
                "embeddings": embeddings,
            }
        )
    return made


ALERTS = {way: [a.to_cloudevent() for a in detect(records(mixed()), exchange=way)] for way in (False, True)}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 1_500), max_size=12).map(sorted))
def test_where_batches_end_changes_not_one_bit(cuts: list[int]) -> None:
    assert len(ALERTS[False]) > 10
    assert [a.to_cloudevent() for a in detect(records(mixed()), cuts)] == ALERTS[False]


def test_one_by_one_gives_the_same_bits() -> None:
    assert [a.to_cloudevent() for a in detect(records(mixed()), range(1, 1_500))] == ALERTS[False]


def test_the_exchange_gives_the_alerts_of_memory() -> None:
    assert sorted(ALERTS[True]) == sorted(ALERTS[False])


def test_blocks_delivered_twice_count_once() -> None:
    alerts, _ = delivered_twice(records(mixed()))
    assert [a.to_cloudevent() for a in alerts] == ALERTS[False]


def test_another_dimension_is_an_invalid_value_told_once() -> None:
    found = told(detect(records(mixed())))
    texts = {(series, reason) for series, reason in found if "embedding.text" in series}
    assert texts == {(f"m/{segment}/embedding.text.norm", "invalid_value") for segment in ("", "d=a", "d=b")}


def test_each_fault_is_counted_once_and_vectors_go_on_behind_it() -> None:
    rng = np.random.default_rng(6)
    x: list[Any] = rng.standard_normal((1_500, 6)).tolist()
    bad: list[Any] = ["x", {}, [], [1.0], [1.0] * 5_000, [0.0] * 6, [1.0, None], [True] * 6, [1e308] * 6, "inf"]
    for i in range(100):
        x[600 + i] = bad[i % 10]
    for i in range(1_000, 1_500):
        x[i] = [v + 2 for v in x[i]]
    made = [json.dumps(event).replace('"inf"', "[1e999, 0.0]").encode() for event in events(x)]
    assembler, bank = Assembler(SMALL), Bank(SMALL, "config")
    for i, value in enumerate(made):
        assembler.add(Record(value, Partition("e", 0), i, START))
    batch = assembler.take()
    assert not batch.rejected
    batch.blocks[0].dimensions = {}
    alerts = bank.update(batch.blocks)
    assert bank.invalid == {"wrong_type": 60, "out_of_range": 40}
    assert ("m//embedding.photo.norm", "invalid_value") in told(alerts)
    shifted = [a for a in alerts if a.status == "firing" and a.reason == "embedding_shift"]
    assert shifted
    assert all(a.detected_at >= START + 1_000_000 for a in shifted)


def test_embeddings_that_cease_are_told_once() -> None:
    x: list[Any] = np.random.default_rng(7).standard_normal((1_500, 6)).tolist()
    given = events(x)
    for event in given[1_000:]:
        event["features"] = {"x": 1}
        del event["embeddings"]
    assert {s for s, r in told(detect(records(given))) if r == "missing_feature"} == {
        f"m/{segment}/embedding.photo.norm" for segment in ("", "d=a", "d=b")
    }


def test_the_first_vectors_may_be_wrong() -> None:
    x: list[Any] = [[1.0, 2.0], "x", None, *np.random.default_rng(8).standard_normal((1_500, 6)).tolist()]
    bank, assembler = Bank(SMALL, "config"), Assembler(SMALL)
    for record in records(events(x)):
        assembler.add(record)
    assert not told(bank.update(assembler.take().blocks))
    assert not bank.invalid  # what a series learns from is judged by its own kind, and not counted


def test_names_without_end_are_bounded() -> None:
    tree = Settings.model_validate(SMALL.model_dump() | {"series_max": 20})
    assembler, bank = Assembler(tree), Bank(tree, "config")
    for i in range(300):
        event = {"model": "m", "embeddings": {f"e{i}": [1.0, 2.0]}}
        assembler.add(Record(json.dumps(event).encode(), Partition("e", 0), i, START))
    bank.update(assembler.take().blocks)
    assert bank.series == 20
    assert bank.limits_hit["series_max"] > 0


def test_an_override_leaves_measures_out() -> None:
    rules = {
        f"off{j}": {"feature": f"embedding.photo.{m}", "enabled": False} for j, m in enumerate(["norm", "cluster"])
    }
    tree = Settings.model_validate(SMALL.model_dump() | {"overrides": rules})
    found = told(detect(records(mixed()), tree=tree))
    assert any("photo.projection" in series for series, _ in found)
    assert not any(series.endswith(("photo.norm", "photo.cluster")) for series, _ in found)


@pytest.mark.parametrize(("d", "close"), [(8, 0.001), (16, 0.001), (256, 0.4)])
def test_distance_is_that_of_the_direction_to_the_centroid(d: int, close: float) -> None:
    n = DECIDING + LEARN_MAX + 500
    x = np.random.default_rng(11).standard_normal((n, d)) + 1
    state = Embedding("e", 5_000)
    made = vectors.from_values("e", range(n), [array("d", row) for row in x.tolist()])
    column = state.update(made, n)["embedding.e.distance"]
    learnt = DECIDING + LEARN_MAX
    assert column.kind_of_rows().tolist() == [ABSENT] * learnt + [NUMBER] * 500
    u = x / np.linalg.norm(x, axis=1)[:, None]
    exact = np.linalg.norm(u[learnt:] - u[DECIDING:learnt].mean(axis=0), axis=1)
    ratio = column.numbers[learnt:] / exact
    assert np.abs(ratio - 1).max() < (close if d <= 16 else 2 * close)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.1)


def test_k_means_finds_clusters_and_names_the_largest_first() -> None:
    rng = np.random.default_rng(9)
    corners = rng.choice([-1.0, 1.0], (CLUSTERS, 40)) * 3
    which = rng.choice(CLUSTERS, LEARN_MAX, p=np.arange(CLUSTERS, 0, -1) / 36)
    x = corners[which] + 0.3 * rng.standard_normal((LEARN_MAX, 40))
    points = vectors.from_values("e", range(LEARN_MAX), [array("d", row) for row in x.tolist()]).sketch.astype(
        np.float64
    )
    owner = nearest(points, k_means(points))
    pairs = set(zip(which.tolist(), owner.tolist(), strict=True))
    assert len(pairs) == CLUSTERS  # each cluster has one centre, each centre one cluster
    sizes = np.bincount(owner)
    assert (np.diff(sizes) <= 0).all()


def test_k_means_of_one_point_is_that_point() -> None:
    points = np.full((100, 16), 7.0)
    assert k_means(points).tolist() == [[7.0] * 16]


def test_k_means_ends_no_worse_than_it_began_and_takes_the_widest_sketch() -> None:
    points = np.rint(np.random.default_rng(10).uniform(-90, 90, (LEARN_MAX, 16)) * UNIT)
    centres = k_means(points)

    def within(k: Floats) -> float:
        return float(((points - k[nearest(points, k)]) ** 2).sum())

    assert within(centres) < within(points[:CLUSTERS])
    assert (centres == np.rint(centres)).all()
