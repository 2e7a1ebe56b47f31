"""Session neighbours, the newest views weighing most (V-SKNN).

Paper: Ludewig and Jannach 2018, "Evaluation of session-based recommendation algorithms", V-SKNN:
the likeness of a past session is the dot product of its binary vector with the running session's,
whose j-th of l views has the weight j / l, the last place of an item counting; an item's score is
the sum of the likenesses of the k neighbours that hold it. Deviations: the decay, of which the
paper says that it is linear, is j / l as in the authors' code; the weights of scores that the
code can add are left out.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from experiments.predicting.base import History, Views
from experiments.predicting.near import PastSessions, best
from recgym.settings import Count


class VSKNN:
    """What like sessions viewed.

    Args:
        num_neighbours: k, sessions whose items are scored.
        num_recent: latest sessions among which they are sought.
    """

    is_law = False

    def __init__(self, *, num_neighbours: Count = 100, num_recent: Count = 1000) -> None:
        self.num_neighbours, self.num_recent = num_neighbours, num_recent

    def fit(self, sessions: Views) -> None:
        """Keep the sessions."""
        self.past = PastSessions(sessions, self.num_recent)
        self.held_SI = self.past.place_SI.sign().astype(np.float32)

    def scores(self, history: History) -> Tensor:
        """Summed likenesses of the neighbours that hold an item, [N, I]."""
        length_N1 = (history.item >= 0).sum(-1, keepdim=True)
        weight_NL = 1.0 - torch.arange(history.item.shape[1]) / length_N1.double().clamp(min=1.0)
        pairs = best(
            self.past.candidates(history.item, weight_NL.numpy()), self.num_neighbours
        )  # fmt: skip
        shape = (len(history.item), self.past.count)
        like_NS = csr_matrix((pairs.likeness.astype(np.float32), (pairs.row, pairs.session)), shape)
        return torch.from_numpy((like_NS @ self.held_SI).toarray())
