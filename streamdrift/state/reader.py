"""Bytes to objects; see ``codec``."""

from __future__ import annotations

import math
import struct
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from streamdrift.state.spec import DTYPES, F64, I64, U16, U32, U64, Damaged, Fields, Spec

_DTYPE = tuple(np.dtype(name) for name in DTYPES)
_NATIVE = {dtype: dtype.newbyteorder("=") for dtype in _DTYPE}


class Reader:
    """Reads one object, with all that it holds."""

    def __init__(
        self, by_name: Mapping[str, Spec], data: bytes, given: object, part: Callable[[int], Any] | None
    ) -> None:
        self._data, self._at, self._given, self._part = data, 0, given, part
        self._memo: list[Any] = []
        self._classes = [self._known(by_name) for _ in range(self._number(U16))]
        self._tags: dict[int, Callable[[], Any]] = {
            ord(tag): read
            for tag, read in {
                "N": lambda: None,
                "T": lambda: True,
                "F": lambda: False,
                "i": lambda: self._number(I64),
                "u": lambda: self._number(U64),
                "d": lambda: self._number(F64),
                "s": lambda: self._bytes(self._number(U32)).decode("utf-8", "surrogatepass"),
                "b": lambda: self._bytes(self._number(U32)),
                "a": self._array,
                "n": self._scalar,
                "t": lambda: tuple(self._list()),
                "l": self._list,
                "q": lambda: deque(maxlen=self._value(), iterable=self._value()),
                "S": lambda: set(self._value()),
                "D": self._dict,
                "C": lambda: Counter(self._dict()),
                "o": self._object,
                "r": lambda: self._memo[self._number(U32)],
                "p": self._apart,
            }.items()
        }

    def read(self) -> Any:
        """Return the object; nothing may be left over."""
        root = self._value()
        if self._at != len(self._data):
            raise Damaged("something stands behind the end")
        return root

    def _known(self, by_name: Mapping[str, Spec]) -> tuple[Spec, tuple[str, ...], Fields]:
        """A class of the table, the attributes that were written, and the values of those that were not yet."""
        name = self._word()
        spec = by_name[name]
        written = tuple(self._word() for _ in range(self._number(U16)))
        missing = [keep for keep in spec.keeps if keep not in written]
        return spec, written, {keep: spec.later[keep] for keep in missing}

    def _word(self) -> str:
        return self._bytes(self._number(U16)).decode()

    def _number(self, form: struct.Struct) -> Any:
        (number,) = form.unpack_from(self._data, self._at)
        self._at += form.size
        return number

    def _bytes(self, n: int) -> bytes:
        found = self._data[self._at : self._at + n]
        if len(found) != n:
            raise Damaged("it ends too early")
        self._at += n
        return found

    def _value(self) -> Any:
        tag = self._data[self._at]
        self._at += 1
        return self._tags[tag]()

    def _list(self) -> list[Any]:
        return [self._value() for _ in range(self._number(U32))]

    def _dict(self) -> dict[Any, Any]:
        return {self._value(): self._value() for _ in range(self._number(U32))}

    def _array(self) -> npt.NDArray[Any]:
        dtype, dimensions = _DTYPE[self._data[self._at]], self._data[self._at + 1]
        self._at += 2
        shape = struct.unpack_from(f"<{dimensions}I", self._data, self._at)
        self._at += 4 * dimensions
        count = math.prod(shape)
        if self._at + count * dtype.itemsize > len(self._data):
            raise Damaged("an array ends too early")
        array = np.frombuffer(self._data, dtype, count, self._at)
        self._at += array.nbytes
        array = array.astype(_NATIVE[dtype], copy=True)
        return array if dimensions == 1 else array.reshape(shape)

    def _scalar(self) -> Any:
        dtype = _DTYPE[self._data[self._at]]
        self._at += 1
        return np.frombuffer(self._bytes(dtype.itemsize), dtype)[0].astype(dtype.newbyteorder("="))

    def _apart(self) -> Any:
        number = self._number(U32)
        if self._part is None:
            raise Damaged(f"part {number} is not at hand")
        return self._part(number)

    def _object(self) -> Any:
        spec, written, later = self._classes[self._number(U16)]
        place = len(self._memo)
        if not spec.is_value:
            self._memo.append(None)
        if spec.make is not None:
            fields = {name: self._value() for name in written}
            made = spec.make(fields | later, self._given)
            if not spec.is_value:
                self._memo[place] = made
            return made
        made = spec.cls.__new__(spec.cls)
        if not spec.is_value:
            self._memo[place] = made
        for name in written:
            value = self._value()
            if name in spec.keeps:
                object.__setattr__(made, name, value)  # a frozen dataclass refuses its own
        for name, value in later.items():
            object.__setattr__(made, name, value)
        if spec.finish is not None:
            spec.finish(made, self._given)
        return made
