"""Where a run's results go: checked before hours are spent, written whole, every fault in a sentence."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from streamdrift.errors import InputProblem, SettingsProblem
from streamdrift.transports.files.sink import standard_output

STDIO = "-"
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class PatientConsole(Console):
    """A console whose reader may leave: the run goes on for its files."""

    def on_broken_pipe(self) -> None:
        """Say no more; what is still buffered goes nowhere, for at exit it would fail once more."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def check(inputs: Sequence[str], outputs: Mapping[str, str | None]) -> None:
    """Refuse what would read one thing twice, or write over an input or another output.

    Parameters
    ----------
    outputs
        Name of the option and what it was given. Those of lines, alerts and rejected, may share a file.

    Raises
    ------
    SettingsProblem
        Two of them are one.
    """
    if inputs.count(STDIO) > 1:
        raise SettingsProblem("standard input (-) is named more than once; it can be read only once")
    given = [(name, path) for name, path in outputs.items() if path is not None]
    for n, (name, path) in enumerate(given):
        for read in inputs:
            if _same(path, read):
                raise SettingsProblem(f"--{name} {path} is also an input, which it would overwrite; name another file")
        for other, written in given[:n]:
            if {name, other} != {"alerts", "rejected"} and _same(path, written):
                raise SettingsProblem(f"--{other} and --{name} are both {path}; give each a file of its own")
    mixed = [name for name, path in given if path == STDIO]
    if "report" in mixed and len(mixed) > 1:
        raise SettingsProblem("the report can't share standard output (-) with lines of JSON; name a file for it")


def _same(one: str, two: str) -> bool:
    if STDIO in {one, two}:
        return False
    a, b = Path(one), Path(two)
    try:
        return a.samefile(b) and a.is_file()  # devices, as /dev/null, take any number
    except OSError:
        return a.absolute() == b.absolute()
    except ValueError:  # no name of a file at all: whoever opens it says so
        return False


def writable(path: str | None) -> None:
    """Make sure that a file can be written at the end, its folders made if need be; what is in it stays until then.

    Raises
    ------
    InputProblem
        It can't.
    """
    if path is None:
        return
    if path == STDIO:
        standard_output()
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("ab"):
            pass
    except (OSError, ValueError) as e:
        raise _unwritten(path, e) from None


def write_text(path: str, text: str) -> None:
    """Write a whole file; ``-`` is standard output.

    Raises
    ------
    InputProblem
        It can't be written.
    """
    try:
        if path == STDIO:
            out = standard_output()
            out.write(text)
            out.flush()
        else:
            Path(path).write_text(text, encoding="utf-8")
    except BrokenPipeError:
        raise InputProblem("standard output: whoever read it has gone away; it was not written to its end") from None
    except (OSError, ValueError) as e:
        raise _unwritten(path, e) from None


def _unwritten(path: str, error: OSError | ValueError) -> InputProblem:
    name = "standard output" if path == STDIO else path
    why = str(getattr(error, "strerror", None) or error).lower()
    full = getattr(error, "errno", None) in NO_ROOM
    return InputProblem(f"{name} can't be written: {why}; {'free some space' if full else 'name another file'}")


def console(*, stderr: bool) -> Console:
    """The lines for people: on standard output, but on standard error where that is taken."""
    return PatientConsole(file=sys.stderr if stderr else None, highlight=False)


def width() -> int | None:
    """Columns of the terminal that is written to; None where it is none."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if terminal else None
