"""``python -m streamdrift``, and the ``streamdrift`` command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; return its exit code."""
    from streamdrift.cli import run  # noqa: PLC0415 - `--version` and usage errors need not load numpy

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
