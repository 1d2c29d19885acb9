"""Makes what is logged plain, short and free of secrets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any
from urllib.parse import quote, quote_plus

from structlog.typing import EventDict, WrappedLogger

MASK = "**********"
SECRET_LENGTH_MIN = 4
"""Shorter secrets are not looked for: masking every "a" would hide the log, and tell the secret."""
TEXT_LENGTH_MAX = 4_096
"""Characters kept of one text; an event can be a megabyte."""
ITEMS_MAX = 64
"""Items kept of one list or table."""
DEPTH_MAX = 12


class Redact:
    """A structlog processor: every known secret is masked, in names and values, at any depth.

    Examples
    --------
    >>> redact = Redact(["s3cret/"])
    >>> redact(None, "info", {"event": "refused", "url": "https://x/?key=s3cret%2F", "body": [b"s3cret/"]})
    {'event': 'refused', 'url': 'https://x/?key=**********', 'body': ["b'**********'"]}
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= SECRET_LENGTH_MIN for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Return the line's fields, fit to be written."""
        return {self._text(name): self._plain(value, DEPTH_MAX) for name, value in event.items()}

    def masked(self, text: str) -> str:
        """Return a text, however long, without the secrets."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def _text(self, text: str) -> str:
        text = self.masked(text)
        return text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX] + "…"

    def _plain(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Integral) and abs(int(value)) < 2**63:
            return self._number(int(value))
        if isinstance(value, Real) and not isinstance(value, Integral) and math.isfinite(value):
            return self._number(float(value))
        if isinstance(value, Mapping) and depth:
            items = list(value.items())[:ITEMS_MAX]
            return {self._text(str(name)): self._plain(below, depth - 1) for name, below in items}
        if isinstance(value, list | tuple | set | frozenset) and depth:
            return [self._plain(below, depth - 1) for below in list(value)[:ITEMS_MAX]]
        return self._text(value if isinstance(value, str) else _described(value))

    def _number(self, value: float) -> Any:
        """Return the number itself, unless a secret stands in its digits."""
        text = str(value)
        return value if self._text(text) == text else self._text(text)


def _forms(secret: str) -> set[str]:
    """Every spelling in which a library might repeat a secret."""
    escaped = {repr(secret)[1:-1], repr(secret.encode())[2:-1], json.dumps(secret)[1:-1]}
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)} | escaped


def _described(value: Any) -> str:
    try:
        return str(value) if isinstance(value, Exception) else repr(value)
    except Exception as e:  # noqa: BLE001 - a log line about a fault must not raise another one
        return f"<{type(value).__name__}: {type(e).__name__} in its repr>"
