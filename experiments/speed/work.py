"""What one step has to do, counted from the shop's own sizes: the basis of every limit."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor

from experiments.speed.machine import FLOAT, Shape, Work
from recgym.lanes import Record
from recgym.simulator import SimState
from recgym.types import Outcome
from recgym.users.lstm import LSTMUserModel
from recgym.worlds.taste import TasteShop


def record_bytes(*records: Record) -> int:
    """Bytes of all tensors of the records; one that several share counts once."""
    found: dict[tuple[int, int], int] = {}

    def add(record: Record) -> None:
        for field in dataclasses.fields(record):  # type: ignore[arg-type]
            value = getattr(record, field.name)
            if isinstance(value, Tensor):
                found[value.data_ptr(), value.numel()] = value.numel() * value.element_size()
            elif isinstance(value, Record):
                add(value)

    for record in records:
        add(record)
    return sum(found.values())


def records_moved(state: SimState, outcome: Outcome) -> int:
    """Bytes that a step reads and writes of its records.

    The shopper's state and the visit are read and written, the outcome is written. The arrival is
    handed on as it is; an encoder that is the shop itself has no state of its own.
    """
    return 2 * record_bytes(state.visit, state.user) + record_bytes(outcome)


def learned_work(model: LSTMUserModel, lanes: int, slots: int, records: int) -> Work:
    """One step of ``lanes`` shoppers of a learned shop with nested organic choice.

    A full softmax over the catalogue is no part of it: a program that scores every item does work
    that the step does not need. Nor is a product of each segment's own query, since a query is the
    shopper's and the segment's. ``records`` are the bytes of `records_moved`.
    """
    inputs, hidden = model.memory.input_size, model.memory.hidden_size  # X, H
    items, embedding = model.tables.vector_ID.shape  # I, D
    categories = model.catalog.num_categories  # C
    classes = model.items.class_taste.shape[0]  # Z
    wide = model.heads.linear.in_features  # W: the state as the heads read it
    segments = model.num_segments  # G
    products: tuple[Shape, ...] = (
        (lanes, inputs + hidden, 4 * hidden),  # the LSTM's gates
        (lanes, wide, model.heads.linear.out_features + 1),  # all heads once a page, and the gap
        (lanes, embedding, categories),  # organic choice: a score for each category
        (lanes, embedding, slots),  # taste for each slot's item
        (lanes, slots, embedding),  # surprises of the slots, summed into one vector
        (lanes, classes, slots),  # organic choice: latent classes for each slot's twin
        (lanes, embedding, 3),  # buy, cart and favourite of the item viewed
        (lanes * slots, embedding, segments),  # what the segments add to the taste for each slot
        (lanes, embedding, 3 * segments),  # and to buy, cart and favourite
    )
    gathered = FLOAT * (
        slots * embedding  # vectors of the page's items
        + embedding  # vector of the item viewed
        + 3 * slots  # their price now, usual price and own effect
        + math.ceil(math.log2(max(items, 2)))  # organic choice: an item by bisection of a table
    )
    return Work(
        products=products,
        moved=float(lanes * gathered + records),
        sigmoids=float(lanes * 3 * hidden),  # input, forget and output gate
        tanhs=float(lanes * 2 * hidden),  # candidate and cell
    )


def true_work(shop: TasteShop, lanes: int, slots: int, records: int) -> Work:
    """The same of the true shop, whose tastes are vectors of a few factors."""
    items, factors = shop.factor.shape  # I, F
    products: tuple[Shape, ...] = (
        (lanes, factors, shop.catalog.num_categories),  # organic choice: a score a category
        (lanes, factors, slots),  # taste for each slot's item
    )
    gathered = FLOAT * (
        slots * factors  # factors of the page's items
        + factors  # and of the item viewed
        + 3 * slots  # their price now, appeal and worth
        + math.ceil(math.log2(max(items, 2)))  # an item by bisection of a table
    )
    return Work(products=products, moved=float(lanes * gathered + records))
