"""What both sides are counted against, fixed once: segments, tenths of the price, pairs, fame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from recgym.fidelity.trace import Floats, Ints, Trace
from recgym.types import After, Catalog, Kind

NUM_SEGMENTS = 10
NUM_DECILES = 10
NUM_PAIRS = 200


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
    """Groups of categories in which about equally many ordering sessions begin, by item, [I].

    From the commonest on, each category joins the group that is emptiest so far. Orders count,
    since a group with few of them would decide the worst error by chance alone.
    """
    first = real.item[real.offset[:-1]]
    orders = np.bincount(real.owner[real.ordered], minlength=real.num_sessions) > 0
    weight = orders + 1e-6  # without any order, sessions decide
    size = int(category.max()) + 1
    begun = np.bincount(category[first[first >= 0]], weight[first >= 0], minlength=size)
    group, filled = np.zeros(size, dtype=np.int64), np.zeros(NUM_SEGMENTS)
    for place in np.argsort(-begun, kind="stable"):
        group[place] = filled.argmin()
        filled[group[place]] += begun[place]
    return group[category]


def baskets(trace: Trace, num_items: int) -> Any:
    """Whether a session views an item, sparse [B, I]."""
    owner, item = trace.owner[trace.viewed], trace.item[trace.viewed]
    shape = (trace.num_sessions, num_items)
    found = csr_array((np.ones(len(item)), (owner, item)), shape=shape)
    found.data[:] = 1.0  # repeats were added up
    return found


def _commonest_pairs(training: Trace, num_items: int) -> Ints:
    basket = baskets(training, num_items)
    together = (basket.T @ basket).tocoo()
    upper = together.row < together.col
    row, column, count = together.row[upper], together.col[upper], together.data[upper]
    chosen = np.lexsort((column, row, -count))[:NUM_PAIRS]
    return np.stack([row[chosen], column[chosen]], 1).astype(np.int64)


def checkout_of(trace: Trace) -> Ints:
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
    paying = checkout_of(trace)
    carted = np.flatnonzero((trace.after == int(After.CART)) & (paying >= 0))
    total = np.bincount(paying[carted], trace.worth[carted], minlength=len(trace.owner))
    share = trace.worth[carted] / np.maximum(total[paying[carted]], 1e-9)
    step = np.concatenate([bought, carted])
    amount = np.concatenate([trace.paid[bought], share * trace.paid[paying[carted]]])
    return trace.owner[step], trace.price[step], amount
