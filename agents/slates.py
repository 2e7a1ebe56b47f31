"""The best slate for given values of items: a ratio of sums, since what is shown competes.

Under a logit, item i of the slate A is clicked with probability v(i) / (1 + sum over j in A of
v(j)); what the slate is worth above everything else is

    lambda(A) = sum over i in A of v(i) a(i) / (1 + sum over i in A of v(i)),

a(i) being the item's advantage over everything else. An item lifts it only where a(i) > lambda(A):
one that is often clicked and worth less than the rest of the page takes clicks away from that. The
top K by v(i) a(i), a heuristic of Ie et al. 2019, "SlateQ", section 4.3, overlooks this. Here the
best slate is found by the iteration of Dinkelbach 1967, "On nonlinear fractional programming": for
the lambda so far, the K items of highest v(i) (a(i) - lambda) have a higher one, until none has.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 5  # it converges faster than linearly


def scores(odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor, num_slots: int) -> Tensor:
    """Scores whose top K are the best full slate, [N, J]; -inf for items that may not be shown.

    Args:
        odds_NJ: v, odds of a click on each item against everything else.
        advantage_NJ: a, in any unit.
        allowed_NJ: items that may be shown, bool.
        num_slots: K.
    """
    odds_NJ = odds_NJ * allowed_NJ
    lifted_N = odds_NJ.new_zeros(len(odds_NJ))
    score_NJ = _scores(odds_NJ, advantage_NJ, allowed_NJ, lifted_N)
    for _ in range(ROUNDS):
        slate_NK = score_NJ.topk(min(num_slots, score_NJ.shape[1]), -1).indices
        lifted_N = lifted(odds_NJ, advantage_NJ, slate_NK)
        score_NJ = _scores(odds_NJ, advantage_NJ, allowed_NJ, lifted_N)
    return score_NJ


def lifted(odds_NJ: Tensor, advantage_NJ: Tensor, slate_NK: Tensor) -> Tensor:
    """Lambda of slates of columns ``slate_NK``, [N]; columns without odds count as empty slots."""
    odds_NK = odds_NJ.gather(-1, slate_NK)
    worth_NK = odds_NK * advantage_NJ.gather(-1, slate_NK)
    return worth_NK.sum(-1) / (1.0 + odds_NK.sum(-1))


def _scores(odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor, lifted_N: Tensor) -> Tensor:
    score_NJ = odds_NJ * (advantage_NJ - lifted_N.unsqueeze(-1))
    return score_NJ.masked_fill(~allowed_NJ, -torch.inf)


def value(
    null_N: Tensor,
    advantage_NC: Tensor,
    added_NC: Tensor,
    taken_NC: Tensor,
    go_on_N: Tensor,
    page_weight: Tensor,
    slate_NK: Tensor,
) -> Tensor:
    """Q(s, A) of the slate made of candidates ``slate_NK``, [N] (Ie et al. 2019, equation 14).

    ``go_on_N`` is the probability of going on from an empty page.
    """
    added_NK, taken_NK = added_NC.gather(-1, slate_NK), taken_NC.gather(-1, slate_NK)
    clicked_NK = shares(added_NK, taken_NK, go_on_N, page_weight)
    return null_N + (clicked_NK * advantage_NC.gather(-1, slate_NK)).sum(-1)


def shares(added_NK: Tensor, taken_NK: Tensor, go_on_N: Tensor, page_weight: Tensor) -> Tensor:
    """P(i | s, A) of the items of a slate, [N, K]; an empty slot adds and takes nothing."""
    mass_N = 1.0 + added_NK.sum(-1)
    pulled_N = go_on_N * mass_N**page_weight
    view_N = pulled_N / (pulled_N + 1.0 - go_on_N)
    return (added_NK + taken_NK) * (view_N / mass_N).unsqueeze(-1)
