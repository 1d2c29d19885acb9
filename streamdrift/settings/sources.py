"""What the TOML file and the environment say: one layer of values each, every value with its place and its origin.

pydantic-settings merges and validates the layers (``load``). Reading them is done here, because its own environment
source reads ``os.environ`` itself, keeps silent about names that it doesn't know, stops at the first value that is not JSON, and
can't say where a value came from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from streamdrift.settings.fields import (
    CONFIG,
    FILE,
    LEAVES,
    PREFIX,
    SECTIONS,
    Leaf,
    Place,
    dotted,
    environment_name,
    is_secret,
    key,
)
from streamdrift.settings.problems import (
    cut,
    meant_in_environment,
    meant_in_file,
    printable,
    problem,
    shown,
)

CONFIG_BYTES_MAX = 1_000_000
SECRET_BYTES_MAX = 65_536

_SERVICE_LINK = re.compile(
    r"STREAMDRIFT(_[A-Z0-9]+)*?_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|PORT=\w+://.*)",
)
"""What Kubernetes sets in every pod beside a Service named ``streamdrift…`` (``enableServiceLinks``); matched against
``NAME``, or ``NAME=value``: only the value tells its ``STREAMDRIFT_PORT`` from a name somebody misspelt."""


class Given(NamedTuple):
    """One value as it was given."""

    value: Any
    origin: str


class Layer:
    """The values of one source, and what was wrong with it.

    Attributes
    ----------
    given
        By place.
    refused
        Places whose value was given but is no good; no second complaint about them is needed.
    """

    def __init__(self, origin: str, root: Path) -> None:
        self.given: dict[Place, Given] = {}
        self.refused: set[Place] = set()
        self.problems: list[str] = []
        self._origin = origin
        self._root = root
        self._twins: set[Place] = set()

    def refuse(self, place: Place, what: str, origin: str, value: Any = None) -> None:
        """Note what is wrong with one setting."""
        self.problems.append(problem(place, what, origin, value))
        self.refused.add(place)

    def put(self, place: Place, value: Any, origin: str) -> None:
        """Take a value, or a table of them, to its place."""
        leaf = LEAVES.get(key(place))
        if leaf is not None:
            self._put_leaf(leaf, place, value, origin)
        elif key(place) in SECTIONS:
            self._put_section(place, value, origin)
        elif _twin_of(place) is not None:
            self._put_twin((*place[:-1], place[-1].removesuffix(FILE)), value, origin)
        elif origin == f"environment {environment_name(place)}":
            self.unknown(environment_name(place), meant_in_environment(environment_name(place)), "environment")
        else:
            self.unknown(dotted(place), meant_in_file(place), origin)

    def unknown(self, name: str, meant: str | None, where: str) -> None:
        """Note a name that is none. Its value is not repeated: it may be a secret under a misspelt name."""
        hint = f"did you mean {printable(meant)}?" if meant else "docs/settings.md lists them all"
        self.problems.append(f"{cut(printable(name))}: there is no such setting; {hint} ({where})")

    def _put_section(self, place: Place, value: Any, origin: str) -> None:
        if isinstance(value, dict):
            for name, below in value.items():
                self.put((*place, name), below, origin)
            return
        example = f"[{dotted(place)}] in the file, or {environment_name(place)}__… in the environment"
        self.problems.append(
            f"{printable(dotted(place))}: is a section and takes no value of its own; use {example} ({origin})",
        )

    def _put_leaf(self, leaf: Leaf, place: Place, value: Any, origin: str) -> None:
        if place in self._twins:
            self._both(place, origin)
        elif "${" in str(value):
            other = "; if it belongs there, give the secret by its _FILE name" if leaf.secret else ""
            self.refuse(
                place, f"has ${{…}} in it, which nothing here fills in; put the value itself{other}", origin, value
            )
        elif leaf.type is not Path and _has_stray_bytes(value):
            self.refuse(place, "is not UTF-8 text", origin, value)
        elif isinstance(value, bool) and leaf.type is not bool:
            self.refuse(place, "is a boolean", origin, value)
        else:
            self.given[place] = Given(value, origin)

    def _put_twin(self, place: Place, value: Any, origin: str) -> None:
        if not is_secret(place):
            self.refuse(place, "can't be given by a file name; only secrets can", origin)
        elif place in self.given or place in self.refused:
            self._both(place, origin)
        elif not isinstance(value, str) or not value or "${" in value:
            self.refuse(place, "its file name is empty, or has ${…} in it; name the file that holds the secret", origin)
        else:
            self._twins.add(place)
            self._read_twin(place, value)

    def _both(self, place: Place, origin: str) -> None:
        self.given.pop(place, None)
        self.refuse(place, "is given both as a value and as a file; keep one of them", origin)

    def _read_twin(self, place: Place, path: str) -> None:
        # A password put under the _FILE name by mistake has no slash, mostly: it is not repeated then.
        try:
            text = read_text(self._root / path, SECRET_BYTES_MAX)
        except ValueError as e:
            name = path if "/" in path else "(its name has no slash and may be the secret itself, so it is not shown)"
            self.refuse(place, f"its file {e}", f"secret file {printable(name)}")
        else:
            self.given[place] = Given(re.sub(r"\r?\n\Z", "", text), f"secret file {printable(path)}")


def read_text(path: Path, bytes_max: int) -> str:
    """Read a small text file.

    Raises
    ------
    ValueError
        What stands in the way, as the end of a sentence.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(bytes_max + 1)
    except FileNotFoundError:
        raise ValueError("does not exist; check the path, and that it is mounted") from None
    except (OSError, ValueError) as e:
        raise ValueError(f"can't be read: {getattr(e, 'strerror', None) or e}") from None
    if len(raw) > bytes_max:
        raise ValueError(f"is larger than {bytes_max} bytes; is it the right one?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ValueError(f"is not UTF-8 text (byte {e.start})") from None


def file_layer(environ: Mapping[str, str], root: Path) -> Layer:
    """Read the TOML file that ``STREAMDRIFT_CONFIG`` names, if it names one."""
    path = environ.get(CONFIG)
    origin = f"file {printable(path or '')}"
    layer = Layer(origin, root)
    if path is None:
        return layer
    try:
        if not path or "${" in path:
            raise ValueError("has no usable name: it is empty or has ${…} in it")  # noqa: TRY301 - one sentence for all
        tree = tomllib.loads(read_text(root / path, CONFIG_BYTES_MAX))
    except tomllib.TOMLDecodeError as e:
        layer.problems.append(f"{CONFIG}: {origin} is not TOML: {printable(str(e))}; mend that line")
    except RecursionError:
        layer.problems.append(f"{CONFIG}: {origin} is nested too deep to be settings")
    except ValueError as e:
        layer.problems.append(f"{CONFIG}: {origin} {e}")
    else:
        for name, value in tree.items():
            layer.put((name,), value, origin)
    return layer


def environment_layer(environ: Mapping[str, str], root: Path) -> Layer:
    """Read every ``STREAMDRIFT_…`` variable; one that sets a single value wins over one that sets a whole section."""
    layer = Layer("environment", root)
    for name in sorted(environ, key=lambda name: (name.count("__"), name)):
        place = tuple(name.removeprefix(PREFIX).lower().split("__"))
        origin = f"environment {printable(name)}"
        if name == CONFIG or _is_service_link(name, environ[name]):
            continue
        if name.startswith(PREFIX) and name == name.upper():
            _put_variable(layer, place, environ[name], origin)
        elif name.upper().startswith(PREFIX) or _nearly_ours(name):
            layer.unknown(name, meant_in_environment(name), "environment")
    return layer


def _put_variable(layer: Layer, place: Place, text: str, origin: str) -> None:
    leaf = LEAVES.get(key(place))
    if (leaf is None or not leaf.is_list) and key(place) not in SECTIONS:
        layer.put(place, text, origin)
        return
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        if leaf is not None:
            layer.refuse(place, f"is not JSON; write it as a JSON list, such as '{_as_list(text)}'", origin, text)
        else:  # not repeated: there may be a secret in it
            below = f"set {environment_name(place)}__… one by one"
            layer.refuse(
                place, f"""is a section: {below}, or give a JSON object, such as '{{"name": "value"}}'""", origin
            )
    else:
        layer.put(place, value, origin)


def _as_list(text: str) -> str:
    """Return what was probably meant by text with commas in it."""
    return cut(shown([part.strip() for part in text.strip("[]() ").split(",") if part.strip()]))


def _is_service_link(name: str, value: str) -> bool:
    return any(_SERVICE_LINK.fullmatch(text) for text in (name, f"{name}={value}"))


def _has_stray_bytes(value: object) -> bool:
    """Tell whether the environment held bytes that are no UTF-8; Python hands them on as lone surrogates."""
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)


def _twin_of(place: Place) -> Leaf | None:
    """Return the setting that the name would be the ``_file`` twin of."""
    return LEAVES.get(key((*place[:-1], place[-1].removesuffix(FILE)))) if place[-1].endswith(FILE) else None


def _nearly_ours(name: str) -> bool:
    """Tell whether the prefix itself is misspelt: one slip leaves one half of it whole, and the rest is a real name."""
    if "STREAM" not in name and "DRIFT" not in name:
        return False
    meant = meant_in_environment(name)
    return meant is not None and meant != name and _one_slip(name, meant)


def _one_slip(one: str, other: str) -> bool:
    """Tell whether one character more, fewer or other turns one into the other.

    >>> _one_slip("STREAMDRFT_", "STREAMDRIFT_"), _one_slip("STREAM_", "STREAMDRIFT_")
    (True, False)
    """
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return any(one[same + i :] == other[same + j :] for i, j in ((0, 1), (1, 0), (1, 1)))
