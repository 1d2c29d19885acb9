"""Conditions on labels as they are written in routes and silences: ``severity=critical``, ``model~fraud-*``.

An incident can have several values of a label (two segments explain it together): ``=`` and ``~`` hold where one of them is it,
``!=`` and ``!~`` where none is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from streamdrift.settings.problems import closest, cut, printable

LABELS = ("model", "team", "severity", "segment", "reason", "feature")
LENGTH_MAX = 500
STARS_MAX = 8
"""In one pattern; what comes from traffic is held against it, and each star costs."""
SEVERITIES = ("info", "warning", "critical")

Labels = Mapping[str, frozenset[str]]
"""Values by label. A label without a value is not there."""

_FORM = re.compile(r"\s*([A-Za-z_]+)\s*(!=|!~|=|~)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition.

    Attributes
    ----------
    operator
        ``=``, ``!=``; ``~`` and ``!~`` take a pattern with ``*``, ``?`` and ``[abc]``.
    value
        Of ``segment``: ``dimension=value``; empty is all traffic.
    """

    label: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.label}{self.operator}{self.value}"

    def holds(self, labels: Labels) -> bool:
        """Whether it holds of something with these labels.

        >>> here = {"segment": frozenset({"origin=EWR", "origin=JFK"}), "model": frozenset({"fraud-eu"})}
        >>> [parsed(text).holds(here) for text in ("segment=origin=EWR", "segment!=origin=EWR", "model~fraud-*", "team=ml")]
        [True, False, True, False]
        """
        found = any(self._is(value) for value in labels.get(self.label, ()))
        return found != self.operator.startswith("!")

    def _is(self, value: str) -> bool:
        return fnmatchcase(value, self.value) if self.operator.endswith("~") else value == self.value


def parsed(text: str) -> Matcher:
    """Return the condition that a text writes.

    Raises
    ------
    ValueError
        With a sentence that goes on from the text.
    """
    form = _FORM.fullmatch(text) if len(text) <= LENGTH_MAX else None
    if form is None:
        raise ValueError("is no condition such as severity=critical, team!=risk or model~fraud-*")
    label, operator, value = form.groups()
    if label not in LABELS:
        meant = closest(label, LABELS)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(LABELS)}"
        raise ValueError(f"asks for a label {cut(printable(label))}; {hint}")
    if not value and label != "segment":
        raise ValueError("has no value")
    if label == "severity" and not operator.endswith("~") and value not in SEVERITIES:
        raise ValueError(f"asks for a severity that there isn't; there are {', '.join(SEVERITIES)}")
    if label == "segment" and value and not operator.endswith("~") and not value.partition("=")[1]:
        raise ValueError("asks for a segment that is not dimension=value, as in segment=origin=EWR")
    if operator.endswith("~") and value.count("*") > STARS_MAX:
        raise ValueError(f"has more than {STARS_MAX} stars")
    return Matcher(label, operator, value)


def all_hold(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Whether every one of them holds; of none, yes."""
    return all(matcher.holds(labels) for matcher in matchers)
