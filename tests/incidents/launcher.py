"""streamdrift's command line in a process whose wall clock is the story's.

    STORY_CLOCK=FILE python tests/incidents/launcher.py escalate

The file has the story's time, seconds since the epoch; from when it was written on the clock goes on as all clocks do. So what goes by
the wall clock (the age guard, acknowledgements, steps, silences) is as it would have been on the day, and no setting is other than
in production. Time-outs go by the monotonic clock, which is the real one.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


class StoryTime:
    """Reads the story's time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> float:
        """Seconds since the epoch."""
        told, since = self._path.read_text(encoding="ascii").split()
        return float(told) + max(0.0, time.time() - float(since))

    def set(self, now: float) -> None:
        """Move it, for all processes at once."""
        partial = self._path.with_suffix(".new")
        partial.write_text(f"{now} {time.time()}", encoding="ascii")
        partial.replace(self._path)


def main() -> int:
    """Run the command line."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from streamdrift import app, cli

    story = StoryTime(Path(os.environ["STORY_CLOCK"]))

    class Clock(app.SystemClock):
        def now(self) -> float:
            return story.now()

    app.SystemClock = Clock  # type: ignore[misc] # the one place that makes clocks
    return cli.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
