"""Pictures of one alert, then against now: histograms, categories, shares. SVG and HTML without scripts.

Text is never inside a scaled SVG, so that it keeps its size on a narrow screen.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from streamdrift.alerts import Alert
from streamdrift.escalate.words import number
from streamdrift.report.markup import Markup, label, tag
from streamdrift.report.words import percent

CATEGORIES_MAX = 8
HEIGHT = 100.0
SHARES = (("null_rate", "null"), ("invalid_rate", "invalid"), ("unseen_rate", "new categories"), ("share", "of events"))


def figure(alert: Alert) -> Markup | None:
    """Then and now as a picture; ``None`` where the alert says too little for one."""
    then, now = alert.reference, alert.current
    drawn: Markup | None = None
    if _binned(then) and _binned(now) and len(_counts(then)) == len(_counts(now)):
        drawn = _histogram(then, now)
    elif _named(then) and _named(now):
        drawn = _categories(then["categories"], now["categories"])
    bars = _shares(then, now)
    if drawn is None and bars is None:
        return None
    return tag(
        "figure",
        tag("figcaption", tag("b", label(alert.feature)), " ", tag("span", _place(alert), class_="where")),
        _legend(then, now),
        drawn,
        bars,
        class_="then-now",
    )


def _place(alert: Alert) -> str:
    return label(", ".join(f"{k}={v}" for k, v in sorted(alert.segment.items()))) or "all traffic"


def _legend(then: dict[str, Any], now: dict[str, Any]) -> Markup:
    return tag("p", (_key(name, side) for name, side in (("then", then), ("now", now))), class_="legend")


def _key(name: str, side: dict[str, Any]) -> Markup:
    facts = [f"n\u00a0=\u00a0{number(side.get('n'))}"]
    if side.get("mean") is not None:
        facts.append(f"mean\u00a0{number(side['mean'])}")
    if side.get("sd") is not None:
        facts.append(f"sd\u00a0{number(side['sd'])}")
    return tag("span", tag("i", class_=name), tag("b", name), " ", " · ".join(facts))


# Histograms ----------------------------------------------------------------------------------------------------------


def _binned(side: dict[str, Any]) -> bool:
    h = side.get("histogram")
    return (
        isinstance(h, dict)
        and isinstance(h.get("edges"), list)
        and isinstance(h.get("counts"), list)
        and len(h["edges"]) >= 2
        and len(h["counts"]) == len(h["edges"]) + 1
    )


def _counts(side: dict[str, Any]) -> list[float]:
    return [float(count) for count in side["histogram"]["counts"]]


def _histogram(then: dict[str, Any], now: dict[str, Any]) -> Markup:
    """Overlaid steps. The two outermost bins are open: all that lies below and above."""
    edges = then["histogram"]["edges"]
    before, after = _as_shares(_counts(then)), _as_shares(_counts(now))
    top = max(*before, *after, 1e-9)
    plot = tag(
        "svg",
        tag("path", d=_steps(before, top, closed=True), class_="then"),
        tag("path", d=_steps(after, top, closed=True), class_="now-area"),
        tag("path", d=_steps(after, top, closed=False), class_="now"),
        _open_ends(len(before)),
        _titles(edges, before, after),
        viewBox=f"0 0 {len(before)} {HEIGHT:.0f}",
        preserveAspectRatio="none",
        role="img",
        aria_label="histogram, then and now",
    )
    return tag(
        "div",
        tag("div", tag("span", percent(top), class_="top"), plot, class_="plot"),
        _axis(edges),
        class_="histogram",
    )


def _as_shares(counts: list[float]) -> list[float]:
    total = sum(counts)
    return [count / total if total > 0 else 0.0 for count in counts]


def _steps(shares: list[float], top: float, *, closed: bool) -> str:
    heights = [HEIGHT - 96 * share / top for share in shares]
    parts = [f"M0 {HEIGHT:.0f}V{heights[0]:.2f}" if closed else f"M0 {heights[0]:.2f}"]
    parts += [f"H{i + 1}V{following:.2f}" for i, (_, following) in enumerate(pairwise(heights))]
    parts.append(f"H{len(heights)}" + (f"V{HEIGHT:.0f}Z" if closed else ""))
    return "".join(parts)


def _open_ends(bins: int) -> list[Markup]:
    return [tag("line", x1=x, x2=x, y1=0, y2=100, class_="open") for x in (1, bins - 1)]


def _titles(edges: list[float], before: list[float], after: list[float]) -> list[Markup]:
    names = [f"below {number(edges[0])}"]
    names += [f"{number(low)} to {number(high)}" for low, high in pairwise(edges)]
    names.append(f"above {number(edges[-1])}")
    return [
        tag(
            "rect",
            tag("title", f"{name}: then {percent(was)}, now {percent(is_)}"),
            x=i,
            y=0,
            width=1,
            height=100,
            class_="hover",
        )
        for i, (name, was, is_) in enumerate(zip(names, before, after, strict=True))
    ]


def _axis(edges: list[float]) -> Markup:
    bins = len(edges) + 1
    places = [(1, edges[0]), (1 + (len(edges) - 1) / 2, (edges[0] + edges[-1]) / 2), (bins - 1, edges[-1])]
    marks = (tag("span", number(value), style=f"left:{100 * x / bins:.2f}%") for x, value in places)
    return tag("div", marks, class_="axis")


# Categories and shares -----------------------------------------------------------------------------------------------


def _named(side: dict[str, Any]) -> bool:
    return isinstance(side.get("categories"), dict) and bool(side["categories"])


def _categories(then: dict[str, float], now: dict[str, float]) -> Markup:
    """The categories that moved most; the rest is counted."""
    names = sorted(then.keys() | now.keys(), key=lambda n: (-abs(_share(now, n) - _share(then, n)), n))
    shown = sorted(names[:CATEGORIES_MAX], key=lambda n: (-max(_share(then, n), _share(now, n)), n))
    top = max([_share(then, n) for n in shown] + [_share(now, n) for n in shown] + [1e-9])
    rows = [_pair(label(name), _share(then, name), _share(now, name), top) for name in shown]
    rest = len(names) - len(shown)
    more = tag("p", f"and {rest} more that moved less", class_="more") if rest else None
    return tag("div", rows, more, class_="bars")


def _share(shares: dict[str, float], name: str) -> float:
    value = shares.get(name, 0.0)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _shares(then: dict[str, Any], now: dict[str, Any]) -> Markup | None:
    rows = []
    for key, name in SHARES:
        was, is_ = _share(then, key), _share(now, key)
        if key in then and key in now and (was or is_):
            top = max(was, is_) if key == "share" else max(0.25, was, is_)
            rows.append(_pair(name, was, is_, top))
    if "rate" in now:
        was, is_ = _share(then, "rate"), _share(now, "rate")
        rows.append(_pair("events per second", was, is_, max(was, is_, 1e-9), plain=True))
    return tag("div", rows, class_="bars") if rows else None


def _pair(name: str, was: float, is_: float, top: float, *, plain: bool = False) -> Markup:
    """Two bars, one over the other."""
    return tag(
        "div",
        tag("span", name, class_="name"),
        _bar("then", was, top, plain),
        _bar("now", is_, top, plain),
        class_="pair",
    )


def _bar(side: str, share: float, top: float, plain: bool) -> Markup:
    width = min(100.0, max(0.0, 100 * share / top))
    written = number(share) if plain else percent(share)
    return tag(
        "span",
        tag("i", style=f"width:{width:.1f}%", class_=side),
        tag("span", written),
        class_="bar",
        title=f"{side}: {written}",
    )
