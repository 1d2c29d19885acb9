"""The arguments of `streamdrift slo`; ``embedded.slo_commands`` does the work."""

from __future__ import annotations

import argparse


def add(slo: argparse.ArgumentParser) -> None:
    """Add the actions to the command."""
    actions = slo.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(slo))
    status = actions.add_parser("status", help="how much of each budget is left, by the ledger")
    check = actions.add_parser("check", help="are OpenSLO files right, and what would page")
    check.add_argument("files", metavar="FILE", nargs="*", help="YAML or JSON; those of slo.files without")
    for action in (status, check):
        action.add_argument("--json", action="store_true", help="as one JSON document")


def run(options: argparse.Namespace) -> int:
    """Run one of them; return the exit code."""
    from streamdrift import app  # noqa: PLC0415 - usage errors need not load numpy
    from streamdrift.embedded import slo_commands  # noqa: PLC0415 - as above

    as_json = options.json
    if options.action == "check":
        return app.command(lambda settings, _: slo_commands.check(options.files, settings, as_json=as_json))
    return app.command(lambda settings, now: slo_commands.status(settings, now, as_json=as_json))
