"""What a run with faults said against what the run without said: lost, twice, different; and whether every fault struck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

EMIT_TIME_FIELDS = frozenset[str]()
"""Fields of an alert that tell when it was sent, and may differ: there are none."""
SHOWN_MAX = 20
ALERTS_MIN = 300
BARS = {"kill_9": 50, "stop": 20, "broker_kill": 5}


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the alerts topic: its id, and its content without emit-time fields, as canonical bytes."""

    id: str
    content: bytes

    @classmethod
    def of(cls, value: bytes) -> Said:
        event = orjson.loads(value)
        data = {k: v for k, v in event["data"].items() if k not in EMIT_TIME_FIELDS}
        return cls(str(event["id"]), orjson.dumps({**event, "data": data}, option=orjson.OPT_SORT_KEYS))


@dataclass
class Difference:
    """How the messages of one topic differ from the expected ones."""

    expected: int = 0
    got: int = 0
    lost: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    twice: dict[str, int] = field(default_factory=dict)
    different: list[str] = field(default_factory=list)
    fields: Counter[str] = field(default_factory=Counter)
    """Fields in which the different ones differ."""
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def surplus(self) -> int:
        """Messages beyond the first of each id."""
        return sum(n - 1 for n in self.twice.values())

    @property
    def none(self) -> bool:
        return not (self.lost or self.foreign or self.twice or self.different)

    def to_json(self) -> dict[str, Any]:
        return {
            "expected": self.expected,
            "got": self.got,
            "lost": len(self.lost),
            "foreign": len(self.foreign),
            "twice": len(self.twice),
            "surplus": self.surplus,
            "different": len(self.different),
            "different_fields": dict(self.fields),
            "lost_ids": self.lost[:SHOWN_MAX],
            "foreign_ids": self.foreign[:SHOWN_MAX],
            "twice_ids": dict(list(self.twice.items())[:SHOWN_MAX]),
            "examples": self.examples[:SHOWN_MAX],
        }


def compare(expected: Iterable[Said], got: Sequence[Said]) -> Difference:
    """Compare ids, how often each came, and what every message says."""
    wanted = {said.id: said.content for said in expected}
    times = Counter(said.id for said in got)
    found = Difference(len(wanted), len(got))
    found.lost = sorted(wanted.keys() - times.keys())
    found.foreign = sorted(times.keys() - wanted.keys())
    found.twice = {one: n for one, n in sorted(times.items()) if n > 1}
    wrong: dict[str, bytes] = {}
    for said in got:
        if said.id in wanted and said.content != wanted[said.id]:
            wrong.setdefault(said.id, said.content)
    found.different = sorted(wrong)
    for one in found.different:
        differing = differences(orjson.loads(wanted[one]), orjson.loads(wrong[one]))
        found.fields.update(differing.keys())
        found.examples.append({"id": one, "expected, got": differing})
    return found


def differences(one: Any, other: Any, place: str = "") -> dict[str, tuple[Any, Any]]:
    """Return what differs between two JSON values, by place."""
    if isinstance(one, dict) and isinstance(other, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in sorted(one.keys() | other.keys()):
            found |= differences(one.get(key), other.get(key), f"{place}.{key}".removeprefix("."))
        return found
    return {} if one == other else {place: (one, other)}


@dataclass
class Run:
    """All that is known of a run when it is over."""

    facts: dict[str, Any]
    alerts: Difference
    uncommitted: Difference
    letters: Difference
    states: dict[str, Any]
    hanging: list[str]
    transactional: bool
    planned: Mapping[str, int]
    struck: Counter[str]
    not_struck: list[str]
    exits: Counter[str]
    stop_codes: Sequence[int | None]
    drained: bool
    memory: Sequence[tuple[float, int]] = ()

    @property
    def kills(self) -> int:
        """Workers that died of SIGKILL, at random or at a point."""
        return self.struck["kill"] + sum(n for kind, n in self.struck.items() if kind.startswith("crash:"))

    def faults(self, *, bars: bool) -> list[str]:
        """Return a sentence for each thing that is not as it must be; none where all is well."""
        found = self._said_wrongly()
        if not self.drained:
            found.append("it did not catch up after the last fault")
        if self.hanging:
            found.append(f"transactions that hang: {', '.join(self.hanging)}")
        if self.states.get("different"):
            found.append(f"final state differs in {self.states['different']} places: {self.states['differing']}")
        if self.transactional and not self.states["compared"]:
            found.append(f"final state was not compared: {self.states['reason']}")
        found += [f"did not strike: {one}" for one in self.not_struck]
        if any(code != 0 for code in self.stop_codes):
            found.append(f"exit codes after SIGTERM: {list(self.stop_codes)}")
        return found + (self._below_the_bars() if bars else [])

    def _below_the_bars(self) -> list[str]:
        shown = {"kill_9": self.kills, "stop": self.struck["stop"], "broker_kill": self.struck["broker_kill"]}
        found = [f"only {shown[name]} {name}; the bar is {bar}" for name, bar in BARS.items() if shown[name] < bar]
        if self.alerts.expected < ALERTS_MIN:
            found.append(f"only {self.alerts.expected} alerts to be compared; the bar is {ALERTS_MIN}")
        return found

    def _said_wrongly(self) -> list[str]:
        found = []
        for topic, difference in (("alerts", self.alerts), ("dead letters", self.letters)):
            if difference.lost or difference.foreign:
                found.append(f"{topic}: {len(difference.lost)} lost, {len(difference.foreign)} that nobody expects")
            if difference.twice:
                found.append(f"{topic}: {len(difference.twice)} came twice or more often")
            if difference.different:
                found.append(f"{topic}: {len(difference.different)} say something different: {dict(difference.fields)}")
        return found

    def to_json(self, *, bars: bool) -> dict[str, Any]:
        faults = self.faults(bars=bars)
        return {
            "passed": not faults,
            "faults": faults,
            **self.facts,
            "transactional": self.transactional,
            "alerts": self.alerts.to_json(),
            "alerts_read_uncommitted": {k: v for k, v in self.uncommitted.to_json().items() if isinstance(v, int)},
            "dead_letters": {k: v for k, v in self.letters.to_json().items() if isinstance(v, int)},
            "states": self.states,
            "hanging_transactions": self.hanging,
            "planned": dict(self.planned),
            "struck": dict(sorted(self.struck.items())),
            "kill_9": self.kills,
            "not_struck": self.not_struck,
            "exits": dict(self.exits),
            "stop_codes": list(self.stop_codes),
            "memory_mb": [(at, kb // 1024) for at, kb in self.memory],
        }


def markdown(summary: Mapping[str, Any]) -> str:
    """The summary of a run for people."""
    alerts, letters = summary["alerts"], summary["dead_letters"]
    lines = [
        f"# Soak: {'passed' if summary['passed'] else 'FAILED'}",
        "",
        (
            f"Seed {summary['seed']}, commit {summary['commit']}, {summary['workers']} workers, {summary['brokers']} broker(s), "
            f"{summary['events']} events in {summary['seconds']} s, exchange {summary['exchange']}, "
            f"{'transactions' if summary['transactional'] else 'no transactions: at least once'}."
        ),
        "",
        "| | expected | got | lost | twice | different | unexpected |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {d['expected']} | {d['got']} | {d['lost']} | {d['twice']} | {d['different']} | {d['foreign']} |"
        for name, d in (
            ("alerts", alerts),
            ("alerts, read uncommitted", summary["alerts_read_uncommitted"]),
            ("dead letters", letters),
        )
    ]
    lines += ["", f"Fields that differ: {alerts['different_fields'] or 'none'}. State: {summary['states']}."]
    lines += [f"Transactions that hang: {summary['hanging_transactions'] or 'none'}.", ""]
    lines += ["| fault | planned | struck |", "|---|---|---|"]
    struck = Counter[str]()
    for kind, n in summary["struck"].items():
        struck[kind.split(":")[0]] += n
    lines += [f"| {kind} | {n} | {struck[kind]} |" for kind, n in summary["planned"].items()]
    lines += [f"| … {kind} | | {n} |" for kind, n in summary["struck"].items() if ":" in kind]
    lines += ["", f"kill -9 of workers, all told: {summary['kill_9']}.", ""]
    lines += [f"- {fault}" for fault in summary["faults"]]
    if summary["exits"]:
        lines += ["", "Ends of workers that nobody asked for:", ""]
        lines += [f"- {n} × {why}" for why, n in summary["exits"].items()]
    return "\n".join(lines) + "\n"
