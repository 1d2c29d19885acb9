"""The pipeline without Kafka: recorded events in, alerts, incidents and a report out, by the same stages as the services.

``run``        events through the pipeline
``incidents``  their incidents, by the escalation worker's own policy
``summary``    what a run came to, as JSON, as a sentence, as a report
``replay``     what `streamdrift replay` does
``demo``       what `streamdrift demo` does: with the escalation worker and a webhook receiver
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamdrift.embedded import acknowledge as acknowledge
    from streamdrift.embedded import demo as demo
    from streamdrift.embedded import incident_commands as incident_commands
    from streamdrift.embedded import interrupt as interrupt
    from streamdrift.embedded import learning_commands as learning_commands
    from streamdrift.embedded import rebaseline as rebaseline
    from streamdrift.embedded import replay as replay
    from streamdrift.embedded import tune as tune
    from streamdrift.embedded import tune_diff as tune_diff
    from streamdrift.embedded import tune_options as tune_options
    from streamdrift.embedded.acknowledge import Acknowledge as Acknowledge
    from streamdrift.embedded.incident_commands import Incidents as Incidents
    from streamdrift.embedded.rebaseline import Rebaseline as Rebaseline
    from streamdrift.embedded.replay import Replay as Replay
    from streamdrift.embedded.tune_options import Tune as Tune

OPTIONS = {
    "Acknowledge": "acknowledge",
    "Incidents": "incident_commands",
    "Rebaseline": "rebaseline",
    "Replay": "replay",
    "Tune": "tune_options",
}
"""Of the commands, and where they are."""
COMMANDS = frozenset({*OPTIONS.values(), "demo", "interrupt", "learning_commands", "tune", "tune_diff"})


def __getattr__(name: str) -> Any:
    """Load what a command needs when it is asked for: a service needs none of it, and holds it for all its life."""
    if name in OPTIONS:
        return getattr(import_module(f"{__name__}.{OPTIONS[name]}"), name)
    if name in COMMANDS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
