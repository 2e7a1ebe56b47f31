"""Item-to-item neighbours: what was viewed together with what this shopper viewed.

Paper: Sarwar, Karypis, Konstan and Riedl 2001, "Item-based collaborative filtering recommendation
algorithms", section 3.1.1 (cosine similarity), over sessions instead of ratings: with n(i) sessions
that viewed i and n(i, j) that viewed both, s(i, j) = n(i, j) / (sqrt(n(i) n(j)) + shrinkage). An
item's score is the sum of its similarities to the last views of the running session, the older the
weaker. Deviations: the shrinkage keeps pairs seen once from coming first; until a first view, and
between equals, the most viewed items come first.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from agents.baselines import top_k
from recgym.settings import Count, Share, Within
from recgym.types import Observation


def sessions_by_items(session_V: Tensor, item_V: Tensor, num_items: int) -> Any:
    """1 where a session viewed an item, sparse [S, I]; viewed twice counts once."""
    shape = (int(session_V.max()) + 1 if len(session_V) else 1, num_items)
    one_V = np.ones(len(item_V), dtype=np.float32)
    viewed_SI = scipy.sparse.csr_matrix((one_V, (session_V.numpy(), item_V.numpy())), shape)
    viewed_SI.data[:] = 1.0
    return viewed_SI


class ItemKNN:
    """The K items most alike to what was just viewed; does not learn.

    Args:
        view_V2: session and item of each view of the training period, [V, 2] int64.
        num_items: I.
        num_slots: K.
        num_neighbours: of each item that are kept.
        shrinkage: sessions.
        fading: weight of each view against the one after it.
    """

    def __init__(
        self,
        view_V2: Tensor,
        num_items: int,
        *,
        num_slots: int,
        num_neighbours: Count = 100,
        shrinkage: Annotated[float, Within(0.0)] = 10.0,
        fading: Share = 0.8,
    ) -> None:
        self.num_slots, self.fading = num_slots, fading
        session_V, item_V = view_V2.cpu().unbind(-1)
        viewed_SI = sessions_by_items(session_V, item_V, num_items)
        together_II = (viewed_SI.T @ viewed_SI).tocsr()
        count_I = together_II.diagonal()
        together_II.setdiag(0.0)
        self.neighbour_IM = torch.zeros(
            num_items, min(num_neighbours, num_items), dtype=torch.int64
        )
        self.likeness_IM = torch.zeros(self.neighbour_IM.shape)
        for item in range(num_items):
            row = together_II.getrow(item)
            like = row.data / (np.sqrt(count_I[item] * count_I[row.indices]) + shrinkage + 1e-9)
            best = np.argsort(-like, kind="stable")[: self.neighbour_IM.shape[1]]
            self.neighbour_IM[item, : len(best)] = torch.from_numpy(
                row.indices[best].astype(np.int64)
            )
            self.likeness_IM[item, : len(best)] = torch.from_numpy(like[best])
        # below any likeness that counts
        self.fame_I = torch.from_numpy(count_I / max(float(count_I.max()), 1.0)) * 1e-6

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the most alike first."""
        return top_k(self.scores(observation), observation.eligible, self.num_slots)

    def scores(self, observation: Observation) -> Tensor:
        """How much each item is like those viewed, [N, I]."""
        history_NL, device = observation.visit.history_item, observation.feature.device
        fading_L = self.fading ** torch.arange(history_NL.shape[1], device=device)
        weight_NL = (history_NL >= 0) * fading_L
        row_NL = history_NL.clamp(min=0)
        like_NLM = self.likeness_IM.to(device)[row_NL] * weight_NL.unsqueeze(-1)
        score_NI = self.fame_I.to(like_NLM).repeat(len(history_NL), 1)
        near_NLM = self.neighbour_IM.to(device)[row_NL]
        return score_NI.scatter_add(-1, near_NLM.flatten(1), like_NLM.flatten(1))
