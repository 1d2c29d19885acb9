"""The arguments of `streamdrift changes`; as ``cli``, no logic."""

from __future__ import annotations

import argparse

SEND = """\
Tells of a change, so that it is a suspect where something drifts afterwards. Written to the topic topics.changes, as the
settings say; with --hook to `streamdrift changes serve`, by changes.token, from where there is no way to Kafka. The same
--id again is the same change: give the pipeline's run."""


def add(changes: argparse.ArgumentParser, of: type[argparse.ArgumentParser]) -> None:
    """Add the arguments."""
    actions = changes.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=of)
    actions.add_parser("serve", help="the hook: changes over HTTP, on the topic out")
    send = actions.add_parser(
        "send",
        help="tell of one change, from a pipeline",
        description=SEND,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    send.add_argument("--kind", metavar="KIND", required=True, help="deployment, schema, feature-store, data-source, …")
    send.add_argument("--summary", metavar="TEXT", required=True, help="what changed, in a line")
    send.add_argument("--model", metavar="NAME", action="append", default=[], help="it can have touched; all without")
    send.add_argument("--feature", metavar="NAME", action="append", default=[], help="as --model")
    send.add_argument("--segment", metavar="DIM=VALUE", action="append", default=[], help="as --model")
    send.add_argument("--id", dest="change_id", metavar="ID", help="the same for each try; each time another without")
    send.add_argument("--at", metavar="TIME", help="when, RFC 3339 or epoch milliseconds; now without")
    send.add_argument("--link", metavar="URL", help="where more is said")
    send.add_argument("--author", metavar="HANDLE", help="whom to ask")
    send.add_argument("--hook", metavar="URL", help="address of `changes serve`")
    send.add_argument("--changes", metavar="FILE", help="append to this file, for replay --changes, not to the topic")


def run(options: argparse.Namespace) -> int:
    """Run what was asked for."""
    import streamdrift.app as app  # noqa: PLC0415, PLR0402 - usage errors need not load numpy

    if options.action == "serve":
        return app.changes_serve()
    from streamdrift.embedded.changes_send import Send, send  # noqa: PLC0415 - as above

    asked = Send(
        options.kind,
        options.summary,
        tuple(options.model),
        tuple(options.feature),
        tuple(options.segment),
        change_id=options.change_id,
        at=options.at,
        link=options.link,
        author=options.author,
        hook=options.hook,
        changes=options.changes,
    )
    return app.telling(lambda settings, now, publish: send(asked, settings, now, publish))
