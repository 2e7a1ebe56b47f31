"""Session neighbours in sequence and time (STAN).

Paper: Garg, Gupta, Malhotra, Vig and Shroff 2019, "Sequence and time aware neighborhood for
session-based recommendations: STAN". A view of the running session weighs by how long ago in views
it was (lambda 1), a neighbour by how long ago it ended (lambda 2), and an item of the neighbour by
how far it stands from the newest item that both share (lambda 3):
like = sum of exp((j - l) / lambda_1) over shared items / sqrt(l l_past) · exp(-age / lambda_2),
score(i) = sum over neighbours of like · exp(-|place(i) - place(newest shared)| / lambda_3).
Deviation: of an item viewed several times in a session only its last place counts.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from experiments.predicting.base import History, Views
from experiments.predicting.near import PastSessions, best, runs
from recgym.settings import Count, Positive
from recgym.types import DAY_MS


class STAN:
    """What like sessions viewed close to what is shared.

    Args:
        num_neighbours: k, sessions whose items are scored.
        num_recent: latest sessions among which they are sought.
        views: lambda 1, of the running session.
        days: lambda 2, since a neighbour ended.
        places: lambda 3, between an item and the newest one shared.
    """

    is_law = False

    def __init__(
        self,
        *,
        num_neighbours: Count = 500,
        num_recent: Count = 2500,
        views: Positive = 1.02,
        days: Positive = 5.0,
        places: Positive = 2.05,
    ) -> None:
        self.num_neighbours, self.num_recent = num_neighbours, num_recent
        self.views, self.days, self.places = views, days, places

    def fit(self, sessions: Views) -> None:
        """Keep the sessions."""
        self.past, self.num_items = PastSessions(sessions, self.num_recent), sessions.num_items

    def scores(self, history: History) -> Tensor:
        """Summed weights of an item's places in the neighbours, [N, I]."""
        past, count = self.past, len(history.item)
        weight_L = np.exp(-np.arange(history.item.shape[1]) / self.views)
        pairs = past.candidates(history.item, np.broadcast_to(weight_L, history.item.shape))
        length = (history.item >= 0).sum(-1).numpy()[pairs.row] * past.length[pairs.session]
        age = (history.time_ms.numpy()[pairs.row] - past.last_ms[pairs.session]) / DAY_MS
        likeness = pairs.likeness / np.sqrt(length) * np.exp(-age / self.days)
        pairs = best(pairs._replace(likeness=likeness), self.num_neighbours)

        shared = history.item.numpy()[pairs.row, pairs.newest]
        at = np.asarray(past.place_SI[pairs.session, shared]).ravel()
        start = past.place_SI.indptr[pairs.session].astype(np.int64)
        held = past.place_SI.indptr[pairs.session + 1] - start
        entry = runs(start, held)
        apart = np.abs(past.place_SI.data[entry] - np.repeat(at, held))
        value = np.repeat(pairs.likeness, held) * np.exp(-apart / self.places)
        place = (np.repeat(pairs.row, held), past.place_SI.indices[entry])
        return torch.from_numpy(csr_matrix((value, place), (count, self.num_items)).toarray())
