"""Re-baseline: orders to forget a reference and to learn it anew, each from a moment of event time on.

An order is a change event of kind ``rebaseline``; its scope says which models, features and segments, an empty one
means all. It acts on a series at the first row of its model and segment whose event time is not before the order's:
so a recording gives the same alerts however it is cut into batches.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator

import numpy as np

from streamdrift.alerts import Alert
from streamdrift.blocks.block import Block
from streamdrift.detect import explain
from streamdrift.detect.explain import Identity
from streamdrift.events.change import Change

Order = Change
"""Of kind ``REBASELINE``."""
TRAFFIC = ("traffic.rate", "traffic.duplicates", "traffic.replays")
"""Features of a model's traffic."""
ORDERS_MAX = 1_000
"""Orders that are kept for series to come; of more, the earliest is let go."""


class Orders:
    """What a bank was told, in event time."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._known: set[str] = set()

    def __contains__(self, order: Order) -> bool:
        return order.change_id in self._known

    def add(self, order: Order) -> bool:
        """Take an order; return whether the earliest was let go for it."""
        crowded = len(self._orders) >= ORDERS_MAX
        if crowded:
            self._known.discard(self._orders.pop(0).change_id)
        self._known.add(order.change_id)
        insort(self._orders, order, key=due)
        return crowded

    def of(self, model: str, segment: dict[str, str]) -> list[Order]:
        """Return those that reach a model and segment, in event time."""
        return [order for order in self._orders if reaches(order, model, segment)]


def due(order: Order) -> tuple[int, str]:
    """Order of orders."""
    return order.time, order.change_id


def reaches(order: Order, model: str, segment: dict[str, str]) -> bool:
    """Whether an order's scope has series of this model and segment in it."""
    named = not order.models or model in order.models
    return named and all(segment.get(dimension) == value for dimension, value in order.segments.items())


def acted(followed: list[str], order: Order) -> None:
    """Note, among the latest ones, that an order was followed."""
    followed.append(order.change_id)
    del followed[:-ORDERS_MAX]


def of_traffic(order: Order) -> bool:
    """Whether an order is for a model's traffic."""
    return any(names(order, feature) for feature in TRAFFIC)


def names(order: Order, feature: str) -> bool:
    """Whether an order is for a feature."""
    return not order.features or feature in order.features


def pieces(waiting: list[Order], rows: Block) -> Iterator[tuple[list[Order], Block]]:
    """Cut a block where orders fall due; yield each piece with the orders that act before its first row.

    Parameters
    ----------
    waiting
        In event time; those that fell due are taken out.
    """
    acting: list[Order] = []
    while waiting:
        at = np.flatnonzero(rows.time >= waiting[0].time)
        if not len(at):
            break
        if at[0]:
            yield acting, rows.take(slice(0, int(at[0])))
            acting, rows = [], rows.take(slice(int(at[0]), None))
        acting.append(waiting.pop(0))
    yield acting, rows


def closing(
    opened: Iterable[tuple[str, Alert]], identity: Identity, order: Order, block: Block, seen: int, share: float
) -> Iterator[Alert]:
    """Resolve open alerts, by lane, at a block's first row: what they were measured by is forgotten."""
    for lane, alert in opened:
        change = explain.forgotten(lane, alert, order.change_id, int(block.time[0]))
        yield explain.alert(identity, change, block, 0, seen, share, alert)
