"""Whatever Apprise knows, as well as it can: https://github.com/caronc/apprise

Apprise says only whether all of its services took a message. So a message that one of several refused is sent to all again, and
one whose answer was not heard may come twice: for paging, use a receiver of its own.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from streamdrift.errors import SettingsProblem
from streamdrift.escalate import safe_text
from streamdrift.escalate.receivers.base import Ambiguous, Delivered, Outcome, Page, RetryAt
from streamdrift.escalate.receivers.documents import of_page, state
from streamdrift.escalate.receivers.formats import to_text
from streamdrift.settings import AppriseSettings

TITLE_MAX, BODY_MAX = 250, 4_000
KINDS = {"resolved": "success", "critical": "failure", "info": "info"}


class Apprise:
    """All of the URLs as one receiver."""

    name = "apprise"

    def __init__(self, settings: AppriseSettings) -> None:
        if settings.urls is None:
            raise ValueError("Apprise needs urls")
        try:
            library: Any = importlib.import_module("apprise")
        except ImportError:
            raise SettingsProblem(
                "escalate.apprise.urls is given, and Apprise is not installed: pip install streamdrift[apprise]"
            ) from None
        for talkative in ("apprise", "urllib3.connectionpool"):  # their lines can have a URL in them
            logging.getLogger(talkative).disabled = True
        self._services = library.Apprise(asset=library.AppriseAsset(secure_logging=True, async_mode=False))
        for number, url in enumerate(settings.urls.get_secret_value().split(), 1):
            if not self._services.add(url):
                raise SettingsProblem(f"escalate.apprise.urls: the URL at place {number} is none that Apprise knows")

    def __repr__(self) -> str:
        return f"Apprise({len(self._services)} URLs)"

    def send(self, page: Page, now: float) -> Outcome:
        """Make one attempt; see ``Receiver``."""
        del now
        now_is = state(page)
        kind = KINDS.get(now_is) or KINDS.get(str(page.incident.get("severity"))) or "warning"
        title = safe_text.header(f"[{now_is}] {page.headline}", TITLE_MAX)
        body = safe_text.cut(to_text(of_page(page)), BODY_MAX)
        try:
            taken = self._services.notify(body=body, title=title, notify_type=kind, body_format="text")
        except Exception as e:  # noqa: BLE001 - 150 plug-ins; what they say may hold a secret
            return Ambiguous(f"a plug-in of Apprise failed: {type(e).__name__}")
        return Delivered() if taken else RetryAt(reason="not taken by all of Apprise's services; it says no more")
