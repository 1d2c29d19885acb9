"""A timeline's entries without persons: what happened, not who.

Words of people (a reason, a cause) are theirs, and stay as they are; what we wrote names people only by fields of an entry's detail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from streamdrift.escalate.timeline import Entry

PERSONS = frozenset({"by", "author", "actor", "who", "user", "person", "people", "on_call", "approver", "approved_by"})
"""Fields of a detail that may name a person."""
NO_PERSONS = frozenset({"alerts", "hand", "limit", "worker", "time", "command"})
"""What stands in ``by`` and is none."""
SOMEBODY = "somebody"


def told(entry: Entry) -> str:
    """An entry's text, with *somebody* for each person that its detail names."""
    text = entry.text
    for person in sorted(set(_persons(entry.detail)), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(person)}(?!\w)", SOMEBODY, text)
    return text


def _persons(detail: dict[str, Any]) -> Iterator[str]:
    for name in PERSONS & detail.keys():
        given = detail[name]
        for one in given if isinstance(given, list) else [given]:
            found = one.get("name") if isinstance(one, dict) else one
            if isinstance(found, str) and found.strip() and found not in NO_PERSONS:
                yield found
