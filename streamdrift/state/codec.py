"""Objects of known classes as bytes, and back, bit for bit.

A class is known by a ``Spec``: a short name that stays, the attributes that are kept, and those that are not, because they follow
from the rest or are given from outside. Nothing is looked up by what the bytes say but these names, so that reading runs no code
but ours. All numbers are little-endian.

- Floats keep their bits (NaN, -0.0, infinities), arrays their type and shape, dicts their order. Sets are written sorted, so that
  equal states have equal bytes.
- An object that two others share is written once, and shared again when it is read.
- What is large and changes no more (``Spec.part``) can be written apart: whoever writes says where.
- What is written names its classes and their attributes. Attributes that came later have a default, those that went are passed over.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPES = ("<f8", "<i8", "<i4", "<u8", "<u4", "|u1", "|b1", "<i2", "<u2", "<i1", "<f4")
"""Of arrays, by their number. New ones are put behind."""
_NUMBER = {np.dtype(name): number for number, name in enumerate(DTYPES)}
_DTYPE = tuple(np.dtype(name) for name in DTYPES)

_I64, _U64, _F64, _U32, _U16 = (struct.Struct(form) for form in ("<q", "<Q", "<d", "<I", "<H"))
_SIZED = struct.Struct("<cI")


class Unknown(TypeError):
    """An object of a class that no ``Spec`` names, or an array of a type or order that is not foreseen."""


class Damaged(ValueError):
    """Bytes that were not written so."""


Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spec:
    """How objects of a class are kept.

    Attributes
    ----------
    name
        Short, and never to change.
    keeps
        Attributes that are written.
    leaves
        Attributes that are not: given from outside, or following from the rest.
    take
        Returns the values of ``keeps``; the attributes of that name without.
    make
        Makes the object of what was kept and what is given; without it is made of the attributes alone.
    finish
        Gives an object that was made of the attributes those that it ``leaves``.
    later
        Values of attributes that earlier releases did not write.
    part
        Tells which objects may be written apart: those that change no more, and are large.
    is_value
        Whether it is what its attributes are: then it does not matter whether two others share it.
    """

    name: str
    cls: type
    keeps: tuple[str, ...]
    leaves: tuple[str, ...] = ()
    take: Callable[[Any], tuple[Any, ...]] | None = None
    make: Callable[[Fields, Any], Any] | None = None
    finish: Callable[[Any, Any], None] | None = None
    later: Mapping[str, Any] = field(default_factory=dict)
    part: Callable[[Any], bool] | None = None
    is_value: bool = False

    def taken(self) -> Callable[[Any], tuple[Any, ...]]:
        """Return what reads the values of ``keeps``."""
        if self.take is not None:
            return self.take
        if len(self.keeps) == 1:
            only = attrgetter(self.keeps[0])
            return lambda found: (only(found),)
        many: Callable[[Any], tuple[Any, ...]] = attrgetter(*self.keeps)
        return many


class Specs:
    """The classes that are known."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self._by_class = {spec.cls: (spec, spec.taken()) for spec in specs}
        self.by_name = {spec.name: spec for spec, _ in self._by_class.values()}
        if len(self.by_name) != len(self._by_class):
            raise ValueError("two classes have one name")

    def encode(self, root: object, apart: Callable[[object], int] | None = None) -> bytes:
        """Return an object and all that it holds as bytes.

        Parameters
        ----------
        apart
            Given an object that may be written apart; returns the number that it is found by. Without, it is written with the rest.

        Raises
        ------
        Unknown
            Something in it is of no known class.
        """
        return _Writer(self._by_class, apart).write(root)

    def decode(self, data: bytes, given: object, part: Callable[[int], Any] | None = None) -> Any:
        """Return the object again.

        Parameters
        ----------
        given
            Handed to ``Spec.make`` and ``Spec.finish``.
        part
            Returns what was written apart, by its number; the same object each time.

        Raises
        ------
        Damaged
            The bytes were not written by ``encode``, or name a class or an attribute that is not known.
        """
        try:
            return _Reader(self.by_name, data, given, part).read()
        except (struct.error, IndexError, KeyError, UnicodeDecodeError) as e:
            raise Damaged(f"not as it was written: {e!r}") from e


class _Writer:
    def __init__(
        self, by_class: dict[type, tuple[Spec, Callable[[Any], tuple[Any, ...]]]], apart: Callable[[object], int] | None
    ) -> None:
        self._by_class, self._apart = by_class, apart
        self._heads: dict[type, bytes] = {}
        self._used: list[Spec] = []
        self._memo: dict[int, bytes] = {}
        self._alive: list[object] = []
        self._out: list[bytes] = []
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
        self._value(root)
        return self._table() + b"".join(self._out)

    def _table(self) -> bytes:
        """The classes that are written, by their number."""
        parts = [_U16.pack(len(self._used))]
        for spec in self._used:
            parts += [_text(spec.name), _U16.pack(len(spec.keeps)), *map(_text, spec.keeps)]
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
        if -(1 << 63) <= value < 1 << 63:
            self._out.append(b"i" + _I64.pack(value))
        elif 0 <= value < 1 << 64:
            self._out.append(b"u" + _U64.pack(value))
        else:
            raise Unknown(f"an integer of more than 64 bits: {value}")

    def _float(self, value: float) -> None:
        self._out.append(b"d" + _F64.pack(value))

    def _str(self, value: str) -> None:
        data = value.encode("utf-8", "surrogatepass")
        self._out.append(_SIZED.pack(b"s", len(data)) + data)

    def _bytes(self, value: bytes) -> None:
        self._out.append(_SIZED.pack(b"b", len(value)))
        self._out.append(value)

    def _array(self, value: npt.NDArray[Any]) -> None:
        little = value.dtype.newbyteorder("<") if value.dtype.byteorder == ">" else value.dtype
        number = _NUMBER.get(little)
        if number is None:
            raise Unknown(f"an array of {value.dtype}")
        if value.ndim > 1 and not value.flags.c_contiguous:
            raise Unknown(
                "an array whose rows don't lie one behind the other: sums over it would differ in their last bits"
            )
        shape = b"".join(map(_U32.pack, value.shape))
        self._out.append(b"a" + bytes((number, value.ndim)) + shape)
        self._out.append(value.astype(_DTYPE[number], copy=False).tobytes())

    def _scalar(self, value: np.generic) -> None:
        number = _NUMBER[value.dtype]
        self._out.append(b"n" + bytes((number,)) + value.astype(_DTYPE[number]).tobytes())

    def _items(self, tag: bytes) -> Callable[[Any], None]:
        def put(values: tuple[Any, ...] | list[Any]) -> None:
            self._out.append(_SIZED.pack(tag, len(values)))
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
            self._out.append(_SIZED.pack(tag, len(values)))
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
        return lambda value: self._out.append(b"p" + _U32.pack(apart(value))) if is_part(value) else put(value)

    def _object(self, spec: Spec, take: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], None]:
        head = b"o" + _U16.pack(len(self._used))
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
            memo[id(value)] = b"r" + _U32.pack(len(memo))
            alive.append(value)  # as long as it is, no other object has its id
            put_value(value)

        return put_value if spec.is_value else put


def _text(text: str) -> bytes:
    data = text.encode()
    return _U16.pack(len(data)) + data


class _Reader:
    def __init__(
        self, by_name: Mapping[str, Spec], data: bytes, given: object, part: Callable[[int], Any] | None
    ) -> None:
        self._data, self._at, self._given, self._part = data, 0, given, part
        self._memo: list[Any] = []
        self._classes = [self._known(by_name) for _ in range(self._number(_U16))]
        self._tags: dict[int, Callable[[], Any]] = {
            ord(tag): read
            for tag, read in {
                "N": lambda: None,
                "T": lambda: True,
                "F": lambda: False,
                "i": lambda: self._number(_I64),
                "u": lambda: self._number(_U64),
                "d": lambda: self._number(_F64),
                "s": lambda: self._bytes(self._number(_U32)).decode("utf-8", "surrogatepass"),
                "b": lambda: self._bytes(self._number(_U32)),
                "a": self._array,
                "n": self._scalar,
                "t": lambda: tuple(self._list()),
                "l": self._list,
                "q": lambda: deque(maxlen=self._value(), iterable=self._value()),
                "S": lambda: set(self._value()),
                "D": self._dict,
                "C": lambda: Counter(self._dict()),
                "o": self._object,
                "r": lambda: self._memo[self._number(_U32)],
                "p": self._apart,
            }.items()
        }

    def read(self) -> Any:
        root = self._value()
        if self._at != len(self._data):
            raise Damaged("something stands behind the end")
        return root

    def _known(self, by_name: Mapping[str, Spec]) -> tuple[Spec, tuple[str, ...], Fields]:
        """A class of the table, the attributes that were written, and the values of those that were not yet."""
        name = self._word()
        spec = by_name[name]
        written = tuple(self._word() for _ in range(self._number(_U16)))
        missing = [keep for keep in spec.keeps if keep not in written]
        return spec, written, {keep: spec.later[keep] for keep in missing}

    def _word(self) -> str:
        return self._bytes(self._number(_U16)).decode()

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
        return [self._value() for _ in range(self._number(_U32))]

    def _dict(self) -> dict[Any, Any]:
        return {self._value(): self._value() for _ in range(self._number(_U32))}

    def _array(self) -> npt.NDArray[Any]:
        dtype, dimensions = _DTYPE[self._data[self._at]], self._data[self._at + 1]
        self._at += 2
        shape = tuple(self._number(_U32) for _ in range(dimensions))
        count = int(np.prod(shape, dtype=np.int64))
        if self._at + count * dtype.itemsize > len(self._data):
            raise Damaged("an array ends too early")
        array = np.frombuffer(self._data, dtype, count, self._at)
        self._at += array.nbytes
        return array.astype(dtype.newbyteorder("="), copy=True).reshape(shape)

    def _scalar(self) -> Any:
        dtype = _DTYPE[self._data[self._at]]
        self._at += 1
        return np.frombuffer(self._bytes(dtype.itemsize), dtype)[0].astype(dtype.newbyteorder("="))

    def _apart(self) -> Any:
        number = self._number(_U32)
        if self._part is None:
            raise Damaged(f"part {number} is not at hand")
        return self._part(number)

    def _object(self) -> Any:
        spec, written, later = self._classes[self._number(_U16)]
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


def joined(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return one array of what was gathered in several; an empty one of none."""
    return np.concatenate(arrays) if arrays else np.zeros(0)
