"""The file that says who is told of what."""

from __future__ import annotations

from collections.abc import Iterable

from streamdrift.errors import SettingsProblem
from streamdrift.escalate.routing.document import Routes, read
from streamdrift.settings import EscalateSettings
from streamdrift.settings.sources import CONFIG_BYTES_MAX, read_text

SETTING = "escalate.routes"


def load(settings: EscalateSettings, receivers: Iterable[str]) -> Routes:
    """Read the file that the settings name; without one every receiver is told of everything.

    Parameters
    ----------
    receivers
        Names of those that are set up.

    Raises
    ------
    SettingsProblem
        It can't be read, or something in it, or in ``escalate.pages_unlimited``, is wrong.
    """
    names = tuple(receivers)
    for name in settings.pages_unlimited:
        if name not in names:
            known = ", ".join(names) or "none"
            raise SettingsProblem(f"escalate.pages_unlimited names {name}, which is not set up; set up are: {known}")
    if settings.routes is None:
        return Routes()
    try:
        text = read_text(settings.routes, CONFIG_BYTES_MAX)
    except ValueError as e:
        raise SettingsProblem(f"{SETTING}: {settings.routes} {e}") from None
    return read(text, str(settings.routes), names)
