"""The most viewed item comes next, whoever looks: the floor of any ranking."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.predicting.base import History, Views
from recgym.users.report import popularity


class Popularity:
    """Each item's share of the views, smoothed as the baseline of a fit's report is."""

    is_law = True

    def fit(self, sessions: Views) -> None:
        """Count the views."""
        share_I = popularity(sessions.item, sessions.num_items)
        self.log_share_I = torch.from_numpy(share_I).log()

    def scores(self, history: History) -> Tensor:
        """Log-probabilities [N, I]."""
        return self.log_share_I.expand(len(history.item), -1)
