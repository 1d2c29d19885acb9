"""Where the setting ``escalate.ledger`` points to."""

from __future__ import annotations

from pathlib import Path

from streamdrift.escalate.database import Place
from streamdrift.escalate.postgresql import Server
from streamdrift.escalate.sqlite import File

SQLITE = "sqlite:///"


def place_of(ledger: str | Path) -> Place:
    """Return the place of a ledger.

    >>> print(place_of("ledger.sqlite3"), place_of("sqlite:////var/lib/ledger.sqlite3"))
    ledger.sqlite3 /var/lib/ledger.sqlite3
    >>> print(place_of("postgresql://me:secret@db.example.com/drift"))
    postgresql://db.example.com/drift
    """
    text = str(ledger)
    if isinstance(ledger, Path) or "://" not in text:
        return File(Path(ledger))
    if text.startswith(SQLITE):
        return File(Path(text.removeprefix(SQLITE)))
    return Server(text)
