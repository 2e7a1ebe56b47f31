"""How high the item stood that was viewed next: the figures of a ranking."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.predicting.base import Predictor, Views, histories, parts
from recgym.users.report import Figures, Ranker, mid_rank

TOPS = (1, 5, 10, 20)
TOP = 20  # of the reciprocal rank and the discounted gain


def worst_rank(score_nI: Tensor, item_n: Tensor) -> Tensor:
    """Rank of each row's item from 1, [n] float: the last of all that score as high."""
    own_n1 = score_nI.gather(-1, item_n.unsqueeze(-1))
    return (score_nI >= own_n1).sum(-1).double()


def ranked(
    predictor: Predictor, views: Views, rank: Ranker = mid_rank
) -> tuple[Tensor, Tensor | None]:
    """Rank [m] of each view but a session's first, and its log-probability where there is one."""
    history, target_m = histories(views)
    ranks, laws = [torch.zeros(0)], [torch.zeros(0)]
    for rows in parts(len(target_m), views.num_items):
        score_nI, item_n = predictor.scores(history.lanes(rows)), target_m[rows]
        ranks.append(rank(score_nI, item_n))
        if predictor.is_law:
            laws.append(score_nI.gather(-1, item_n.unsqueeze(-1)).squeeze(-1))
    return torch.cat(ranks), torch.cat(laws) if predictor.is_law else None


def figures(rank_m: Tensor, log_prob_m: Tensor | None) -> Figures:
    """Recall, mean reciprocal rank, discounted gain, and nats a next view; None if undefined.

    The gain is 1 / log2(1 + rank), with one relevant item (Järvelin and Kekäläinen 2002).
    """
    rank_m = rank_m.double()
    listed_m = rank_m <= TOP

    def mean(value_m: Tensor) -> float | None:
        return float(value_m.double().mean()) if len(value_m) else None

    return {
        "nll_next_view": None if log_prob_m is None else mean(-log_prob_m),
        **{f"recall_at_{top}": mean(rank_m <= top) for top in TOPS},
        f"mrr_at_{TOP}": mean(listed_m / rank_m),
        f"ndcg_at_{TOP}": mean(listed_m / (1.0 + rank_m).log2()),
    }
