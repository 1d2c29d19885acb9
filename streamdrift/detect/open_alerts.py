"""The alerts of a series that are open: which one a change opens, updates or resolves."""

from __future__ import annotations

from collections.abc import Callable

from streamdrift.alerts import Alert
from streamdrift.detect.explain import Change, has_grown

Place = tuple[str, str]
"""Lane and segment."""


class OpenAlerts:
    """By place: the alert that opened, and the one that was told last.

    Attributes
    ----------
    opened
        The first of each.
    """

    def __init__(self) -> None:
        self.opened: dict[Place, Alert] = {}
        self._told: dict[Place, Alert] = {}

    def take(
        self, place: Place, change: Change, update_factor: float, make: Callable[[Alert | None], Alert]
    ) -> Alert | None:
        """Return the change as ``make`` makes an alert of it; None where an open one is what it was.

        Parameters
        ----------
        make
            Given the alert that opened; None where this one does.
        """
        opened = self.opened.get(place)
        if change.step == "looks":
            if opened is None or not has_grown(self._told[place], change, update_factor):
                return None
        elif change.step == "resolves":
            self.close(place)
        else:
            opened = None
        alert = make(opened)
        if change.step != "resolves":
            self._told[place] = alert
            self.opened[place] = opened or alert
        return alert

    def close(self, place: Place) -> Alert | None:
        """Forget an open alert; return it."""
        self._told.pop(place, None)
        return self.opened.pop(place, None)
