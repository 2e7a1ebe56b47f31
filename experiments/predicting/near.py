"""Which past sessions are like a running one: what both kinds of session neighbours share.

Only the most recent sessions that hold any item of the running one are candidates. An item's list
of sessions may therefore be cut to as many: a session among the latest of all is among the latest
of each item that it holds (Kersbergen, Sprangers and Schelter 2022, "Serenade", section 3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from experiments.predicting.base import Views

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Pairs(NamedTuple):
    """Running sessions and past ones that share an item with them, P pairs, by row."""

    row: Ints  # [P] of the history
    session: Ints  # [P] in order of their last views: a greater one is later
    newest: Ints  # [P] place in the history of the newest item shared, 0 the newest of all
    likeness: Floats  # [P]


class PastSessions:
    """Sessions in order of their last views, by session and by item.

    Args:
        views: of all sessions.
        num_recent: sessions that may be candidates for one history.
    """

    def __init__(self, views: Views, num_recent: int) -> None:
        self.num_recent = num_recent
        last_B = views.time_ms[views.offset[1:] - 1].numpy()
        order_B = np.argsort(last_B, kind="stable")
        self.last_ms: Ints = last_B[order_B]
        self.length: Ints = views.offset.diff().numpy()[order_B]
        self.count = len(order_B)
        number_B = np.empty(self.count, dtype=np.int64)
        number_B[order_B] = np.arange(self.count)
        session_V, item_V = number_B[views.session().numpy()], views.item.numpy()
        key_V = session_V * views.num_items + item_V
        # the last view of an item in a session: the first from the end
        kept = len(key_V) - 1 - np.unique(key_V[::-1], return_index=True)[1]
        place = views.place().numpy()[kept] + 1.0
        shape = (self.count, views.num_items)
        self.place_SI: Any = csr_matrix((place, (session_V[kept], item_V[kept])), shape)
        by_item: Any = csr_matrix(self.place_SI.T)
        by_item.sort_indices()
        rank_V = np.repeat(by_item.indptr[1:], np.diff(by_item.indptr)) - np.arange(by_item.nnz)
        latest_V = rank_V <= num_recent
        item_V = np.repeat(np.arange(views.num_items), np.diff(by_item.indptr))[latest_V]
        self.start_I = np.searchsorted(item_V, np.arange(views.num_items + 1))
        self.session_V: Ints = by_item.indices[latest_V].astype(np.int64)

    def candidates(self, item_NL: Tensor, weight_NL: Floats) -> Pairs:
        """The most recent sessions that share an item, and the summed weights of those shared."""
        item = item_NL.numpy()
        row, place = np.nonzero(_first_seen(item))  # by row, the newest first
        start = self.start_I[item[row, place]]
        count = self.start_I[item[row, place] + 1] - start
        found = self.session_V[runs(start, count)]
        key = np.repeat(row, count) * self.count + found
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        weight = np.repeat(weight_NL[row, place], count)[order]
        likeness = np.add.reduceat(weight, first) if len(first) else np.zeros(0)
        key = key[order][first]
        pairs = Pairs(
            key // self.count, key % self.count, np.repeat(place, count)[order][first], likeness
        )
        per_row = np.bincount(pairs.row, minlength=len(item))
        from_end = np.repeat(per_row.cumsum(), per_row) - np.arange(len(key))
        return keep(pairs, from_end <= self.num_recent)


def best(pairs: Pairs, most: int) -> Pairs:
    """The most alike of each row; of equals, the later."""
    order = np.lexsort((-pairs.session, -pairs.likeness, pairs.row))
    pairs = keep(pairs, order)
    per_row = np.bincount(pairs.row)
    begin = np.repeat(per_row.cumsum() - per_row, per_row)
    return keep(pairs, np.arange(len(pairs.row)) - begin < most)


def keep(pairs: Pairs, chosen: NDArray[Any]) -> Pairs:
    """Some of the pairs."""
    return Pairs(*(value[chosen] for value in pairs))


def runs(start: Ints, count: Ints) -> Ints:
    """start, start + 1, ... of each run, one run after another."""
    before = np.repeat(count.cumsum() - count, count)
    return np.asarray(np.repeat(start, count) + np.arange(len(before)) - before)


def _first_seen(item_NL: Ints) -> NDArray[np.bool_]:
    """Where an item stands that no newer view of the history is of."""
    newest_NL = item_NL >= 0
    for place in range(1, item_NL.shape[1]):
        newest_NL[:, place] &= (item_NL[:, :place] != item_NL[:, place : place + 1]).all(-1)
    return newest_NL
