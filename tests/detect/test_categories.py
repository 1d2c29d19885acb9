"""Categories without an order of their own: many of them, rare ones, and those that are not told apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from streamdrift.alerts import Alert
from streamdrift.blocks.column import TEXT
from streamdrift.detect import baseline
from streamdrift.settings import Settings
from tests.detect.test_bank import START, detect, records

TREE = Settings.model_validate({"reference": {"events": 1_000}, "categories_max": 200})
Draw = Callable[[np.random.Generator, int], list[str]]


def alerts_of(texts: list[str]) -> list[Alert]:
    events = [{"model": "m", "occurred_at": START + i * 1_000, "features": {"c": t}} for i, t in enumerate(texts)]
    return [a for a in detect(records(events), tree=TREE) if a.status == "firing"]


def numbered(of: Callable[[np.random.Generator, int], object]) -> Draw:
    return lambda rng, n: [f"c{i}" for i in np.asarray(of(rng, n)).tolist()]


@pytest.mark.parametrize(
    "draw",
    [
        numbered(lambda rng, n: rng.integers(0, 100, n)),
        numbered(lambda rng, n: rng.zipf(1.3, n)),
        numbered(lambda rng, n: rng.integers(0, 350, n)),
        numbered(lambda rng, n: rng.integers(0, 5_000, n)),
        lambda _, n: [f"c{i}" for i in range(n)],
        lambda rng, n: ["other" if i > 250 else f"c{i}" for i in rng.integers(0, 300, n).tolist()],
    ],
    ids=["a hundred alike", "a long tail", "more than are told apart", "many more", "ids", "one is named other"],
)
def test_many_categories_that_do_not_change_are_no_news(draw: Draw) -> None:
    # In an order by share, or with a rank of its own for each rare one, every series of these told a change
    assert not [a.reason for seed in range(8) for a in alerts_of(draw(np.random.default_rng(seed), 6_000))]


@pytest.mark.parametrize("which", ["c3", "c77", "new"])
def test_a_category_of_many_that_grows_is_told_with_its_size(which: str) -> None:
    rng = np.random.default_rng(1)
    texts = [f"c{i}" for i in rng.integers(0, 80, 6_000).tolist()]
    texts[3_000:] = [which if u < 0.3 else t for t, u in zip(texts[3_000:], rng.random(3_000).tolist(), strict=True)]
    first = next(a for a in alerts_of(texts) if a.reason == "category_shift")
    assert first.events_seen > 3_000
    assert first.effect_size == pytest.approx(0.3, abs=0.12)


def test_the_size_of_a_shift_is_not_what_chance_makes_of_many_categories() -> None:
    rng = np.random.default_rng(2)
    for n in (32, 200, 512):
        reference, values = baseline.build(
            TEXT, rng.integers(0, 80, 2_000).astype(float), [f"c{i}" for i in range(80)], 0
        )
        from streamdrift.detect.explain import _total_variation

        sizes = [_total_variation(reference, rng.choice(values, n)) for _ in range(20)]
        assert np.mean(sizes) < 0.1


def test_rare_categories_are_counted_as_those_who_have_not_seen_them_would() -> None:
    """The share of the rare ones in what comes is the one in the reference, to within two standard errors of 40 references."""
    off = []
    for seed in range(40):
        codes = np.minimum(np.random.default_rng(seed).zipf(1.5, 4_000), 20_000) - 1
        texts = [f"c{i}" for i in range(20_000)]
        reference, values = baseline.build(TEXT, codes[:2_000].astype(float), texts, 0.0)
        now = reference.places(tuple(texts[i] for i in codes[2_000:].tolist()))
        tail = reference.pooled(np.array([np.inf]))[0]
        off.append(np.mean(reference.held_out(values) == tail) - np.mean(reference.pooled(now) == tail))
    assert abs(np.mean(off)) < 2 * np.std(off) / np.sqrt(len(off))
    assert np.std(off) < 0.03


def test_an_alert_shows_the_most_common_categories_and_the_rest_as_other() -> None:
    rng = np.random.default_rng(3)
    texts = ["other", "z", *(f"c{i:02d}" for i in range(30))]
    reference, values = baseline.build(TEXT, np.repeat([0.0, 1.0, *range(2, 32)], [30, 40, *[1] * 30]), texts, 0.0)
    told = reference.describe(rng.permutation(values))["categories"]
    assert list(told)[:2] == ["z", "other"]
    assert told["z"] == pytest.approx(0.4)
    assert sum(told.values()) == pytest.approx(1)


def test_texts_that_are_not_told_apart_do_not_freeze() -> None:
    texts = [f"c{i % 150}" for i in range(2_000)] + [f"new{i}" for i in range(2_000)]
    assert "frozen_value" not in {a.reason for a in alerts_of(texts)}
