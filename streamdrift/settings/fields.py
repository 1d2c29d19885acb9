"""The tree seen as a flat list of settings: their names, and in words what each may be.

A place in the tree is a tuple of names. Below ``overrides`` and ``sources`` the second name is the rule's own; in ``LEAVES``
and ``SECTIONS`` it stands as ``*``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from streamdrift.settings.tree import Settings
from streamdrift.settings.values import COUNT_MAX, LEDGER, URL, Allowed, Section, ledger_secrets, url_tokens

PREFIX = "STREAMDRIFT_"
CONFIG = PREFIX + "CONFIG"
FILE = "_file"
"""Ending of the twin that names a file with the secret in it."""

Place = tuple[str, ...]

RULES = frozenset({"overrides", "sources"})
"""Sections of rules, each under a name of its own."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting.

    Attributes
    ----------
    type
        Without ``None``: ``bool``, ``int``, ``float``, ``str``, ``Path``, ``SecretStr``, ``tuple``.
    allowed
        What it may be, in words.
    text
        What it does, in Markdown.
    """

    place: Place
    type: type
    allowed: str
    default: Any
    text: str

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return self.type is SecretStr

    @property
    def is_url(self) -> bool:
        """Whether it is a URL, whose path or query can hold a token: only its host is shown."""
        return self.allowed == URL.text

    @property
    def is_database(self) -> bool:
        """Whether it may be the URL of a database, with a password: that is not shown, nor is its query."""
        return self.allowed == LEDGER.text

    @property
    def is_list(self) -> bool:
        """Whether the environment gives it as JSON."""
        return self.type is tuple


def key(place: Place) -> Place:
    """The place as ``LEAVES`` and ``SECTIONS`` have it, for any rule.

    >>> key(("overrides", "eu_price", "enabled"))
    ('overrides', '*', 'enabled')
    """
    return (place[0], "*", *place[2:]) if len(place) > 1 and place[0] in RULES else place


def dotted(place: Place) -> str:
    """Return the name as TOML and this documentation have it."""
    return ".".join(place)


def environment_name(place: Place) -> str:
    """Return the name as the environment has it.

    >>> environment_name(("detectors", "adwin", "delta"))
    'STREAMDRIFT_DETECTORS__ADWIN__DELTA'
    """
    return PREFIX + "__".join(place).upper()


def _unwrap(annotation: Any) -> tuple[Any, list[Any]]:
    """Return the type under ``Annotated`` and ``| None``, and what was annotated."""
    if get_origin(annotation) in {Union, UnionType}:
        (annotation,) = (a for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return inner, metadata
    return annotation, []


def _allowed(annotation: Any, metadata: list[Any]) -> str:
    words = [m.text for m in metadata if isinstance(m, Allowed)]
    if words:
        return str(words[-1])
    if annotation is bool:
        return "true or false"
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(get_args(annotation))
    if get_origin(annotation) is tuple:
        return """JSON list of names, such as '["origin","carrier"]'"""
    return ", ".join(["whole number" if annotation is int else "number", *_bounds(metadata)])


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for name, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        limits = (getattr(bound, name) for bound in metadata if hasattr(bound, name))
        yield from (f"{words} {limit}" for limit in limits if limit != COUNT_MAX)


def _leaf(place: Place, field: FieldInfo) -> Leaf:
    annotation, metadata = _unwrap(field.annotation)
    of_type: Any = get_origin(annotation) or annotation
    return Leaf(
        place=place,
        type=str if of_type is Literal else of_type,
        allowed=_allowed(annotation, [*field.metadata, *metadata]),
        default=field.default,
        text=field.description or "",
    )


def _walk(section: type[BaseModel], place: Place) -> Iterator[Leaf | tuple[Place, type[BaseModel]]]:
    yield place, section
    for name, field in section.model_fields.items():
        annotation, _ = _unwrap(field.annotation)
        if get_origin(annotation) is dict:
            yield (*place, name), Section
            yield from _walk(get_args(annotation)[1], (*place, name, "*"))
        elif isinstance(annotation, type) and issubclass(annotation, Section):
            yield from _walk(annotation, (*place, name))
        else:
            yield _leaf((*place, name), field)


_ALL = list(_walk(Settings, ()))
LEAVES: dict[Place, Leaf] = {found.place: found for found in _ALL if isinstance(found, Leaf)}
"""Every setting, in the order of the tree."""
SECTIONS: dict[Place, type[BaseModel]] = dict(found for found in _ALL if not isinstance(found, Leaf))
"""Every branch; the root is the empty place."""


def is_secret(place: Place) -> bool:
    """Tell whether a setting stands there whose value must not be shown."""
    leaf = LEAVES.get(key(place))
    return leaf is not None and leaf.secret


def has_secret(place: Place, value: Any) -> bool:
    """Tell whether this value is the URL of a database with a secret in it.

    >>> has_secret(("escalate", "ledger"), "postgresql+psycopg://me:secret@db.example.com/drift")
    True
    """
    leaf = LEAVES.get(key(place))
    return leaf is not None and leaf.is_database and bool(ledger_secrets(str(value)))


def value_at(settings: Settings, place: Place) -> Any:
    """Return what the tree holds there; ``None`` below a section that an override leaves out."""
    found: Any = settings
    for name in place:
        found = found.get(name) if isinstance(found, dict) else getattr(found, name, None)
    return found


def secret_values(settings: Settings) -> tuple[str, ...]:
    """Return every secret that is set, and what may be one in a URL, for the logs to leave out."""
    values = (value_at(settings, place) for place, leaf in LEAVES.items() if leaf.secret)
    secrets = [value.get_secret_value() for value in values if value is not None]
    for url in [word for secret in secrets for word in secret.split() if "://" in word]:
        secrets += url_tokens(url)
    for place, leaf in LEAVES.items():
        url = value_at(settings, place) if leaf.is_url else None
        if url is not None and url != leaf.default:
            secrets += url_tokens(url)
        if leaf.is_database:
            secrets += ledger_secrets(value_at(settings, place))
    return tuple(secrets)
