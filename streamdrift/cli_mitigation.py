"""The arguments of `streamdrift incidents mitigate`, and what is made of them. No logic: ``embedded.mitigate_command`` does the work."""

from __future__ import annotations

import argparse

DESCRIPTION = """\
Shows what the serving side could do about an incident, why something is not offered, and what is under way; with --action
also what would be sent. Nothing is changed without --approve, --refuse or --keep. docs/mitigation.md has the receiving side."""
ACTIONS = ("roll_back", "shadow", "stop_segment", "fallback")


def add(mitigate: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    mitigate.description = DESCRIPTION
    mitigate.formatter_class = argparse.RawDescriptionHelpFormatter
    mitigate.add_argument("incident", metavar="INCIDENT", help="its id, or the beginning of it")
    # `action` is the command's own word by here
    mitigate.add_argument(
        "--action", dest="wanted", metavar="ACTION", choices=ACTIONS, help=f"which one is meant: {', '.join(ACTIONS)}"
    )
    mitigate.add_argument("--to", dest="target", metavar="VERSION", help="roll back to it; the version before without")
    mitigate.add_argument("--segment", metavar="DIM=VALUE", help="stop it; the one that explains the incident without")
    mitigate.add_argument(
        "--dry-run", action="store_true", help="with --approve: the serving side only says what it would do"
    )
    mitigate.add_argument("--approve", action="store_true", help="let it be sent")
    mitigate.add_argument("--refuse", action="store_true", help="let it be nothing, as long as it was not sent")
    mitigate.add_argument(
        "--keep", action="store_true", help="what is in force stays, whether the alerts recover or not"
    )
    mitigate.add_argument("--json", action="store_true", help="as one JSON document")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - usage errors need not load numpy
    from streamdrift.embedded.mitigate_command import Mitigate, mitigate  # noqa: PLC0415 - as above
    from streamdrift.embedded.outputs import width  # noqa: PLC0415 - as above

    asked = Mitigate(
        options.incident,
        options.wanted,
        options.target,
        options.segment,
        dry_run=options.dry_run,
        approve=options.approve,
        refuse=options.refuse,
        keep=options.keep,
        as_json=options.json,
        width=width(),
    )
    return app.command(lambda settings, now: mitigate(asked, settings, now))
