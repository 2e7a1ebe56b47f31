"""Small records of sessions, written by hand, and shops that play them."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from simulated_log import logging_policy

from recgym.fidelity.counts import blocks_of
from recgym.fidelity.frame import Frame, make_frame
from recgym.fidelity.score import Sides, make_plan
from recgym.fidelity.trace import Trace, of_shop
from recgym.types import After, Catalog, Event, Kind, Page, Sessions, Split
from recgym.worlds.taste import TasteShop

# kind, item, after, price, paid, gap
Step = tuple[Kind, int, After, float, float, float]
LEAVE: Step = (Kind.LEAVE, -1, After.NOTHING, 0.0, 0.0, 0.0)


def view(item: int, price: float = 10.0, after: After = After.NOTHING, gap: float = 10.0) -> Step:
    """A view of an item found alone; what is bought at once is paid at its price."""
    paid = price if after == After.BUY else 0.0
    return (Kind.VIEW, item, after, price, paid, gap)


def checkout(paid: float, gap: float = 10.0) -> Step:
    """Payment of the cart."""
    return (Kind.CHECKOUT, -1, After.NOTHING, 0.0, paid, gap)


def trace_of(*sessions: list[Step], shoppers: list[int] | None = None) -> Trace:
    """Sessions of these steps, each closed by leaving."""
    closed = [[*steps, LEAVE] for steps in sessions]
    rows = [step for steps in closed for step in steps]
    length = torch.tensor([len(steps) for steps in closed])
    first = set((length.cumsum(0) - length).tolist())
    kind, item, after, price, paid, gap = zip(*rows, strict=True)
    count, size = len(rows), len(closed)
    carted = [float(x >= After.CART) for x in after]
    event = Event(
        kind=torch.tensor([int(x) for x in kind]),
        item=torch.tensor(item),
        slot=torch.full((count,), -1),
        after=torch.tensor([int(x) for x in after]),
        price=torch.tensor(price),
        quantity=torch.tensor(carted),
        gap=torch.tensor([0.0 if i in first else x for i, x in enumerate(gap)]),
    )
    held = Sessions(
        event=event,
        page=Page(torch.zeros(count, 0, dtype=torch.int64), torch.zeros(count, 0)),
        time_ms=torch.arange(count) * 1000,
        offset=torch.cat([torch.zeros(1, dtype=torch.int64), length.cumsum(0)]),
        shopper=torch.tensor(shoppers if shoppers is not None else list(range(size))),
        profile=torch.zeros(size, 0),
        split=torch.full((size,), int(Split.TEST)),
    )
    return Trace(held, np.array(paid))


def catalog_of(*category: int, price: float = 10.0) -> Catalog:
    """Items of these categories at one price."""
    size = len(category)
    return Catalog(
        torch.full((1, size), price), torch.tensor(category), torch.zeros(size, 1), 0,
        max(category) + 1,
    )  # fmt: skip


def frame_of(trace: Trace, *category: int) -> Frame:
    """What both sides are counted against, all of it from one record."""
    return make_frame(trace, trace, catalog_of(*category))


def played(num_sessions: int, first_seed: int, *, num_items: int = 40) -> tuple[Trace, TasteShop]:
    """Fresh sessions of a small true shop under its logging policy."""
    shop = TasteShop(num_items=num_items)
    return of_shop(shop, logging_policy(shop, 3), 3, num_sessions, first_seed), shop


def sides_of(simulated: Trace, real: Trace, catalog: Catalog, training: Trace) -> Sides:
    """Two records ready for scoring, against a true shop's targets."""
    rng = np.random.default_rng(0)
    blocks = blocks_of(simulated, rng), blocks_of(real, rng)
    plan = make_plan(int(blocks[1].max()) + 1, int(blocks[0].max()) + 1, 40, 60, 0)
    return Sides(simulated, real, *blocks, make_frame(real, training, catalog), plan, True)


def changed(trace: Trace, **columns: torch.Tensor) -> Trace:
    """The same sessions with other columns of their events."""
    event = dataclasses.replace(trace.sessions.event, **columns)
    return Trace(dataclasses.replace(trace.sessions, event=event), trace.paid)
