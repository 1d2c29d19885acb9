"""Rows of CSV and Parquet as inference events.

Columns: ``prediction_id``; ``occurred_at``, ``event_time`` or ``timestamp`` (without an offset it is UTC); ``model`` and
``model_version`` (without a model column the file's name is the model's); ``prediction.…`` by dotted name;
``segments.<dimension>``; ``embeddings.<name>``, lists of numbers, in CSV as JSON; every other column is a feature.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from streamdrift.errors import InputProblem
from streamdrift.transports.files.lines import line_lists
from streamdrift.transports.files.streams import FAULTS, Read

TIMES = ("occurred_at", "event_time", "timestamp")
ROWS_AT_A_TIME = 1_024
INT_DIGITS_MAX = 18
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Row = tuple[int, bytes]
"""Line number, and the event as JSON."""


class Columns:
    """Where each column's value goes in the event.

    >>> Columns(["prediction_id", "price", "prediction.score"], "shop").event(["p-1", 2.5, 0.1])
    b'{"model":{"name":"shop"},"prediction_id":"p-1","features":{"price":2.5},"prediction":{"score":0.1}}'
    """

    def __init__(self, names: Sequence[str], model: str) -> None:
        time = next((name for name in TIMES if name in names), None)
        self._model = model
        self._paths = [_path(name, time) for name in names]

    def event(self, values: Sequence[Any]) -> bytes:
        """Return one row's event.

        Raises
        ------
        ValueError
            A value has no form in JSON.
        """
        event: dict[str, Any] = {"model": {"name": self._model}}
        for path, value in zip(self._paths, values, strict=True):
            place = event
            for name in path[:-1]:
                if not isinstance(place.get(name), dict):
                    place[name] = {}
                place = place[name]
            if path[0] in {"segments", "prediction_id", "model"}:
                value = value if value is None else _text(value)  # noqa: PLW2901 - its form in this place
            elif path[0] == "occurred_at":
                value = _time(value)  # noqa: PLW2901
            elif path[0] == "embeddings":
                value = _vector(value)  # noqa: PLW2901
            place[path[-1]] = value
        return orjson.dumps(event, default=_other)


def _path(name: str, time: str | None) -> tuple[str, ...]:
    if name == time:
        return ("occurred_at",)
    if name in {"model", "model_version"}:
        return ("model", "name" if name == "model" else "version")
    if name == "prediction_id":
        return (name,)
    if name.startswith(("segments.", "embeddings.")):
        return tuple(name.split(".", 1))
    if name.startswith("prediction."):
        return tuple(name.split(".", 2))  # a class of prediction.probabilities may have dots in its name
    return ("features", name)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _vector(value: Any) -> Any:
    """A list, also out of its text; anything else is left to the decoder."""
    try:
        return orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        return value


def _time(value: Any) -> Any:
    """A time without an offset is UTC; anything else is left to the decoder."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return value
        return value if moment.tzinfo is not None else moment.replace(tzinfo=UTC).isoformat()
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()
    return value


def _other(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def model_of(path: str) -> str:
    """The model that a table without a model column is about: the file's name without its suffixes.

    >>> model_of("data/flight-delay.csv.gz")
    'flight-delay'
    """
    name = Path(path).name
    for suffix in (".gz", ".zst", ".csv", ".parquet"):
        name = name.removesuffix(suffix)
    return name or "file"


def csv_rows(read: Read, path: str, line_bytes_max: int) -> Iterator[list[Row]]:
    """Yield rows of CSV with a header; numbers and booleans are read as such, an empty field is null.

    A row that is no row of this table is passed on as it is: the decoder rejects it.
    """
    last = [b""]
    rows = csv.reader(_texts(read, line_bytes_max, last))
    columns: Columns | None = None
    batch: list[Row] = []
    while True:
        try:
            fields = next(rows)
        except StopIteration:
            break
        except csv.Error:
            batch.append((rows.line_num, last[0]))
            continue
        except FAULTS:
            yield from _if_any(batch)
            raise
        if columns is None and not fields:
            continue
        if columns is None:
            fields[0] = fields[0].removeprefix("\ufeff")  # spreadsheets write a byte order mark
            columns, width = Columns(fields, model_of(path)), len(fields)
            continue
        batch.append((rows.line_num, _csv_event(columns, fields, last[0]) if len(fields) == width else last[0]))
        if len(batch) >= ROWS_AT_A_TIME:
            yield batch
            batch = []
    yield from _if_any(batch)


def _if_any(batch: list[Row]) -> Iterator[list[Row]]:
    if batch:
        yield batch


def _texts(read: Read, line_bytes_max: int, last: list[bytes]) -> Iterator[str]:
    for lines in line_lists(read, line_bytes_max):
        for line in lines:
            last[0] = line
            yield line.decode("utf-8", "surrogateescape") + "\n"


def _csv_event(columns: Columns, fields: Sequence[str], line: bytes) -> bytes:
    try:
        return columns.event([_value(field) for field in fields])
    except (ValueError, TypeError):  # such as text that is not UTF-8
        return line


def _value(field: str) -> Any:
    """A field as the JSON value that it reads as."""
    if field == "":
        return None
    if field in BOOLEANS:
        return BOOLEANS[field]
    try:
        number = float(field)
    except ValueError:
        return field
    if not math.isfinite(number) or "_" in field:
        return field
    bare = field.lstrip("+-")
    return int(field) if bare.isdecimal() and len(bare) <= INT_DIGITS_MAX else number


def parquet_rows(path: str) -> Iterator[list[Row]]:
    """Yield rows of Parquet; a NaN becomes the text ``NaN``, which counts as an invalid value.

    Raises
    ------
    InputProblem
        The package for it is not installed, or the file is damaged.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional dependency
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise InputProblem(f"{path} is Parquet; to read it: pip install streamdrift[parquet]") from None
    done = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = Columns(file.schema_arrow.names, model_of(path))
            for table in file.iter_batches(batch_size=ROWS_AT_A_TIME):
                values = zip(*(_finite(column.to_pylist()) for column in table.columns), strict=True)
                yield [(done + n, columns.event(row)) for n, row in enumerate(values, 1)]
                done += table.num_rows
    except (pa.ArrowException, OSError, ValueError) as e:
        what = " ".join(str(e).split())[:200]
        raise InputProblem(
            f"{path} is no sound Parquet file ({what}), after row {done}; what came before was used; get it again"
        ) from None


def _finite(values: list[Any]) -> list[Any]:
    return [value if not isinstance(value, float) or math.isfinite(value) else str(value) for value in values]
