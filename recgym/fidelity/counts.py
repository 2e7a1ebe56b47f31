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

from recgym.fidelity.trace import Bools, Floats, Ints, Trace
from recgym.types import After, Catalog, Kind

NUM_BLOCKS = 400  # as in `recgym.metrics`: enough for quantiles, few enough to resample at once
LONGEST = 200  # views: longer sessions share one column
GAP_STEP = 0.01  # of log seconds, the width of a column
GAP_COLUMNS = 2000  # up to e^20 seconds
NUM_TYPES = 7  # of `event_types`
NUM_SEGMENTS = 10
NUM_DECILES = 10
NUM_PAIRS = 200
LONGEST_LAG = 100


@dataclass(frozen=True)
class Frame:
    """What both sides are counted against, fixed once, so that they cannot differ in it."""

    category: Ints  # [I]
    segment: Ints  # [I] in [0, NUM_SEGMENTS), of a session that begins with this item
    decile: Floats  # [NUM_DECILES - 1] rising prices between tenths of what is bought
    pair: Ints  # [P, 2] items most often viewed in one session
    fame: Floats  # [I] log(1 + views in training)
    priced: bool
    shown: bool  # whether the log says what was shown

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.category)


def make_frame(real: Trace, training: Trace, catalog: Catalog) -> Frame:
    """Segments and deciles of the real side, pairs and fame of the training period.

    Pairs chosen on the real side would be too common there by chance, in both of its halves alike.
    """
    category = np.asarray(catalog.category.cpu().numpy())
    _, price, _ = purchase_lines(real)
    tenths = np.arange(1, NUM_DECILES) / NUM_DECILES
    viewed = np.bincount(training.item[training.viewed], minlength=len(category))
    return Frame(
        category=category,
        segment=_segments(real, category),
        decile=np.quantile(price, tenths) if len(price) else np.zeros(NUM_DECILES - 1),
        pair=_commonest_pairs(training, len(category)),
        fame=np.log1p(viewed),
        priced=catalog.priced,
        shown=real.num_slots > 0,
    )


def _segments(real: Trace, category: Ints) -> Ints:
    """Groups of categories in which about equally many sessions begin, by item, [I].

    From the commonest on, each category joins the group that is emptiest so far.
    """
    first = real.item[real.offset[:-1]]
    begun = np.bincount(category[first[first >= 0]], minlength=int(category.max()) + 1)
    group, filled = np.zeros(len(begun), dtype=np.int64), np.zeros(NUM_SEGMENTS)
    for place in np.argsort(-begun, kind="stable"):
        group[place] = filled.argmin()
        filled[group[place]] += begun[place]
    return group[category]


def _baskets(trace: Trace, num_items: int) -> Any:
    """Whether a session views an item, sparse [B, I]."""
    owner, item = trace.owner[trace.viewed], trace.item[trace.viewed]
    shape = (trace.num_sessions, num_items)
    found = csr_array((np.ones(len(item)), (owner, item)), shape=shape)
    found.data[:] = 1.0  # repeats were added up
    return found


def _commonest_pairs(training: Trace, num_items: int) -> Ints:
    basket = _baskets(training, num_items)
    together = (basket.T @ basket).tocoo()
    upper = together.row < together.col
    row, column, count = together.row[upper], together.col[upper], together.data[upper]
    chosen = np.lexsort((column, row, -count))[:NUM_PAIRS]
    return np.stack([row[chosen], column[chosen]], 1).astype(np.int64)


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
    return _shares(trace, _checkout_of(trace) >= 0, trace.after == int(After.CART))


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


def _checkout_of(trace: Trace) -> Ints:
    """Step of the next checkout in the session, -1 where none comes, [S]."""
    paying = np.flatnonzero(trace.kind == int(Kind.CHECKOUT))
    if not len(paying):
        return np.full(len(trace.owner), -1)
    step = np.arange(len(trace.owner))
    found = paying[np.minimum(np.searchsorted(paying, step), len(paying) - 1)]
    return np.where((found >= step) & (trace.owner[found] == trace.owner), found, -1)


def purchase_lines(trace: Trace) -> tuple[Ints, Floats, Floats]:
    """Session, unit price and amount paid of each item bought.

    What a checkout pays is shared out over the items carted since the one before, by their worth.
    """
    bought = np.flatnonzero(trace.after == int(After.BUY))
    paying = _checkout_of(trace)
    carted = np.flatnonzero((trace.after == int(After.CART)) & (paying >= 0))
    total = np.bincount(paying[carted], trace.worth[carted], minlength=len(trace.owner))
    share = trace.worth[carted] / np.maximum(total[paying[carted]], 1e-9)
    step = np.concatenate([bought, carted])
    amount = np.concatenate([trace.paid[bought], share * trace.paid[paying[carted]]])
    return trace.owner[step], trace.price[step], amount


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
    basket, size = _baskets(trace, frame.num_items).tocsc(), len(frame.pair)
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
