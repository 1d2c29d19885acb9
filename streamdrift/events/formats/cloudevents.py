"""CloudEvents 1.0, structured (the event under ``data``) or binary (``ce_`` headers, the value is the event itself).

Source: CloudEvents 1.0.2 specification and its Kafka protocol binding, section 3.
"""

from __future__ import annotations

from typing import Any

from streamdrift.errors import Rejected
from streamdrift.events.fields import shown
from streamdrift.ports import Headers


def unwrap(message: Any, headers: Headers) -> dict[str, Any]:
    """Return the bare event, with the envelope's ``id`` and ``time`` where the event has none of its own.

    Raises
    ------
    Rejected
        ``not_an_object`` where neither the message nor its ``data`` is a JSON object.
    """
    if type(message) is not dict:
        raise Rejected("not_an_object", f"an event is a JSON object, not {shown(message)}")
    envelope: dict[str, Any] = {}
    if "specversion" in message:
        envelope, message = message, message.get("data")
        if type(message) is not dict:
            raise Rejected("not_an_object", f"the CloudEvent's data must be a JSON object, not {shown(message)}")
    elif headers:
        envelope = {name[3:]: value.decode("utf-8", "replace") for name, value in headers if name.startswith("ce_")}
    if envelope:
        if "prediction_id" not in message and "id" in envelope:
            message["prediction_id"] = envelope["id"]
        if "occurred_at" not in message and "observed_at" not in message and "time" in envelope:
            message["occurred_at"] = envelope["time"]
    return message
