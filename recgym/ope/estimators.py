"""Estimators of a policy's value per session, as sums over sessions that intervals resample.

pi is the evaluated policy, mu the one that wrote the log, w_t the weight of a session up to page t
(`recgym.ope.weights`), r_t what page t brought, q_t and v_t what a model says that pi brings from
page t on, with the page that was shown (q) and before it is chosen (v). With sessions of one page
they are the estimators of contextual bandits.

Each gives `Parts`, whose value is the sum over columns of (sum of numerators / sum of
denominators): a plain mean where denominators are 1, a self-normalised one where they are weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.lanes import Record
from recgym.ope.weights import before


@dataclass(frozen=True)
class Parts(Record):
    """What each session adds to an estimate."""

    numerator: Tensor  # [B, J]
    denominator: Tensor  # [B, J]

    def value(self) -> float:
        """The estimate."""
        return float((self.numerator.sum(0) / self.denominator.sum(0)).sum())


def _mean(value_B: Tensor) -> Parts:
    return Parts(value_B.unsqueeze(-1), torch.ones_like(value_B).unsqueeze(-1))


def trajectory_ips(weight_BT: Tensor, reward_BT: Tensor) -> Parts:
    """Inverse propensity scores of whole sessions: mean of w_T times the sum of r_t.

    Horvitz and Thompson 1952; Precup, Sutton and Singh 2000, "Eligibility traces for off-policy
    policy evaluation", their IS. Unbiased, and the noisiest of all.
    """
    return _mean(weight_BT[:, -1] * reward_BT.sum(-1))


def ips(weight_BT: Tensor, reward_BT: Tensor) -> Parts:
    """Per-decision inverse propensity scores: mean of the sum of w_t r_t.

    Precup, Sutton and Singh 2000, their per-decision IS: what a page brings cannot hang on later
    pages, so that their weights are left out. Unbiased.
    """
    return _mean((weight_BT * reward_BT).sum(-1))


def snips(weight_BT: Tensor, reward_BT: Tensor) -> Parts:
    """The same, self-normalised page by page: sum over t of (sum of w_t r_t) / (sum of w_t).

    Swaminathan and Joachims 2015, "The self-normalized estimator for counterfactual learning",
    their SNIPS; page by page as Thomas 2015, "Safe reinforcement learning", consistent weighted
    per-decision IS. A session that is over keeps its weight in the denominators of later pages.
    Consistent, slightly biased, and a page's mean never leaves the range of its rewards.
    """
    return Parts(weight_BT * reward_BT, weight_BT)


def dm(v_BT: Tensor) -> Parts:
    """Direct method: the mean of what the model says of the first page, v_1.

    As wrong as the model, which its interval knows nothing of: that is of the shoppers alone.
    """
    return _mean(v_BT[:, 0])


def dr(weight_BT: Tensor, reward_BT: Tensor, q_BT: Tensor, v_BT: Tensor) -> Parts:
    """Doubly robust: the mean of the sum of w_{t-1} v_t + w_t (r_t - q_t).

    Dudik, Langford and Li 2011, "Doubly robust policy evaluation and learning", equation 2; for
    sessions Jiang and Li 2016, "Doubly robust off-policy value evaluation for reinforcement
    learning", equation 10, unrolled. Unbiased whatever the model says; the better it is, the less
    noise there is.
    """
    return _mean((before(weight_BT) * v_BT + weight_BT * (reward_BT - q_BT)).sum(-1))


def weighted_dr(weight_BT: Tensor, reward_BT: Tensor, q_BT: Tensor, v_BT: Tensor) -> Parts:
    """The same, self-normalised page by page.

    Thomas and Brunskill 2016, "Data-efficient off-policy policy evaluation", their WDR.
    """
    past_BT = before(weight_BT)
    return Parts(
        torch.cat([past_BT * v_BT, weight_BT * (reward_BT - q_BT)], -1),
        torch.cat([past_BT, weight_BT], -1),
    )


def switch_dr(
    weight_BT: Tensor, reward_BT: Tensor, q_BT: Tensor, v_BT: Tensor, threshold: float
) -> Parts:
    """Doubly robust up to the page at which a session's weight is above ``threshold``.

    Wang, Agarwal and Dudik 2017, "Optimal and adaptive off-policy evaluation in contextual
    bandits", their SWITCH-DR. Deviation: the paper is of one page; here a session is given to the
    model from the page on that first passes the threshold. Weights have to be unclipped.
    """
    kept_BT = (weight_BT <= threshold).to(weight_BT.dtype).cumprod(-1)
    past_BT = before(kept_BT) * before(weight_BT)
    return _mean((past_BT * v_BT + kept_BT * weight_BT * (reward_BT - q_BT)).sum(-1))
