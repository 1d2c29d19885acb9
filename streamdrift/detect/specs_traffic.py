"""What of a model's traffic is kept, beside its group of all traffic; see ``specs``."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

from streamdrift.blocks.block import Coded, coded
from streamdrift.detect.calibration import score_table
from streamdrift.detect.duplicates import Duplicates, RecentIds, _Band
from streamdrift.detect.given import Given
from streamdrift.detect.heard import LastEvent, Model
from streamdrift.detect.specs import SERIES, made, plain
from streamdrift.detect.tally import Tally
from streamdrift.detect.traffic import Traffic, TrafficSettings, _Rate, _Shares
from streamdrift.slo.measures import Minute
from streamdrift.state.codec import Specs, joined
from streamdrift.state.spec import Fields, Spec

_TRAFFIC = (
    *("_settings", "_rows", "_forgotten", "last_time", "_rate", "_first_rate", "_shares", "_open", "_duplicates"),
    "acted",
)
_RATE = ("reference", "_scan", "_lane", "longest_s", "mean_s", "silence_ms", "_threshold")
_SHARES = ("_names", "_shares", "_scan", "_lanes", "_threshold", "_n")
_BAND = (*("identity", "_beyond", "within", "_least", "_wanted", "_seen", "_open", "_flagged", "_since", "_expected"),)
_SILENCE = ("latest", "seen", "version", "source", "offset", "silent", "read", "sources", "waiting")
_last = attrgetter("at", "seen", "version", "source", "offset")
_traffic, _band = attrgetter(*_TRAFFIC, "_gaps", "_codes"), attrgetter("_flags", "_lane", "_rows", *_BAND)


def _take_traffic(traffic: Traffic) -> tuple[Any, ...]:
    *kept, gaps, codes = _traffic(traffic)
    columns = {name: coded([text for part in parts for text in part]) for name, parts in sorted(codes.items())}
    return *kept, joined(gaps), columns


def _make_traffic(kept: Fields, given: Given) -> Traffic:
    gaps, columns = kept.pop("gaps"), kept.pop("columns")
    codes = {name: [[found.at(row) for row in range(len(found.codes))]] for name, found in columns.items()}
    rest = {"model": given.place.model, "_config_hash": given.config_hash, "waiting": []}
    return made(Traffic, kept | rest | {"_gaps": [gaps] if len(gaps) else [], "_codes": codes})


def _make_settings(kept: Fields, given: Given) -> TrafficSettings:
    asked = given.traffic(given.place.model)
    return replace(asked, policy=asked.policy.model_copy(update={"threshold": kept["threshold"]}))


def _make_rate(kept: Fields, given: Given) -> _Rate:
    del given
    table, bounds = score_table(kept["reference"].n)[:, :1], kept["_scan"].bounds(kept["_threshold"])
    return made(_Rate, kept | {"_table": table, "_bounds": bounds})


def _make_shares(kept: Fields, given: Given) -> _Shares:
    del given
    return made(_Shares, kept | {"_bounds": kept["_scan"].bounds(kept["_threshold"])})


def _take_band(band: _Band) -> tuple[Any, ...]:
    flags, lane, rows, *kept = _band(band)
    return *kept, lane, 0 if lane is not None else rows, joined(flags)  # rows are counted to the end of learning


def _make_band(kept: Fields, given: Given) -> _Band:
    flags = kept.pop("flags")
    rest = {"_asked": given.asked().policy, "_flags": [flags] if len(flags) else []}
    return made(_Band, kept | rest)


def _make_recent(kept: Fields, given: Given) -> RecentIds:
    del given
    recent = RecentIds(kept["within"])
    recent.adopt((kept["ids"], kept["at"], kept["events"]))
    return recent


def _finish_tally(tally: Tally, given: Given) -> None:
    del given
    tally.adopt(lambda _: True)  # the bank says which, before any is counted


def _make_model(kept: Fields, given: Given) -> Model:
    del given
    last = LastEvent(kept["latest"], kept["seen"], kept["version"], kept["source"], kept["offset"])
    return Model(last, kept["silent"], kept["read"], dict(kept["sources"]), list(kept["waiting"]))


_TALLY = ("_stream", "_minutes", "_before", "_first", "_last", "_kinds", "_decided")

TRAFFIC = (
    plain("coded", Coded),
    plain("minute", Minute),
    Spec("tally", Tally, _TALLY, ("_counts_feature", "_wanted"), finish=_finish_tally),
    plain("last_event", LastEvent),
    Spec(
        "silence",
        Model,
        _SILENCE,
        ("last",),
        take=lambda found: (
            *_last(found.last),
            found.silent,
            found.read,
            dict(sorted(found.sources.items())),
            found.waiting,
        ),
        make=_make_model,
        later={"source": None, "offset": 0, "read": -1, "sources": {}, "waiting": []},
    ),
    Spec(
        "traffic_settings",
        TrafficSettings,
        ("threshold",),
        ("policy", "duplicates", "anomalies", "reference_events", "segments_max"),
        take=lambda found: (found.policy.threshold,),
        make=_make_settings,
        is_value=True,
    ),
    Spec(
        "traffic",
        Traffic,
        (*_TRAFFIC, "gaps", "columns"),
        ("model", "_config_hash", "waiting", "_gaps", "_codes"),
        take=_take_traffic,
        make=_make_traffic,
    ),
    Spec("rate", _Rate, _RATE, ("_table", "_bounds"), make=_make_rate),
    Spec("shares", _Shares, _SHARES, ("_bounds",), make=_make_shares),
    Spec("duplicates", Duplicates, ("_bands", "_within", "_recent")),
    Spec("band", _Band, (*_BAND, "_lane", "_rows", "flags"), ("_asked", "_flags"), take=_take_band, make=_make_band),
    Spec(
        "recent_ids",
        RecentIds,
        ("within", "ids", "at", "events"),
        ("_within", "_young_max", "_young", "_ids", "_at", "_events"),
        take=lambda recent: (attrgetter("_within")(recent), *recent.told()),
        make=_make_recent,
    ),
)

SPECS = Specs((*SERIES, *TRAFFIC))
"""All that state is made of."""
