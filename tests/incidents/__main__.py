"""Play a story on a real broker and write down what came of it.

    python -m tests.incidents NAME… [--write FOLDER] [--logs FOLDER]

NAME is recommender, tagger or chatbot; all of them without. The same seed gives the same traffic; that the responder's steps fall into the
player's is the only thing that a slow machine could move.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.broker import NoBrokerError, running
from tests.incidents import chatbot, recommender, tagger
from tests.incidents.document import markdown
from tests.incidents.house import house
from tests.incidents.player import Pace, Played, Player
from tests.incidents.story import Story

STORIES: dict[str, Callable[[], Story]] = {
    "recommender": recommender.story,
    "tagger": tagger.story,
    "chatbot": chatbot.story,
}
LOGS = ("detect.log", "escalate.log", "ledger.sqlite3")


def play(story: Story, bootstrap: str, folder: Path, pace: Pace | None = None) -> Played:
    """Play one story on a broker; ``folder`` gets logs and ledger."""
    began = time.monotonic()
    with house(bootstrap, f"{story.name}.", folder, story.start) as made:
        played = Player(story, made, pace).play()
    played.seconds = time.monotonic() - began
    return played


def main(arguments: Sequence[str]) -> int:
    """Run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.incidents", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(STORIES))
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write NAME.md there; standard output without")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep logs and ledger there")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in STORIES]
    if unknown:
        parser.error(f"{unknown[0]} is no story; there are {', '.join(STORIES)}")
    try:
        for name in options.names or STORIES:
            _one(name, options.write, options.logs)
    except NoBrokerError as e:
        print(e, file=sys.stderr)  # noqa: T201 - a command
        return 1
    return 0


def _one(name: str, write: Path | None, logs: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="incidents-") as folder:
        place = Path(folder)
        (place / "kafka").mkdir()
        with running(place / "kafka") as broker:
            told = markdown(play(STORIES[name](), broker.plaintext, place))
        if logs is not None:
            (logs / name).mkdir(parents=True, exist_ok=True)
            for log in LOGS:
                shutil.copy(place / log, logs / name / log)
    if write is None:
        print(told)  # noqa: T201 - a command
    else:
        write.mkdir(parents=True, exist_ok=True)
        (write / f"{name}.md").write_text(told, encoding="utf-8")
        print(write / f"{name}.md", file=sys.stderr)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
