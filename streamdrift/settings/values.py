"""The kinds of value a setting may have, each with what it allows in words."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

COUNT_MAX = 2**31 - 1
"""Kafka's own limit on sizes, and what every array index below us takes."""


class Section(BaseModel):
    """A branch of the tree: frozen, and a name it doesn't know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a value may be, in words; for the reference page and for error messages."""

    text: str


def _name(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value


def _path(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty")
    return value


def _plain_path(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("is empty; leave the name out altogether if there is none")
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text.startswith("whsec_"):
        try:
            b64decode(text.removeprefix("whsec_"), validate=True)
        except ValueError:
            raise ValueError("what follows whsec_ is not base64") from None
    return value


def _topic(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in {".", ".."}:
        raise ValueError("is no name that Kafka takes")
    return value


def _instance(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", value) or value in {".", ".."}:
        raise ValueError("is no name that Kafka takes for a member of a group")
    return value


def _servers(value: str) -> str:
    if "@" in value:
        raise ValueError("has a user or password in it; give those as sasl_username and sasl_password")
    for server in value.split(","):
        match = re.fullmatch(r"\s*(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})\s*", server)
        if match is None or not 1 <= int(match[1]) <= 65_535:
            raise ValueError(f"{server.strip()!r} is not host:port")
    return value


URL = Allowed("https:// or http:// URL without a password")
TOKEN_LENGTH_MIN = 8
"""Shorter parts of a URL's path or query are words."""


def url_tokens(url: str) -> list[str]:
    """Return the parts of a URL that may be a token: path, query, and each longer part of them.

    >>> url_tokens("https://hooks.example.com/T1/B1/abcdefgh?key=ijklmnop")
    ['/T1/B1/abcdefgh', 'key=ijklmnop', 'abcdefgh', 'ijklmnop']
    """
    parts = urlsplit(url)
    pieces = [piece for piece in re.split("[/&=]", f"{parts.path}/{parts.query}") if len(piece) >= TOKEN_LENGTH_MIN]
    return [text for text in (parts.path, parts.query, *pieces) if len(text) > 1]


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError("is not a URL that begins with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("has a password in it, which would not be sent and shows up in logs")
    return value


LEDGER = Allowed("path, sqlite:///path, or postgresql+psycopg://user@host/database")


def _ledger(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    scheme, is_url, rest = value.partition("://")
    if not is_url:
        return value
    if scheme == "sqlite":
        if not rest.startswith("/") or not rest[1:] or "?" in rest:
            raise ValueError("is no sqlite:///path; a path from the root has four slashes")
    elif scheme in {"postgresql", "postgresql+psycopg"}:
        _database_url(value)
    else:
        raise ValueError("is a URL of something that the ledger can't be in")
    return value


def _database_url(value: str) -> None:
    try:
        parts = urlsplit(value)
        fine = not parts.port or parts.port > 0
    except ValueError:
        fine = False
    if not fine or not parts.path.strip("/") or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError("is no postgresql+psycopg://user@host/database")


def ledger_secrets(ledger: str) -> list[str]:
    """Return what in the URL of a ledger may be secret: the password, as it stands and decoded, and what its query gives.

    >>> ledger_secrets("postgresql+psycopg://me:a%2Fb@db.example.com/drift?sslpassword=key")
    ['a%2Fb', 'a/b', 'key']
    """
    if not ledger.startswith("postgresql"):
        return []
    parts = urlsplit(ledger)
    given = [parts.password or "", unquote(parts.password or "")]
    given += [value for name, value in parse_qsl(parts.query) if "password" in name]
    return [text for text in dict.fromkeys(given) if text]


def _channel(value: str) -> str:
    if not re.fullmatch(r"[CDGU][A-Z0-9]{6,30}", value):
        raise ValueError("is no id of a channel; a message can't be updated by the channel's name")
    return value


def _project(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{1,30}", value):
        raise ValueError("is no key of a project, such as OPS")
    return value


def _mail_address(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", value):
        raise ValueError("is no mail address without a name before it")
    return value


def _header(value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > HEADER_LENGTH_MAX:
        raise ValueError("is no name on one line")
    return value


HEADER_LENGTH_MAX = 100


def _segment(value: str) -> str:
    dimension, equals, _ = value.partition("=")
    if value and not (dimension and equals):
        raise ValueError("is not dimension=value")
    return value


def _tier(value: str) -> str:
    pattern, _, number = value.rpartition("=")
    if not pattern.strip() or number not in {"1", "2", "3"}:
        raise ValueError("is no pattern=tier, as in fraud-*=1; tiers are 1, 2 and 3")
    return value


def _rule_id(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", value):
        raise ValueError(
            "is no rule name: use lower-case letters and digits with single '_' between them, and put the names that it "
            "is for in its model, feature and segment",
        )
    return value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, AfterValidator(_name), Allowed("text, not empty")]
FilePath = Annotated[Path, BeforeValidator(_path), Allowed("path")]
Secret = Annotated[SecretStr, AfterValidator(_secret), Allowed("text, not empty")]
SigningSecret = Annotated[Secret, AfterValidator(_signing_secret), Allowed("text, or whsec_ and base64")]
TopicName = Annotated[str, AfterValidator(_topic), Allowed("1 to 249 letters, digits, '.', '_', '-'")]
InstanceName = Annotated[str, AfterValidator(_instance), Allowed("1 to 200 letters, digits, '.', '_', '-'")]
Servers = Annotated[str, AfterValidator(_servers), Allowed("host:port, several with commas between them")]
Url = Annotated[str, AfterValidator(_url), URL]
Ledger = Annotated[str, BeforeValidator(_plain_path), AfterValidator(_ledger), LEDGER]
Channel = Annotated[str, AfterValidator(_channel), Allowed("id of a channel, such as C0123456789")]
ProjectKey = Annotated[str, AfterValidator(_project), Allowed("key of a project, such as OPS")]
MailAddress = Annotated[str, AfterValidator(_mail_address), Allowed("mail address")]
Header = Annotated[str, AfterValidator(_header), Allowed("text on one line, not empty")]
SegmentName = Annotated[str, AfterValidator(_segment), Allowed("dimension=value, or empty text for all traffic")]
TierRule = Annotated[str, AfterValidator(_tier)]
Tiers = Annotated[tuple[TierRule, ...], Allowed("""JSON list of pattern=tier, such as '["fraud-*=1","*-test=3"]'""")]
RuleId = Annotated[str, AfterValidator(_rule_id)]

Findings = Iterator[tuple[str, str]]
"""What is wrong between fields: the field to change (dotted, from the section that says so), and a sentence."""


def refuse(findings: Findings) -> None:
    """Raise every finding as one validation error, which ``load`` takes apart again."""
    found = list(findings)
    if found:
        text = "; ".join(f"{field} {sentence}" for field, sentence in found)
        raise PydanticCustomError("rule", "{text}", {"text": text, "findings": found})
