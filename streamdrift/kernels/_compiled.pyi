from collections.abc import Sequence
from typing import Any

from streamdrift.blocks.column import Ints
from streamdrift.ports import Headers, Partition, Record

SNAPSHOT_VERSION: int

class Decoder:
    def __init__(
        self,
        event_bytes_max: int,
        features_max: int,
        segments_max: int,
        text_max: int,
        free_text: list[str],
        facts: bool,
        ids: bool,
        cells_max: int,
    ) -> None: ...
    def load_records(self, records: Sequence[Record], begin: int, sources: dict[Partition, int]) -> None: ...
    def load_values(
        self,
        values: list[bytes | None],
        offsets: Ints,
        times: Ints,
        headers: list[Headers] | None,
        source: int,
        replayed: bool,
        /,
    ) -> None: ...
    def run(self, begin: int, end: int, order: int, due: int | None) -> tuple[int, str, int | None, int | None]: ...
    def push(
        self,
        index: int,
        order: int,
        time: int,
        prediction_id: str | None,
        model: str,
        version: str | None,
        segments: dict[str, str],
        signals: dict[str, Any],
        fact: object,
    ) -> int: ...
    def full(self) -> bool: ...
    def take(self) -> list[Any]: ...

def read_batch(
    buffer: bytearray, position: int, count: int, base_offset: int, first_time: int, append_time: int | None
) -> tuple[Ints, Ints, list[bytes | None], list[bytes | None] | None, list[Headers] | None] | None: ...
