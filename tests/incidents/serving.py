"""The serving side: takes signed orders to roll back, to stop a segment and so on, and does what it is told."""

from __future__ import annotations

from typing import Any

import orjson

from streamdrift.checks.receivers import Script, ScriptedServer
from streamdrift.settings import EscalateSettings


class Serving:
    """Listens for mitigations, where this release has them."""

    def __init__(self) -> None:
        self._server = ScriptedServer(Script(200, {}, b"{}"))

    @property
    def known(self) -> bool:
        """Whether this release sends any."""
        return "mitigation" in EscalateSettings.model_fields

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def orders(self) -> list[dict[str, Any]]:
        """What it was told to do, as it came."""
        return [orjson.loads(request.body) for request in self._server.requests]

    def close(self) -> None:
        self._server.stop()
