"""`streamdrift incidents silence`: pages that are expected are withheld, until a time and up to a size."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson

from streamdrift.alerts import digest, rfc3339
from streamdrift.embedded.rebaseline import moment
from streamdrift.errors import SettingsProblem
from streamdrift.escalate.ledger import Ledger
from streamdrift.escalate.routing.matchers import Matcher, parsed
from streamdrift.escalate.routing.quiet import Silence
from streamdrift.escalate.routing.tree import MATCHERS_MAX
from streamdrift.escalate.silences import SILENCES_MAX
from streamdrift.escalate.words import duration, named, number
from streamdrift.settings import Settings

LENGTH_S_MAX = 90 * 86_400.0
"""What is expected for longer is the new normal."""
TEXT_MAX, AUTHOR_MAX, SHOWN_MAX = 1_000, 100, 80
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Silencing:
    """What is asked for, as it was typed.

    Attributes
    ----------
    action
        ``add``, ``list`` or ``end``.
    lasts, until
        One of the two says when it ends.
    everything
        List those that are over, too.
    """

    action: str
    silence: str | None = None
    match: tuple[str, ...] = ()
    lasts: str | None = None
    since: str | None = None
    until: str | None = None
    up_to: float | None = None
    comment: str = ""
    author: str = ""
    everything: bool = False
    as_json: bool = False


def silencing(options: Silencing, settings: Settings, now: float) -> tuple[str, int]:
    """Do what is asked for; return what is to be printed, and the exit code.

    Raises
    ------
    SettingsProblem
        An argument is wrong, or there is no such silence.
    InputProblem
        There is no ledger, or it can't be read or written.
    """
    made = _made(options, now) if options.action == "add" else None
    with closing(Ledger(settings.escalate.ledger, shared=True)) as ledger:
        if made is not None:
            with ledger.transaction():
                if not ledger.silences.add(made, now):
                    raise SettingsProblem(f"there are {SILENCES_MAX} silences that are not over; end some of them")
            return _said([made], now, options, f"{made.silence_id}: added"), 0
        if options.action == "end":
            return _end(ledger, options, now), 0
        found = ledger.silences.all() if options.everything else ledger.silences.lasting(now)
    return _said(found, now, options, "" if found else "there is no silence"), 0


def _end(ledger: Ledger, options: Silencing, now: float) -> str:
    given = (options.silence or "").strip()
    with ledger.transaction():
        found = ledger.silences.beginning_with(given) if given else []
        if len(found) != 1:
            many = f"{len(found)} or more silences begin with {given}" if found else f"there is no silence {given}"
            raise SettingsProblem(f"{many}; `streamdrift incidents silence list` shows them")
        if found[0].over_at <= now:
            raise SettingsProblem(f"silence {found[0].silence_id} is over already")
        ledger.silences.end(found[0].silence_id, now)
    left = f"{found[0].silence_id}: ended; what it withheld and is still open is paged once"
    return _json({"silence_id": found[0].silence_id, "done": "ended"}) if options.as_json else left


# A new one -----------------------------------------------------------------------------------------------------------


def _made(options: Silencing, now: float) -> Silence:
    starts = now if options.since is None else moment(options.since) / 1000
    ends = _ends(options, starts)
    if not starts < ends <= starts + LENGTH_S_MAX or ends <= now:
        raise SettingsProblem(
            f"a silence ends after it begins and after now, and within {LENGTH_S_MAX / 86_400:g} days; for longer, let "
            "the references be learned anew: `streamdrift rebaseline`"
        )
    if options.up_to is not None and not 0 < options.up_to < float("inf"):
        raise SettingsProblem(f"--up-to {options.up_to} is no size of an effect; give a number above 0")
    comment, author = options.comment.strip(), options.author.strip()
    if not comment or len(comment) > TEXT_MAX or not author or len(author) > AUTHOR_MAX:
        raise SettingsProblem(
            f"--comment (up to {TEXT_MAX} characters) says why, and --author (up to {AUTHOR_MAX}) who: whoever is on call reads it"
        )
    match = _matchers(options.match)
    made_id = digest(str(now), author, comment, *map(str, match))[:8]
    return Silence(made_id, match, starts, ends, comment, author, options.up_to)


def _ends(options: Silencing, starts: float) -> float:
    if (options.lasts is None) == (options.until is None):
        raise SettingsProblem("a silence needs an end: give --for, as in --for 2h, or --until")
    if options.until is not None:
        return moment(options.until) / 1000
    form = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", (options.lasts or "").strip())
    if form is None:
        raise SettingsProblem(f"--for {options.lasts} is no time such as 90m, 2h or 3d")
    return starts + float(form[1]) * UNITS[form[2]]


def _matchers(given: tuple[str, ...]) -> tuple[Matcher, ...]:
    if not 0 < len(given) <= MATCHERS_MAX:
        raise SettingsProblem(
            f"--match says what is expected, as in --match model=fraud --match segment=country=DE; 1 to {MATCHERS_MAX}"
        )
    found = []
    for text in given:
        try:
            found.append(parsed(text))
        except ValueError as e:
            raise SettingsProblem(f"--match {named(text, SHOWN_MAX)} {e}") from None
    return tuple(found)


# In words ------------------------------------------------------------------------------------------------------------


def _said(found: list[Silence], now: float, options: Silencing, head: str) -> str:
    if options.as_json:
        return _json([_fields(silence, now) for silence in found])
    return "\n".join([*([head] if head else []), *(_line(silence, now) for silence in found)])


def _line(silence: Silence, now: float) -> str:
    bound = "" if silence.up_to is None else f", up to effect {number(silence.up_to)}"
    what = " ".join(named(str(matcher), SHOWN_MAX) for matcher in silence.match)
    when = {
        "waiting": f"begins in {duration(silence.starts_at - now)}",
        "in force": f"{duration(silence.over_at - now)} left",
        "over": "over",
    }[_state(silence, now)]
    by = f"{named(silence.author, SHOWN_MAX)}: {named(silence.comment, SHOWN_MAX)}"
    return f"{silence.silence_id}  {when}  {what}{bound}  ({by})"


def _state(silence: Silence, now: float) -> str:
    if silence.over_at <= now:
        return "over"
    return "in force" if silence.in_force(now) else "waiting"


def _fields(silence: Silence, now: float) -> dict[str, Any]:
    return {
        "silence_id": silence.silence_id,
        "state": _state(silence, now),
        "match": [str(matcher) for matcher in silence.match],
        "starts_at": rfc3339(round(silence.starts_at * 1000)),
        "ends_at": rfc3339(round(silence.over_at * 1000)),
        "up_to": silence.up_to,
        "comment": silence.comment,
        "author": silence.author,
    }


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
