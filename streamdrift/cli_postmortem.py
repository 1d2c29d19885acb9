"""The commands about what is learnt of incidents, their arguments: post-mortems, corrective actions, past incidents."""

from __future__ import annotations

import argparse
from typing import Any

LEARNING = frozenset({"postmortem", "actions", "search"})

POSTMORTEM = """\
Drafts a post-mortem of the timeline and of nothing else: each statement cites the entries that it rests on, or says that it is
unknown and what would tell. Proposed corrective actions are kept in the ledger (`streamdrift incidents actions`). On a
terminal it is plain text; --markdown writes it for a file, --publish gives it to the worker, which publishes it once."""


def add_commands(actions: Any) -> None:
    """Add them to those of `streamdrift incidents`: ``actions`` is what its ``add_subparsers`` returned."""
    made = actions.add_parser(
        "postmortem",
        help="a draft of its post-mortem; confirm its cause, publish it",
        description=POSTMORTEM,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("incident", metavar="INCIDENT", help="its id, or the beginning of it")
    made.add_argument("--cause", metavar="CHANGE|TEXT", help="confirm what it was: a change's id, or a sentence")
    made.add_argument("--publish", action="store_true", help="once it is over, to Confluence, Markdown and Jira")
    made.add_argument("--to", metavar="RECEIVER", action="append", default=[], help="publish to this one alone")
    made.add_argument("--markdown", action="store_true", help="print Markdown")
    found = actions.add_parser("search", help="past incidents by words, or those that are like one")
    found.add_argument("text", metavar="TEXT", nargs="*", help="words, all of which are in it")
    found.add_argument("--like", metavar="INCIDENT", help="those that this one is like")
    _add_actions(actions.add_parser("actions", help="corrective actions: list, accept, done, drop"))
    for command in (made, found):
        command.add_argument("--json", action="store_true", help="as one JSON document")


def _add_actions(actions: argparse.ArgumentParser) -> None:
    moves = actions.add_subparsers(dest="move", metavar="ACTION", required=True)
    listed = moves.add_parser("list", help="those that are proposed or accepted")
    listed.add_argument("incident", metavar="INCIDENT", nargs="?", help="those of one incident alone, all of them")
    listed.add_argument("--all", action="store_true", help="also those that are done or dropped")
    listed.add_argument("--json", action="store_true", help="as one JSON document")
    for name, what in (
        ("accept", "it is to be done; a ticket, if Jira is set up"),
        ("done", "it is done"),
        ("drop", "it won't be done"),
    ):
        moved = moves.add_parser(name, help=what)
        moved.add_argument("corrective", metavar="ID", help="its id, or the beginning of it")
        moved.add_argument("--reason", metavar="TEXT", default="", required=name == "drop", help="why")
        moved.add_argument("--json", action="store_true", help="as one JSON document")


def run(options: argparse.Namespace) -> int:
    """Run one of them."""
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - usage errors need not load numpy
    from streamdrift.embedded import learning_commands  # noqa: PLC0415 - as above
    from streamdrift.embedded.outputs import width  # noqa: PLC0415 - as above

    asked = learning_commands.Learning(
        getattr(options, "move", options.action),
        incident=getattr(options, "incident", None),
        cause=getattr(options, "cause", None),
        publish=getattr(options, "publish", False),
        to=tuple(getattr(options, "to", ())),
        text=" ".join(getattr(options, "text", ())),
        like=getattr(options, "like", None),
        corrective=getattr(options, "corrective", None),
        reason=getattr(options, "reason", ""),
        everything=getattr(options, "all", False),
        markdown=getattr(options, "markdown", False),
        as_json=options.json,
        width=width(),
    )
    return app.command(lambda settings, now: learning_commands.learning(asked, settings, now))
