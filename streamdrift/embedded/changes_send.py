"""`streamdrift changes send`: tells of one change, from a pipeline that deploys: on the topic, by the hook, or in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
import urllib3

from streamdrift.alerts import rfc3339
from streamdrift.embedded.outputs import STDIO
from streamdrift.embedded.rebaseline import moment, segment, write
from streamdrift.errors import BrokerProblem, InputProblem, Rejected, SettingsProblem
from streamdrift.events.inference import Limits
from streamdrift.feeds import drafts
from streamdrift.feeds.drafts import Message
from streamdrift.settings import Settings
from streamdrift.settings.problems import cut, printable

PATH = "/v1/changes"
TRIES = 5
ANSWER_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Send:
    """What is told, as it was typed.

    Attributes
    ----------
    hook
        Address of `changes serve`; the topic without.
    changes
        A file to append to, in place of both.
    """

    kind: str
    summary: str
    models: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    change_id: str | None = None
    at: str | None = None
    link: str | None = None
    author: str | None = None
    hook: str | None = None
    changes: str | None = None


def send(options: Send, settings: Settings, now: float, publish: Callable[[bytes, bytes], str]) -> str:
    """Tell of a change; return a line that says what was done.

    Parameters
    ----------
    now
        Seconds since the epoch.
    publish
        Puts value and key on the changes topic, and says where that is.

    Raises
    ------
    SettingsProblem
        An argument is wrong.
    InputProblem
        The file can't be written, or the hook can't be reached or refuses.
    BrokerProblem
        The broker can't be reached, or refuses.
    """
    if options.hook is not None and options.changes is not None:
        raise SettingsProblem("--hook and --changes are two places; give one of them")
    message = composed(options, settings, now)
    if options.hook is not None:
        done = _post(options.hook, message, settings)
    else:
        done = write(message.value, message.key.decode() if message.key else "", options.changes, publish)
    return done if options.changes == STDIO else f"{message.change_id}: {done}"


def composed(options: Send, settings: Settings, now: float) -> Message:
    """Return the change; without an id of its own, each time another.

    Raises
    ------
    SettingsProblem
        An argument is wrong.
    """
    at = rfc3339(round(now * 1000) if options.at is None else moment(options.at))
    segments = {name: value for given in options.segments for name, value in segment(given).items()}
    said = (options.kind, options.summary, *options.models, "", *options.features, "", *options.segments, at)
    change_id = options.change_id or drafts.identity("sent", *said, str(now))
    made = drafts.event(
        change_id,
        at,
        options.kind,
        options.summary,
        models=options.models,
        features=options.features,
        segments=segments,
        link=options.link,
        author=options.author,
    )
    try:
        return drafts.made(made, Limits.of(settings), now)
    except Rejected as e:
        raise SettingsProblem(f"this is no change: {e.detail}") from None


def _post(hook: str, message: Message, settings: Settings) -> str:
    parts = urlsplit(hook)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise SettingsProblem("--hook is not a URL that begins with https:// or http://, without a password in it")
    if settings.changes.token is None:
        raise SettingsProblem("--hook needs the token of `changes serve`; set STREAMDRIFT_CHANGES__TOKEN_FILE")
    address = f"{hook.rstrip('/')}{PATH}"
    headers = {
        "Authorization": f"Bearer {settings.changes.token.get_secret_value()}",
        "Content-Type": "application/json",
    }
    patience = urllib3.Timeout(connect=5.0, read=settings.changes.publish_timeout_s + 10)
    again = urllib3.Retry(
        TRIES, redirect=0, status_forcelist=(429, 503), allowed_methods=None, backoff_factor=0.5, raise_on_status=False
    )  # twice is as once: the change has an id
    try:
        with urllib3.PoolManager() as pool:
            answer = pool.request(
                "POST", address, body=message.value, headers=headers, timeout=patience, retries=again, redirect=False
            )
    except urllib3.exceptions.HTTPError as e:
        why = type(e.reason if isinstance(e, urllib3.exceptions.MaxRetryError) and e.reason else e).__name__
        raise InputProblem(
            f"the hook at {parts.hostname} can't be reached: {why}; correct --hook, or try again"
        ) from None
    if answer.status != 202:
        said = f"the hook at {parts.hostname} answered HTTP {answer.status}: {_why(answer.data)}"
        raise BrokerProblem(said) if answer.status == 503 else InputProblem(said)
    return f"taken by the hook at {parts.hostname}"


def _why(data: bytes) -> str:
    """What the answer says, as far as it is the hook's."""
    try:
        told: Mapping[str, Any] = orjson.loads(data[:ANSWER_BYTES_MAX])["error"]
        return cut(printable(str(told["detail"])))
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return "it doesn't seem to be `streamdrift changes serve`"
