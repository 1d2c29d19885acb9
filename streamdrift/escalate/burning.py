"""From slices of measures to alerts of reason ``slo_burn``, within one transaction of the ledger.

An objective is looked at after each slice of its model, at the end of the latest minute that was counted: so what is told hangs on the
measures alone, not on when or in how many pieces they were read. Freshness alone goes by the clock, as what doesn't come is what it tells.
The alert is one as detection gives them, so it is grouped, routed, paged, silenced and ended as any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from streamdrift.alerts import Alert, Severity, digest, series_id
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.objectives import State, fresh_of, with_fresh
from streamdrift.slo.burn import Objective, Standing, stand
from streamdrift.slo.counts import MINUTE_MS, Counts, plausible
from streamdrift.slo.indicators import FRESHNESS
from streamdrift.slo.measures import Slice

REASON, ROLE, DETECTOR = "slo_burn", "slo", "burn_rate"
AGAIN_MS = 3_600_000
"""What goes on is said again so often: whoever was not told of its beginning, as that was too old, is told now."""
FEATURE = "slo."
"""What such an alert is about: this and the objective's name."""


@dataclass(frozen=True, slots=True)
class Promises:
    """The objectives that a worker holds measures against.

    Attributes
    ----------
    topic
        Of the measures.
    """

    topic: str
    objectives: tuple[Objective, ...]

    def of(self, model: str) -> list[Objective]:
        """Return those of a model."""
        return [one for one in self.objectives if one.indicator.model == model]


class Burning:
    """Takes slices; made anew for each transaction."""

    def __init__(self, ledger: Ledger, promises: Promises, now: float) -> None:
        self._ledger, self._promises, self._now = ledger, promises, now
        self._counts: dict[str, Counts] = {}
        self._states: dict[str, State] = {}

    @property
    def topic(self) -> str:
        """Of the measures."""
        return self._promises.topic

    def concerns(self, found: Slice) -> bool:
        """Whether an objective is about its model."""
        return any(one.indicator.model == found.model for one in self._promises.objectives)

    def has(self, found: Slice) -> bool:
        """Whether a slice was taken before."""
        return self._ledger.objectives.has(found.slice_id)

    def take(self, found: Slice, written_ms: int) -> list[Alert]:
        """Count a slice, and say what follows.

        Parameters
        ----------
        written_ms
            When it was written to its topic.
        """
        self._ledger.objectives.took(found.slice_id, self._now)
        written = written_ms if written_ms > 0 else round(self._now * 1000)
        mine, counted = self._promises.of(found.model), set[str]()
        for one in mine:
            if one.indicator.kind == FRESHNESS:
                self._news(one, found, written)
            elif one.indicator.key not in counted:
                counted.add(one.indicator.key)
                self._count(one, found, written)
        return [alert for one in mine if self._of(one).now for alert in self._judge(one)]

    def look(self) -> list[Alert]:
        """Say what follows from the clock alone: how old the latest event of each model is."""
        told = []
        for one in self._promises.objectives:
            if one.indicator.kind == FRESHNESS and self._pass(one, round(self._now * 1000)):
                told += self._judge(one)
        return told

    def retire(self) -> list[Alert]:
        """Return the ends of what fires for objectives that there are no more, and forget these."""
        names = {one.name: one.indicator.model for one in self._promises.objectives}
        told = []
        for state in self._ledger.objectives.states():
            if names.get(state.objective) != state.model:
                told += [self._ended(state, round(self._now * 1000))] if state.opened is not None else []
                self._ledger.objectives.drop(state.objective)
        self._ledger.objectives.prune(self._now, {one.indicator.key for one in self._promises.objectives})
        return told

    def is_nearly_spent(self, model: str) -> bool:
        """Whether so little is left of one of a model's budgets that its warnings are critical."""
        return any(self._state(one).nearly_spent for one in self._promises.of(model))

    def save(self) -> None:
        """Write the counts that changed; how objectives stand is written at once, for pages that tell of it."""
        periods = dict[str, int]()
        for one in self._promises.objectives:
            periods[one.indicator.key] = max(one.period_ms, periods.get(one.indicator.key, 0))
        for key, counts in self._counts.items():
            self._ledger.objectives.put(key, counts, counts.stale(periods[key]))

    # Counting ----------------------------------------------------------------------------------------------------------

    def _of(self, one: Objective) -> Counts:
        key = one.indicator.key
        if key not in self._counts:
            self._counts[key] = self._ledger.objectives.counts(key)
        return self._counts[key]

    def _state(self, one: Objective) -> State:
        if one.name not in self._states:
            self._states[one.name] = self._ledger.objectives.state(one.name, one.indicator.model)
        return self._states[one.name]

    def _keep(self, state: State) -> None:
        self._states[state.objective] = state
        self._ledger.objectives.save(state)

    def _period(self, one: Objective) -> int:
        return max(other.period_ms for other in self._promises.objectives if other.indicator.key == one.indicator.key)

    def _count(self, one: Objective, found: Slice, written: int) -> None:
        counts, period_ms = self._of(one), self._period(one)
        for minute, good, total in one.indicator.counts(found):
            counts.add(plausible(minute, written), good, total, period_ms)

    def _news(self, one: Objective, found: Slice, written: int) -> None:
        if found.stream != "events":
            return
        self._pass(one, written)
        fresh = fresh_of(self._state(one))
        fresh.news(found.latest, written)
        self._keep(with_fresh(self._state(one), fresh))

    def _pass(self, one: Objective, at: int) -> bool:
        """Count the minutes of the clock that ended; return whether there were any."""
        fresh, counts, period_ms = fresh_of(self._state(one)), self._of(one), self._period(one)
        passed = list(fresh.until(at, one.indicator.value or 0.0))
        for minute, good, total in passed:
            counts.add(minute, good, total, period_ms)
        if passed:
            self._keep(with_fresh(self._state(one), fresh))
        return bool(passed)

    # Judging -----------------------------------------------------------------------------------------------------------

    def _judge(self, one: Objective) -> list[Alert]:
        before = self._state(one)
        fired = [i for i, pair in enumerate(one.pairs) if pair.long_ms in before.firing]
        found = stand(one, self._of(one), fired)
        state = replace(
            before,
            title=one.title,
            period_ms=one.period_ms,
            now=found.now,
            left=round(found.left, 6),
            burn=round(found.burn, 6),
            spent_in_s=None if found.spent_in_s is None else round(found.spent_in_s, 3),
            nearly_spent=found.is_nearly_spent,
            firing=tuple(sorted({one.pairs[i].long_ms for i in found.firing})),
        )
        told, state = _told(one, found, before, state)
        self._keep(state)
        return told

    def _ended(self, state: State, at: int) -> Alert:
        return _end(Alert.from_cloudevent((state.latest or state.opened or "").encode()), state, at)


def _told(one: Objective, found: Standing, before: State, state: State) -> tuple[list[Alert], State]:
    """What is news, and the state with it."""
    if not found.firing:
        if before.opened is None:
            return [], state
        ended = _end(Alert.from_cloudevent((before.latest or before.opened).encode()), before, found.now, found)
        return [ended], replace(state, opened=None, latest=None)
    alert = _alert(one, found)
    message = alert.to_cloudevent().decode()
    if before.opened is None:
        return [alert], replace(state, opened=message, latest=message)
    opened = Alert.from_cloudevent(before.opened.encode())
    last = Alert.from_cloudevent((before.latest or before.opened).encode())
    graver = last.severity not in {alert.severity, "critical"}
    if not graver and alert.detected_at - last.detected_at < AGAIN_MS:
        return [], state
    grown = replace(
        alert,
        updates=opened.alert_id,
        onset_at=min(opened.onset_at, alert.onset_at),
        severity=alert.severity if graver else last.severity,
        effect_size=opened.effect_size,  # as its window fills up, the bad share grows in any case: that is no news
    )
    return [grown], replace(state, latest=grown.to_cloudevent().decode())


def _alert(one: Objective, found: Standing) -> Alert:
    pair = min((one.pairs[i] for i in found.firing), key=lambda pair: (pair.severity != "critical", pair.long_ms))
    severity: Severity = "critical" if found.is_nearly_spent else pair.severity
    model, feature = one.indicator.model, FEATURE + one.name
    return Alert(
        series_id=series_id(model, {}, feature),
        status="firing",
        kind="anomaly",
        reason=REASON,
        severity=severity,
        model={"name": model, "version": None},
        segment={},
        feature=feature,
        role=ROLE,
        detector=DETECTOR,
        detectors=(DETECTOR,),
        detected_at=found.now,
        onset_at=min(found.onset, found.now - MINUTE_MS),
        events_since_onset=found.long.total,
        events_seen=found.period.total,
        statistic=round(found.burn, 4),
        threshold=round(pair.factor, 4),
        effect_size=round(found.long.bad_share, 6),
        effect_unit="share",
        reference={"n": found.period.total, "bad_share": round(one.budget, 9), "period_s": one.period_ms // 1000},
        current={
            "n": found.long.total,
            "bad_share": round(found.long.bad_share, 6),
            "window_s": pair.long_ms // 1000,
            "burn_rate": round(found.burn, 4),
            "budget_left": round(found.left, 6),
            **({} if found.spent_in_s is None else {"spent_in_s": round(found.spent_in_s, 3)}),
        },
        traffic_share=1.0,
        config_hash=digest(one.name, one.indicator.key, repr(one.target), str(one.period_ms), repr(one.pairs))[:12],
    )


def _end(last: Alert, before: State, at: int, found: Standing | None = None) -> Alert:
    """The end of what fires."""
    opening = Alert.from_cloudevent((before.opened or "").encode())
    current = last.current if found is None else last.current | {"budget_left": round(found.left, 6)}
    return replace(
        last,
        status="resolved",
        resolves=opening.alert_id,
        updates=None,
        detected_at=max(at, last.detected_at),
        events_seen=last.events_seen if found is None else found.period.total,
        current=current,
    )
