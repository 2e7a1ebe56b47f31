"""The best slate for given values of items: a ratio of sums, since what is shown competes.

Under a logit, item i of the slate A is clicked with probability v(i) / (1 + sum over j in A of
v(j)); what the slate is worth above everything else is

    lambda(A) = sum over i in A of v(i) a(i) / (1 + sum over i in A of v(i)),

a(i) being the item's advantage over everything else. An item lifts it only where a(i) > lambda(A):
one that is often clicked and worth less than the rest of the page takes clicks away from that. The
slate is sought by one of four optimisers, all of full slates:

- `ratio`, the best one, by the iteration of Dinkelbach 1967, "On nonlinear fractional programming":
  for the lambda so far, the K items of highest v(i) (a(i) - lambda) have a higher one, until none
  has;
- `top_k` and `greedy`, the heuristics of Ie et al. 2019, "SlateQ", section 4.3: the K items of
  highest v(i) a(i), which overlooks competition; and item by item the one that lifts lambda most
  beside those chosen before, which is bound to the first;
- `exact`, the best of all slates, each looked at: a check on `ratio`, for few items and slots.

Deviation: the paper's heuristics weigh values Q(i) where everything else is worth 0; here they
weigh advantages, which are the same there.
"""

from __future__ import annotations

import functools
import itertools
import math

import torch
from torch import Tensor

from recgym.errors import UserError

OPTIMISERS = ("ratio", "top_k", "greedy", "exact")
ROUNDS = 5  # it converges faster than linearly
MAX_SLATES = 50_000  # that `exact` looks at in each lane


def known(optimiser: str) -> str:
    """The optimiser, where there is one of that name."""
    if optimiser not in OPTIMISERS:
        raise UserError(f"agent.slate_optimiser={optimiser}: expected {', '.join(OPTIMISERS)}.")
    return optimiser


def scores(
    odds_NJ: Tensor,
    advantage_NJ: Tensor,
    allowed_NJ: Tensor,
    num_slots: int,
    optimiser: str = "ratio",
) -> Tensor:
    """Scores whose top K are the slate that is sought, [N, J]; -inf where none may be shown.

    Args:
        odds_NJ: v, odds of a click on each item against everything else.
        advantage_NJ: a, in any unit.
        allowed_NJ: items that may be shown, bool.
        num_slots: K.
        optimiser: one of `OPTIMISERS`.
    """
    odds_NJ, count = odds_NJ * allowed_NJ, min(num_slots, odds_NJ.shape[1])
    lifted_N = odds_NJ.new_zeros(len(odds_NJ))
    if optimiser == "top_k":
        return _scores(odds_NJ, advantage_NJ, allowed_NJ, lifted_N)
    if optimiser != "ratio":
        search = _greedy if optimiser == "greedy" else _exact
        slate_NK = search(odds_NJ, advantage_NJ, allowed_NJ, count)
        return _led_by(slate_NK, odds_NJ, advantage_NJ, allowed_NJ)
    score_NJ = _scores(odds_NJ, advantage_NJ, allowed_NJ, lifted_N)
    for _ in range(ROUNDS):
        slate_NK = score_NJ.topk(count, -1, sorted=False).indices
        lifted_N = lifted(odds_NJ, advantage_NJ, slate_NK)
        score_NJ = _scores(odds_NJ, advantage_NJ, allowed_NJ, lifted_N)
    return score_NJ


def lifted(odds_NJ: Tensor, advantage_NJ: Tensor, slate_NK: Tensor) -> Tensor:
    """Lambda of slates of columns ``slate_NK``, [N]; columns without odds count as empty slots."""
    odds_NK = odds_NJ.gather(-1, slate_NK)
    worth_NK = odds_NK * advantage_NJ.gather(-1, slate_NK)
    return worth_NK.sum(-1) / (1.0 + odds_NK.sum(-1))


def _greedy(odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor, count: int) -> Tensor:
    """Item by item the one that lifts lambda most beside those chosen before, [N, K]."""
    worth_NJ, chosen_NJ = odds_NJ * advantage_NJ, torch.zeros_like(allowed_NJ)
    never = torch.finfo(worth_NJ.dtype).min  # finite: where too few are left, before those chosen
    worth_N1, mass_N1 = torch.zeros_like(worth_NJ[:, :1]), torch.ones_like(worth_NJ[:, :1])
    slate = []
    for _ in range(count):
        lifted_NJ = ((worth_N1 + worth_NJ) / (mass_N1 + odds_NJ)).masked_fill(~allowed_NJ, never)
        item_N1 = lifted_NJ.masked_fill(chosen_NJ, -torch.inf).argmax(-1, keepdim=True)
        worth_N1 = worth_N1 + worth_NJ.gather(-1, item_N1)
        mass_N1 = mass_N1 + odds_NJ.gather(-1, item_N1)
        chosen_NJ = chosen_NJ.scatter(-1, item_N1, True)
        slate.append(item_N1)
    return torch.cat(slate, -1)


def _exact(odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor, count: int) -> Tensor:
    """The best of all slates that are as full as they can be, [N, K]."""
    num_items = odds_NJ.shape[1]
    num_slates = math.comb(num_items, count)
    if num_slates > MAX_SLATES:
        raise UserError(
            f"agent.slate_optimiser=exact would look at {num_slates:,} slates of {count} among "
            f"{num_items:,} items: expected at most {MAX_SLATES:,}; use ratio, which finds as good."
        )
    slate_AK = _every(num_items, count).to(odds_NJ.device)
    worth_NJ = odds_NJ * advantage_NJ
    worth_NA, mass_NA, filled_NA = (
        value_NJ[:, slate_AK].sum(-1) for value_NJ in (worth_NJ, odds_NJ, allowed_NJ.to(odds_NJ))
    )
    fullest_NA = filled_NA >= filled_NA.amax(-1, keepdim=True)
    lifted_NA = (worth_NA / (1.0 + mass_NA)).masked_fill(~fullest_NA, -torch.inf)
    return slate_AK[lifted_NA.argmax(-1)]


@functools.lru_cache(maxsize=4)
def _every(num_items: int, count: int) -> Tensor:
    return torch.tensor(list(itertools.combinations(range(num_items), count)))


def _led_by(slate_NK: Tensor, odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor) -> Tensor:
    """Scores led by this slate in its order; the others follow by what they would add to it."""
    lifted_N = lifted(odds_NJ, advantage_NJ, slate_NK)
    score_NJ = _scores(odds_NJ, advantage_NJ, allowed_NJ, lifted_N)
    below_NJ = score_NJ - score_NJ.amax(-1, keepdim=True).clamp(min=torch.finfo(score_NJ.dtype).min)
    order_K = torch.arange(slate_NK.shape[1], 0, -1, device=slate_NK.device).to(score_NJ)
    led_NJ = below_NJ.scatter(-1, slate_NK, order_K.expand_as(slate_NK))
    return led_NJ.masked_fill(~allowed_NJ, -torch.inf)


def _scores(odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor, lifted_N: Tensor) -> Tensor:
    score_NJ = odds_NJ * (advantage_NJ - lifted_N.unsqueeze(-1))
    return score_NJ.masked_fill(~allowed_NJ, -torch.inf)
