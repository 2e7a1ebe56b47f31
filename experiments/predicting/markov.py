"""A first-order Markov chain over items: the next view depends on the newest alone.

P(j | i) = (n_ij + a p_j) / (n_i + a), shrunk to popularity p by a Dirichlet prior of weight a
(MacKay and Peto 1995, "A hierarchical Dirichlet language model", equation 7): the baseline of a
fit's report, as a predictor.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from experiments.predicting.base import History, Views
from recgym.settings import Within
from recgym.users.report import SHRINKAGE, popularity, transitions


class Markov:
    """From item to item.

    Args:
        shrinkage: a, views of an item at which its own transitions weigh as much as popularity.
    """

    is_law = True

    def __init__(self, *, shrinkage: Annotated[float, Within(1e-6)] = SHRINKAGE) -> None:
        self.shrinkage = shrinkage

    def fit(self, sessions: Views) -> None:
        """Count the transitions within sessions."""
        moved_V = sessions.place() > 0
        from_V = sessions.item.roll(1)
        self.share_I = popularity(sessions.item, sessions.num_items)
        self.count_II = transitions(from_V[moved_V], sessions.item[moved_V], sessions.num_items)

    def scores(self, history: History) -> Tensor:
        """Log-probabilities [N, I]."""
        own_NI = self.count_II[history.item[:, 0].numpy()].toarray()
        mass_NI = torch.from_numpy(own_NI + self.shrinkage * self.share_I)
        return (mass_NI / mass_NI.sum(-1, keepdim=True)).log()
