"""What the statistics are made of: columns of counts, added up over sessions.

A statistic is a function of two such vectors, the simulated and the real one. They are kept by
block of shoppers, so that halving and resampling are products of matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from recgym.fidelity.frame import (
    NUM_DECILES,
    NUM_SEGMENTS,
    Frame,
    baskets,
    checkout_of,
    purchase_lines,
)
from recgym.fidelity.trace import Bools, Floats, Ints, Trace
from recgym.types import After, Kind

NUM_BLOCKS = 400  # as in `recgym.metrics`: enough for quantiles, few enough to resample at once
LONGEST = 200  # views: longer sessions share one column
GAP_STEP = 0.01  # of log seconds, the width of a column
GAP_COLUMNS = 2000  # up to e^20 seconds
NUM_TYPES = 7  # of `event_types`
LONGEST_LAG = 100


@dataclass(frozen=True)
class Counts:
    """Contributions of sessions to J columns, n of them."""

    owner: Ints  # [n] session
    column: Ints  # [n] in [0, J)
    weight: Floats  # [n]
    size: int  # J
    page: Ints | None = None  # [n] page of the session, from 0; None where it belongs to none

    def on_pages(self, first: int, last: int) -> Counts:
        """Only those of the pages ``first`` to ``last``, counted from 1."""
        assert self.page is not None
        chosen = (self.page >= first - 1) & (self.page < last)
        return replace(
            self,
            owner=self.owner[chosen],
            column=self.column[chosen],
            weight=self.weight[chosen],
            page=self.page[chosen],
        )


Counting = Callable[[Trace, Frame], Counts]


def blocks_of(trace: Trace, rng: np.random.Generator) -> Ints:
    """Block of each session, [B]: a shopper's sessions stay together."""
    shopper = np.unique(trace.sessions.shopper.numpy(), return_inverse=True)[1]
    count = int(shopper.max()) + 1
    return rng.permutation(count)[shopper] * min(NUM_BLOCKS, count) // count


def table(counts: Counts, block_B: Ints) -> Any:
    """Sums by block, sparse [G, J]."""
    shape = (int(block_B.max()) + 1, counts.size)
    return csr_array((counts.weight, (block_B[counts.owner], counts.column)), shape=shape)


def _of_steps(trace: Trace, chosen: Bools, column: Ints, size: int) -> Counts:
    """One for each chosen step; ``column`` is by step, [S]."""
    return Counts(
        trace.owner[chosen],
        column[chosen],
        np.ones(int(chosen.sum())),
        size,
        trace.number[chosen],
    )


def _shares(trace: Trace, happened: Bools, among: Bools) -> Counts:
    """Column 0: steps of ``among`` at which it happened; column 1: steps of ``among``."""
    both = _of_steps(trace, among, np.ones_like(trace.owner), 2)
    hit = _of_steps(trace, among & happened, np.zeros_like(trace.owner), 2)
    assert both.page is not None and hit.page is not None
    return Counts(
        np.concatenate([hit.owner, both.owner]),
        np.concatenate([hit.column, both.column]),
        np.concatenate([hit.weight, both.weight]),
        2,
        np.concatenate([hit.page, both.page]),
    )


def _by_session(numerator_B: Floats | Bools, denominator_B: Floats) -> Counts:
    owner = np.arange(len(numerator_B))
    weight = np.concatenate([numerator_B, denominator_B]).astype(np.float64)
    return Counts(np.tile(owner, 2), np.repeat([0, 1], len(owner)), weight, 2)


def _total(trace: Trace, value_S: Any) -> Floats:
    """Sum over each session's steps, [B]."""
    found = np.bincount(trace.owner, weights=value_S, minlength=trace.num_sessions)
    return np.asarray(found, dtype=np.float64)


def lengths(trace: Trace, frame: Frame) -> Counts:
    """Sessions by number of views."""
    views = _total(trace, trace.viewed).astype(np.int64)
    owner = np.arange(trace.num_sessions)
    return Counts(owner, np.minimum(views, LONGEST), np.ones(len(owner)), LONGEST + 1)


def gaps(trace: Trace, frame: Frame) -> Counts:
    """Steps by log seconds since the step before."""
    timed = np.isfinite(trace.log_gap)
    column = np.zeros_like(trace.owner)
    # the small step keeps a whole number of seconds on one side of the edge in both records
    column[timed] = (trace.log_gap[timed] / GAP_STEP + 1e-6).astype(np.int64)
    return _of_steps(trace, timed, np.minimum(column, GAP_COLUMNS - 1), GAP_COLUMNS)


def event_types(trace: Trace) -> Ints:
    """View found alone, view from the page, favourite, cart, buy, checkout, leave, [S]."""
    kind = np.where(trace.clicked & trace.viewed, 1, 0)
    kind = np.where(trace.after > 0, 1 + trace.after, kind)
    kind = np.where(trace.kind == int(Kind.CHECKOUT), 5, kind)
    return np.asarray(np.where(trace.kind == int(Kind.LEAVE), 6, kind))


def events(trace: Trace, frame: Frame) -> Counts:
    """Steps by type."""
    return _of_steps(trace, np.ones(len(trace.owner), bool), event_types(trace), NUM_TYPES)


def transitions(trace: Trace, frame: Frame) -> Counts:
    """Steps by their own type and that of the step before; a first step has none before."""
    kind = event_types(trace)
    before = np.concatenate([[0], kind[:-1]]) + 1
    before[trace.number == 0] = 0
    every = np.ones(len(kind), bool)
    return _of_steps(trace, every, before * NUM_TYPES + kind, (NUM_TYPES + 1) * NUM_TYPES)


def carts(trace: Trace, frame: Frame) -> Counts:
    """Views put into the cart; views."""
    return _shares(trace, trace.after == int(After.CART), trace.viewed)


def carts_paid(trace: Trace, frame: Frame) -> Counts:
    """Carted items that a later checkout of the session pays; carted items."""
    return _shares(trace, checkout_of(trace) >= 0, trace.after == int(After.CART))


def conversions(trace: Trace, frame: Frame) -> Counts:
    """Sessions with an order; sessions."""
    return _by_session(_total(trace, trace.ordered) > 0, np.ones(trace.num_sessions))


def revenue(trace: Trace, frame: Frame) -> Counts:
    """Currency units paid; sessions."""
    return _by_session(_total(trace, trace.paid), np.ones(trace.num_sessions))


def basket_value(trace: Trace, frame: Frame) -> Counts:
    """Currency units paid; orders."""
    return _by_session(_total(trace, trace.paid), _total(trace, trace.ordered))


def in_segments(counting: Counting) -> Counting:
    """The same two columns for each segment: those of segment 0, of segment 1, ..."""

    def counted(trace: Trace, frame: Frame) -> Counts:
        first = trace.item[trace.offset[:-1]]
        segment_B = frame.segment[np.maximum(first, 0)]
        counts = counting(trace, frame)
        column = 2 * segment_B[counts.owner] + counts.column
        return replace(counts, column=column, size=2 * NUM_SEGMENTS)

    return counted


def revenue_by_decile(trace: Trace, frame: Frame) -> Counts:
    """Currency units paid by tenth of the price; last of all, sessions."""
    owner, price, amount = purchase_lines(trace)
    session = np.arange(trace.num_sessions)
    column = np.searchsorted(frame.decile, price, side="left")
    return Counts(
        np.concatenate([owner, session]),
        np.concatenate([column, np.full(len(session), NUM_DECILES)]),
        np.concatenate([amount, np.ones(len(session))]),
        NUM_DECILES + 1,
    )


def lags(trace: Trace) -> Ints:
    """Views since the session last viewed the step's item; 0 where it did not, [S]."""
    step = np.flatnonzero(trace.viewed)
    place = np.cumsum(trace.viewed)
    order = step[np.lexsort((step, trace.item[step], trace.owner[step]))]
    again = np.zeros(len(order), bool)
    same = trace.item[order][1:] == trace.item[order][:-1]
    again[1:] = same & (trace.owner[order][1:] == trace.owner[order][:-1])
    found = np.zeros(len(trace.owner), dtype=np.int64)
    back = np.flatnonzero(again)
    found[order[back]] = place[order[back]] - place[order[back - 1]]
    return found


def repeats(trace: Trace, frame: Frame) -> Counts:
    """Views of an item that the session has viewed before; views."""
    return _shares(trace, lags(trace) > 0, trace.viewed)


def returns(trace: Trace, frame: Frame) -> Counts:
    """Repeated views by the number of views since."""
    lag = lags(trace)
    return _of_steps(trace, lag > 0, np.minimum(lag, LONGEST_LAG), LONGEST_LAG + 1)


def item_views(trace: Trace, frame: Frame) -> Counts:
    """Views by item."""
    return _of_steps(trace, trace.viewed, np.maximum(trace.item, 0), frame.num_items)


def known_item_views(trace: Trace, frame: Frame) -> Counts:
    """Views by item, of the items viewed in training alone.

    Of items that neither side knew before, two small samples view different ones: ranks of what
    either happens to view would turn against each other.
    """
    known = frame.fame > 0
    column = np.cumsum(known) - 1
    chosen = trace.viewed & known[np.maximum(trace.item, 0)]
    return _of_steps(trace, chosen, column[np.maximum(trace.item, 0)], int(known.sum()))


def pairs(trace: Trace, frame: Frame) -> Counts:
    """Sessions that view both items of each pair, the first, the second; last, all sessions."""
    basket, size = baskets(trace, frame.num_items).tocsc(), len(frame.pair)
    first, second = basket[:, frame.pair[:, 0]], basket[:, frame.pair[:, 1]]
    parts = [part.tocoo() for part in (first.multiply(second), first, second)]
    session = np.arange(trace.num_sessions)
    owner = np.concatenate([*(part.row for part in parts), session])
    column = [part.col + place * size for place, part in enumerate(parts)]
    return Counts(
        owner,
        np.concatenate([*column, np.full(len(session), 3 * size)]),
        np.ones(len(owner)),
        3 * size + 1,
    )
