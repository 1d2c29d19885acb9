"""When a delivery is tried again."""

from __future__ import annotations

from streamdrift.alerts import digest
from streamdrift.settings import RetrySettings

RETRY_AFTER_MAX_S = 3_600.0
"""Longest pause that a receiver may ask for: beyond it a page is no longer one."""


def backoff_s(settings: RetrySettings, delivery_id: str, attempts: int, wish_s: float | None = None) -> float:
    """Return the wait after so many failed attempts.

    Twice as long each time, up to ``max_s``, less up to half of it by a hash of the delivery, so that deliveries which
    failed together don't come back together. Never shorter than the receiver asked for.

    >>> settings = RetrySettings(initial_s=1, max_s=60)
    >>> [round(backoff_s(settings, "d-1", n)) for n in (1, 2, 3, 4, 20)]
    [1, 2, 3, 5, 31]
    >>> backoff_s(settings, "d-1", 1, wish_s=30)
    30.0
    """
    whole = min(settings.max_s, settings.initial_s * 2.0 ** min(attempts - 1, 40))
    drawn = int(digest(delivery_id, str(attempts))[:8], 16) / 2**32
    return max(whole * (1 - drawn / 2), min(float(wish_s or 0.0), RETRY_AFTER_MAX_S))
