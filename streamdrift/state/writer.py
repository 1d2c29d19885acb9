"""Objects to bytes; see ``codec``."""

from __future__ import annotations

import struct
import sys
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from streamdrift.state.spec import DTYPES, F64, I64, SIZED, U16, U32, U64, Spec, Unknown

LITTLE = sys.byteorder == "little"
_DTYPE = tuple(np.dtype(name) for name in DTYPES)
_NUMBER = {dtype.newbyteorder("="): number for number, dtype in enumerate(_DTYPE)}


class Writer:
    """Writes one object, with all that it holds."""

    def __init__(
        self, by_class: dict[type, tuple[Spec, Callable[[Any], tuple[Any, ...]]]], apart: Callable[[object], int] | None
    ) -> None:
        self._by_class, self._apart = by_class, apart
        self._used: list[Spec] = []
        self._memo: dict[int, bytes] = {}
        self._alive: list[object] = []
        self._out: list[bytes] = []
        self._shapes: dict[tuple[np.dtype[Any], tuple[int, ...]], bytes] = {}
        self._put: dict[type, Callable[[Any], None]] = {
            type(None): self._constant(b"N"),
            bool: self._bool,
            int: self._int,
            float: self._float,
            str: self._str,
            bytes: self._bytes,
            np.ndarray: self._array,
            np.float64: self._scalar,
            np.int64: self._scalar,
            np.bool_: self._scalar,
            tuple: self._items(b"t"),
            list: self._items(b"l"),
            deque: self._deque,
            set: self._set,
            dict: self._dict(b"D"),
            Counter: self._dict(b"C"),
        }

    def write(self, root: object) -> bytes:
        """Return the object as bytes, behind the table of its classes."""
        self._value(root)
        return self._table() + b"".join(self._out)

    def _table(self) -> bytes:
        """The classes that are written, by their number."""
        parts = [U16.pack(len(self._used))]
        for spec in self._used:
            parts += [_text(spec.name), U16.pack(len(spec.keeps)), *map(_text, spec.keeps)]
        return b"".join(parts)

    def _value(self, value: Any) -> None:
        put = self._put.get(type(value))
        if put is None:
            put = self._put[type(value)] = self._class(type(value))
        put(value)

    def _constant(self, tag: bytes) -> Callable[[Any], None]:
        return lambda _: self._out.append(tag)

    def _bool(self, value: bool) -> None:
        self._out.append(b"T" if value else b"F")

    def _int(self, value: int) -> None:
        try:
            self._out.append(b"i" + I64.pack(value))
        except struct.error:
            self._large(value)

    def _large(self, value: int) -> None:
        if 0 <= value < 1 << 64:
            self._out.append(b"u" + U64.pack(value))
        else:
            raise Unknown(f"an integer of more than 64 bits: {value}")

    def _float(self, value: float) -> None:
        self._out.append(b"d" + F64.pack(value))

    def _str(self, value: str) -> None:
        data = value.encode("utf-8", "surrogatepass")
        self._out.append(SIZED.pack(b"s", len(data)) + data)

    def _bytes(self, value: bytes) -> None:
        self._out.append(SIZED.pack(b"b", len(value)))
        self._out.append(value)

    def _array(self, value: npt.NDArray[Any]) -> None:
        kind = value.dtype, value.shape
        head = self._shapes.get(kind)
        if head is None:
            head = self._shapes[kind] = self._shape(value)
        if value.ndim > 1 and not value.flags.c_contiguous:
            raise Unknown(
                "an array whose rows don't lie one behind the other: sums over it would differ in their last bits"
            )
        self._out.append(head)
        self._out.append((value if LITTLE else value.astype(value.dtype.newbyteorder("<"))).tobytes())

    @staticmethod
    def _shape(value: npt.NDArray[Any]) -> bytes:
        """Tag, type and shape of an array."""
        number = _NUMBER.get(value.dtype.newbyteorder("="))
        if number is None or value.dtype.byteorder == (">" if LITTLE else "<"):
            raise Unknown(f"an array of {value.dtype}")
        return b"a" + bytes((number, value.ndim)) + b"".join(map(U32.pack, value.shape))

    def _scalar(self, value: np.generic) -> None:
        number = _NUMBER[value.dtype.newbyteorder("=")]
        self._out.append(b"n" + bytes((number,)) + value.astype(_DTYPE[number]).tobytes())

    def _items(self, tag: bytes) -> Callable[[Any], None]:
        def put(values: tuple[Any, ...] | list[Any]) -> None:
            self._out.append(SIZED.pack(tag, len(values)))
            known = self._put
            for value in values:
                (known.get(type(value)) or self._value)(value)

        return put

    def _deque(self, values: deque[Any]) -> None:
        self._out.append(b"q")
        self._value(values.maxlen)
        self._value(tuple(values))

    def _set(self, values: set[Any]) -> None:
        self._out.append(b"S")
        self._value(tuple(sorted(values)))

    def _dict(self, tag: bytes) -> Callable[[Any], None]:
        def put(values: dict[Any, Any]) -> None:
            self._out.append(SIZED.pack(tag, len(values)))
            for key, value in values.items():
                self._value(key)
                self._value(value)

        return put

    def _class(self, cls: type) -> Callable[[Any], None]:
        if cls not in self._by_class:
            raise Unknown(f"an object of {cls.__module__}.{cls.__qualname__}: no Spec has it")
        spec, take = self._by_class[cls]
        put = self._object(spec, take)
        if spec.part is None or self._apart is None:
            return put
        apart, is_part = self._apart, spec.part
        return lambda value: self._out.append(b"p" + U32.pack(apart(value))) if is_part(value) else put(value)

    def _object(self, spec: Spec, take: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], None]:
        head = b"o" + U16.pack(len(self._used))
        self._used.append(spec)
        memo, out, known, slow, alive = self._memo, self._out, self._put, self._value, self._alive

        def put_value(value: Any) -> None:
            out.append(head)
            for one in take(value):
                (known.get(type(one)) or slow)(one)

        def put(value: Any) -> None:
            again = memo.get(id(value))
            if again is not None:
                out.append(again)
                return
            memo[id(value)] = b"r" + U32.pack(len(memo))
            alive.append(value)  # as long as it is, no other object has its id
            put_value(value)

        return put_value if spec.is_value else put


def _text(text: str) -> bytes:
    data = text.encode()
    return U16.pack(len(data)) + data
