"""What of each class of a series is kept when state is put away, and what it is given when it is taken up.

Whoever adds an attribute to one of these classes names it here: under ``keeps`` if what a series says later hangs on it, else under
``leaves``. A test walks the live state and finds those that are not named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, TypeVar

from streamdrift.alerts import Alert
from streamdrift.blocks.fresh import Fresh
from streamdrift.detect.age import Age
from streamdrift.detect.baseline import Reference, Tail
from streamdrift.detect.budget import Budget
from streamdrift.detect.calibration import Calibration, score_table
from streamdrift.detect.clock import ClockProfile
from streamdrift.detect.confirm import Scan
from streamdrift.detect.embedding import Centroids, Embedding
from streamdrift.detect.explain import Change, Identity
from streamdrift.detect.far_out import FarOut
from streamdrift.detect.faults import ShareLane
from streamdrift.detect.frozen import Freeze, Frozen
from streamdrift.detect.given import CALIBRATION, Given, Place
from streamdrift.detect.group import Group
from streamdrift.detect.ks import Ks
from streamdrift.detect.learning import PIECE_ROWS, Learning, Piece
from streamdrift.detect.open_alerts import Excursion, OpenAlerts, _Open
from streamdrift.detect.policy import Lane, Verdict
from streamdrift.detect.rolling import Rolling
from streamdrift.detect.series import Known, Series
from streamdrift.detect.side_by_side import SideBySide, _Told
from streamdrift.detect.standing import Standing
from streamdrift.detect.value_watch import NOTHING, ValueWatch, WatchSettings, _detectors
from streamdrift.detect.versions import Versions, _Version
from streamdrift.ports import Partition
from streamdrift.state.codec import joined
from streamdrift.state.spec import Fields, Spec

T = TypeVar("T")


def made(cls: type[T], attributes: Fields) -> T:
    """Return an object of a class that has these attributes."""
    found = cls.__new__(cls)
    for name, value in attributes.items():
        object.__setattr__(found, name, value)  # a frozen dataclass refuses its own
    return found


def plain(name: str, cls: type, *, is_value: bool = False) -> Spec:
    """A dataclass that is kept as it is."""
    return Spec(name, cls, tuple(one.name for one in fields(cls)), is_value=is_value)


def by_place(attribute: str) -> Callable[[Any], dict[Partition, Any]]:
    """Read what is known by partition, in their order: which one came first doesn't matter."""
    read = attrgetter(attribute)
    return lambda found: dict(sorted(read(found).items()))


_FRESH, _AGES = by_place("_next"), by_place("_of")
_LEARNING = (
    *("_wanted", "_first", "_categories_max", "_target", "_bound", "_texts"),
    *("_begun", "rows", "_present", "_began", "_latest"),
)
_SERIES = (
    *("identity", "seen", "_settings", "_learning", "_first_age", "_first_time", "_missing", "_invalid", "_values"),
    *("_rolling", "_kind", "_early", "_open", "budget", "known"),
)
_WATCH = (
    *("reference", "_settings", "_clock", "_scan", "lane", "_last_flag", "_flagged", "_seen"),
    *("_recent", "_unseen", "_far_out", "_frozen"),
)
_EMBEDDING = ("_features", "_wanted", "_early", "_dimension", "_count", "_centroids")
_kernel = attrgetter("kernel")
VERDICT = tuple(one.name for one in fields(Verdict))
_verdict = attrgetter(*VERDICT)
_GROUP = (
    *("series", "silent_on_faults", "_embeddings", "_age", "_fresh", "_rows", "_first_model_row"),
    *("_last_model_row", "_share", "acted", "tally"),
)
_group = attrgetter(*_GROUP)
_series, _watch = attrgetter(*_SERIES), attrgetter(*_WATCH)
_learning, _embedding = attrgetter(*_LEARNING), attrgetter(*_EMBEDDING)


def _take_verdict(verdict: Verdict) -> tuple[Any, ...]:
    """What an open alert's verdict says later; where it stood in its update is over, and hangs on how rows were cut into blocks."""
    found: tuple[Any, ...] = _verdict(replace(verdict, j=0, end=0))
    return found


def _take_series(series: Series) -> tuple[Any, ...]:
    series.come_home()
    found: tuple[Any, ...] = _series(series)
    return found


def _give_series(series: Series, given: Given) -> None:
    rest = {
        "_invalid_counts": given.invalid,
        "_states": given.states,
        "_asked": given.asked().policy,
        "crowded": None,
        "learned_at": None,
        "_quiet": None,
    }
    for name, value in rest.items():
        setattr(series, name, value)


def _take_watch(watch: ValueWatch) -> tuple[Any, ...]:
    return (*_watch(watch), {detector.name: _kernel(detector).snapshot() for detector in watch.detectors})


def _make_watch(kept: Fields, given: Given) -> ValueWatch:
    del given
    kernels, settings, reference = kept.pop("kernels"), kept["_settings"], kept["reference"]
    ks = Ks(settings.detectors.ks, reference, settings.engine) if settings.detectors.ks.enabled else None
    detectors = _detectors(settings.detectors, settings.engine, ks)
    for detector in detectors:
        _kernel(detector).restore(kernels[detector.name])
    rest = {
        "calibration": kept["_scan"].calibration,
        "_table": score_table(reference.n),
        "judged": NOTHING,
        "_ks": ks,
        "detectors": detectors,
    }
    return made(ValueWatch, kept | rest)


def _make_scan(kept: Fields, given: Given) -> Scan:
    del given
    scan = Scan(kept["calibration"], up=kept["up"], down=kept["down"])
    scan.adopt(kept["told"])
    return scan


def _make_learning(kept: Fields, given: Given) -> Learning:
    del given
    pieces = kept.pop("pieces")
    learning = made(Learning, kept)
    learning.adopt(pieces)
    return learning


def _give_versions(versions: Versions, given: Given) -> None:
    rest = {"_release": given.release, "_limits_hit": given.limits_hit, "_evicted": []}
    for name, value in rest.items():
        setattr(versions, name, value)


def _give_version(version: _Version, given: Given) -> None:
    del given
    version.learned_at = version.told_at = -1


def _make_embedding(kept: Fields, given: Given) -> Embedding:
    del given
    gathered = kept.pop("gathered")
    return made(Embedding, kept | {"_gathered": [gathered] if len(gathered) else []})


def _take_group(group: Group) -> tuple[Any, ...]:
    group.come_home()
    found: tuple[Any, ...] = _group(group)
    return found


def _make_group(kept: Fields, given: Given) -> Group:
    group = Group(given.place.model, given.place.segment, given.place.name)
    for name, value in kept.items():
        setattr(group, name, value)
    for feature, series in group.series.items():
        if isinstance(series, Versions):
            series.made_by(given.make(group, feature))
    return group


SERIES = (
    Spec(
        "place",
        Place,
        ("stream", "model", "segment", "name"),
        make=lambda kept, given: given.at(Place(**kept)),
        is_value=True,
    ),
    plain("partition", Partition, is_value=True),
    Spec(
        "identity",
        Identity,
        ("feature", "role", "suffix"),
        ("model", "segment", "config_hash"),
        make=lambda kept, given: given.identity(**kept),
        is_value=True,
    ),
    Spec(
        "settings",
        WatchSettings,
        ("threshold", "anomalies"),
        ("detectors", "policy", "reference", "categories_max", "engine"),
        take=lambda found: (found.policy.threshold, found.anomalies.enabled),
        make=lambda kept, given: given.held(kept["threshold"], anomalies=kept["anomalies"]),
        is_value=True,
    ),
    plain("alert", Alert),
    plain("budget", Budget, is_value=True),
    plain("tail", Tail),
    Spec(
        "calibration",
        Calibration,
        CALIBRATION,
        make=lambda kept, given: given.same(Calibration(**kept)),
        is_value=True,
    ),
    plain("centroids", Centroids),
    plain("clock", ClockProfile),
    plain("freeze", Freeze, is_value=True),
    plain("known", Known),
    plain("told", _Told),
    Spec("verdict", Verdict, VERDICT, take=_take_verdict, is_value=True),
    Spec("piece", Piece, ("kinds", "numbers", "ages", "times"), part=lambda piece: len(piece.kinds) == PIECE_ROWS),
    Spec(
        "reference",
        Reference,
        ("kind", "n", "mean", "sd", "null_rate", "categories", "is_short", "_counted", "_ranked", "_tail"),
        part=lambda _: True,
    ),
    Spec("fresh", Fresh, ("_next",), take=lambda fresh: (_FRESH(fresh),)),
    Spec(
        "age",
        Age,
        ("_of", "_last", "_age", "_joined_at"),
        take=lambda age: (_AGES(age), *attrgetter("_last", "_age", "_joined_at")(age)),
    ),
    Spec(
        "scan",
        Scan,
        ("calibration", "up", "down", "told"),
        ("_up", "_down", "_history", "_firsts", "_partial", "_partial_time", "_filled", "stretches"),
        take=lambda scan: (*attrgetter("calibration", "_up", "_down")(scan), scan.told()),
        make=_make_scan,
    ),
    Spec(
        "lane",
        Lane,
        (
            *("_threshold", "_cooldown_ms", "_resolve_window", "_start", "_opened", "_calm_window", "_quiet_until"),
            *("_look_each", "_recent", "reached"),
        ),
    ),
    Spec(
        "share_lane",
        ShareLane,
        ("n", "hits", "scan", "_lane", "_events_min", "threshold"),
        ("evidence",),
        finish=lambda lane, _: setattr(lane, "evidence", None),
    ),
    Spec("far_out", FarOut, ("_reference", "range", "lane", "_latest")),
    Spec(
        "frozen",
        Frozen,
        ("_spells", "_least", "_longest", "_varies", "_value", "_run", "_since", "_frozen", "_moving"),
    ),
    Spec(
        "watch",
        ValueWatch,
        (*_WATCH, "kernels"),
        ("calibration", "_table", "judged", "_ks", "detectors"),
        take=_take_watch,
        make=_make_watch,
    ),
    Spec("side_by_side", SideBySide, ("_open",)),
    Spec(
        "rolling",
        Rolling,
        (
            *("_first", "_settings", "_events", "_every", "_kept", "_kept_times", "_watch", "_places", "_lane"),
            *("_shared", "_faults", "_since", "_wait", "renewals"),
        ),
    ),
    plain("change", Change),
    plain("excursion", Excursion),
    plain("open", _Open),
    Spec(
        "open_alerts",
        OpenAlerts,
        ("_open", "_past"),
        ("_states",),
        finish=lambda found, given: setattr(found, "_states", given.states),
    ),
    Spec(
        "learning",
        Learning,
        (*_LEARNING, "pieces"),
        ("_kinds", "_numbers", "_ages", "_times", "_pieces"),
        take=lambda learning: (*_learning(learning), learning.pieces()),
        make=_make_learning,
    ),
    Spec(
        "series",
        Series,
        _SERIES,
        ("_invalid_counts", "_states", "_asked", "crowded", "learned_at", "_quiet"),
        take=_take_series,
        finish=_give_series,
    ),
    Spec(
        "standing",
        Standing,
        (
            *("alert", "is_over", "_told", "_then", "_now", "_quiet_rows", "_last", "_last_time"),
            *("_values", "_since"),
        ),
    ),
    Spec(
        "version",
        _Version,
        ("name", "series", "since", "first", "latest", "before", "standing", "until"),
        ("learned_at", "told_at"),
        finish=_give_version,
    ),
    Spec(
        "versions",
        Versions,
        ("_first", "_of", "_rows"),
        ("_make", "_release", "_limits_hit", "_evicted"),
        finish=_give_versions,
    ),
    Spec(
        "embedding",
        Embedding,
        (*_EMBEDDING, "gathered"),
        ("_gathered",),
        take=lambda found: (*_embedding(found), joined(attrgetter("_gathered")(found))),
        make=_make_embedding,
    ),
    Spec(
        "group",
        Group,
        _GROUP,
        ("model", "segment", "name", "waiting", "_lent"),
        take=_take_group,
        make=_make_group,
        later={"tally": None},
    ),
)
