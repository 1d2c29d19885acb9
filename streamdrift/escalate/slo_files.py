"""The objectives of the settings' OpenSLO files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from streamdrift.errors import SettingsProblem
from streamdrift.slo.document import FILE_BYTES_MAX
from streamdrift.slo.openslo import Read, read


def load(paths: Iterable[Path | str]) -> Read:
    """Read OpenSLO files.

    Raises
    ------
    SettingsProblem
        One can't be read, or is wrong.
    """
    return read([(str(path), _bytes(Path(path))) for path in paths])


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as e:
        why = str(getattr(e, "strerror", None) or e).lower()
        raise SettingsProblem(f"the OpenSLO file {path} can't be read: {why}; correct slo.files") from None
