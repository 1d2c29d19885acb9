"""The false-alarm budget: from "one false page per model and week" to the evidence that a series' scan must show.

How often the confirming scan reaches T nats on a series that does not change, is bounded by::

    false alerts per series and 10,000 events  =  RATE · exp(-DECAY · (T - FROM))

``benchmarks/null_rate.py`` measures it. On 40,000 series of continuous independent values (15,000 events each) the law has the
constants .00204 (± 6 %) and 1.000 (± .015), on 10,000 of a rare flag .0007 (± 24 %) and .855 (± .06): the bound is above both
from 13 to 40 nats. Dependent values with a full reference stay below it at 16 nats, but for a variance that breathes
(GARCH: .0065).

The budget is shared by all series alike, so that each may spend the same per event. Then all that matters are a model's events
per week and how many series see each of them: its features, once for all traffic and once for each dimension.

A series' other lanes (missing, invalid and new values) and the model's traffic use the same threshold. They are not counted:
each looks one way, and mostly at nothing.

The budget only raises ``policy.threshold``: that is the floor validated on dependent values, where the law above was not
measured. It counts false *alerts*, of which those below ``escalate.severity_min`` page nobody: an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from streamdrift.detect.baseline import significant
from streamdrift.settings import PolicySettings

RATE = 0.0027
"""False alerts per series and ``PER_EVENTS`` at ``FROM`` nats."""
DECAY = 0.9
"""Fall of the logarithm of that rate, per nat."""
FROM = 13.0
"""Evidence from which the law was measured, nats."""
PER_EVENTS = 10_000
WEEK_MS = 7 * 86_400_000


def expected_false_per_week(threshold: float, events_per_week: float, lanes: float) -> float:
    """Return the false alerts to be expected in a week at this threshold.

    Parameters
    ----------
    threshold
        Nats.
    events_per_week
        Of the model.
    lanes
        Series that see one event.

    Examples
    --------
    >>> round(expected_false_per_week(16.0, 604_800, 40), 3)
    0.439
    """
    return RATE * math.exp(-DECAY * (threshold - FROM)) * events_per_week * lanes / PER_EVENTS


def threshold(false_pages_per_week: float, events_per_week: float, lanes: float) -> float:
    """Return the least threshold, nats, at which no more false alerts are to be expected; ``FROM`` where less would do.

    Examples
    --------
    >>> round(threshold(1.0, 604_800 * 100, 40), 2)
    20.2
    """
    at_start = expected_false_per_week(FROM, events_per_week, lanes)
    return FROM + max(0.0, math.log(max(at_start, 1e-300) / false_pages_per_week)) / DECAY


@dataclass(frozen=True, slots=True)
class Budget:
    """What one series asks of its evidence.

    Attributes
    ----------
    threshold
        Nats; at least ``policy.threshold``.
    events_per_week
        Of the model, in the time of the series' reference window; 0 where that is not known.
    lanes
        Series of the model that see one event.
    expected_false_per_week
        False alerts of the whole model at this threshold; None where the event rate is not known.
    own_per_week
        Events of the series itself.
    since
        Event time from which on the series is watched, milliseconds since the epoch.
    """

    threshold: float
    events_per_week: float
    lanes: int
    expected_false_per_week: float | None
    own_per_week: float
    since: int


def budget(policy: PolicySettings, rows: tuple[int, int], span_ms: float, lanes: int, since: int) -> Budget:
    """Return the budget of a series whose reference window is complete.

    Parameters
    ----------
    rows, span_ms
        Rows of the reference window, the model's in that time, and the event time from the first to the last of them. A window
        without any length, as of a backfill with one time stamp for all, tells no rate: there the floor holds.
    lanes
        Series of the model that see one event.
    since
        Event time from which on the series is watched.
    """
    if span_ms <= 0:
        return Budget(policy.threshold, 0.0, lanes, None, 0.0, since)
    own, events = (count * (WEEK_MS / span_ms) for count in (rows[0], max(rows)))
    asked = max(policy.threshold, threshold(policy.false_pages_per_model_week, events, lanes))
    asked = math.ceil(asked * 1000) / 1000  # to be read by people; rounded up, so that the budget holds
    expected = significant(expected_false_per_week(asked, events, lanes))
    return Budget(asked, events, lanes, expected, own, since)


def held_to(policy: PolicySettings, found: Budget) -> PolicySettings:
    """Return the policy with the threshold of the budget."""
    return policy if found.threshold == policy.threshold else _with(policy, found.threshold)


@lru_cache(maxsize=256)
def _with(policy: PolicySettings, threshold: float) -> PolicySettings:
    """Return the policy with a threshold: one for all the series that have it, not two kilobytes for each."""
    return policy.model_copy(update={"threshold": threshold})


def in_words(policy: PolicySettings) -> str:
    """Say what the budget is, for ``config show``."""
    pages = policy.false_pages_per_model_week
    free = pages / expected_false_per_week(policy.threshold, PER_EVENTS, 1) * PER_EVENTS
    per_second = free / (WEEK_MS / 1000)
    return (
        f"at most {pages:g} false {'page' if pages == 1 else 'pages'} per model and week, over all its series. "
        f"policy.threshold ({policy.threshold:g} nats) keeps that up to {significant(free / 1e6):g} million "
        f"series-events a week ({per_second:.3g} series at one event per second); above, each series asks for 1.1 nats "
        "more per factor of e"
    )
