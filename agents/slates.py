"""The best slate for given values of items: a ratio of sums, since what is shown competes.

Under a logit, item i of the slate A is clicked with probability v(i) / (1 + sum over j in A of
v(j)) and else something is found alone; what the slate is worth above such finds is

    lambda(A) = sum over i in A of v(i) a(i) / (1 + sum over i in A of v(i)),

a(i) being the item's advantage over a find. An item lifts it only where a(i) > lambda(A):
one that is often clicked and worth less than the rest of the page takes clicks away from that.

What is shown also pulls on whether anything is viewed (`viewed`). With M = 1 + sum of v(i), W = sum
of v(i) a(i), and D what a view of something found alone is worth above none, the slate adds
view(M) (D + W / M) to the value of no view, and a unit of mass costs

    lambda(A) = W / M - w (1 - view(M)) (D + W / M),

w being the page's weight: the derivative by M, over view(M) / M. Without a `Pull` w is 0. The slate
is sought by one of four optimisers, all of full slates:

- `ratio`, the best one, by the iteration of Dinkelbach 1967, "On nonlinear fractional programming":
  for the lambda so far, the K items of highest v(i) (a(i) - lambda) have a higher one, until none
  has; with a pull of a weight between 0 and 1 it ends at a slate that no other beats to first
  order;
- `top_k` and `greedy`, the heuristics of Ie et al. 2019, "SlateQ", section 4.3: the K items of
  highest v(i) a(i), which overlooks competition; and item by item the one that lifts lambda most
  beside those chosen before, which is bound to the first;
- `exact`, the best of all slates, each looked at: a check on `ratio`, for few items and slots.

Deviation: the paper's heuristics weigh values Q(i) where a find is worth 0; here they
weigh advantages, which are the same there.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.errors import UserError

OPTIMISERS = ("ratio", "top_k", "greedy", "exact")
ROUNDS = 5  # it converges faster than linearly
MAX_SLATES = 50_000  # that `exact` looks at in each lane


@dataclass(frozen=True)
class Pull:
    """How a page keeps shoppers viewing, and what that is worth."""

    stay: Tensor  # [N] D, in the unit of advantages
    go_on: Tensor  # [N] probability of a view beside an empty page
    weight: Tensor  # [] w


def viewed(mass_X: Tensor, go_on_X: Tensor, page_weight: Tensor) -> Tensor:
    """The probability of a view where the page and what is found anyway have this mass."""
    pulled_X = go_on_X * mass_X**page_weight
    view_X: Tensor = pulled_X / (pulled_X + 1.0 - go_on_X)
    return view_X


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
    pull: Pull | None = None,
) -> Tensor:
    """Scores whose top K are the slate that is sought, [N, J]; -inf where none may be shown.

    Args:
        odds_NJ: v, odds of a click on each item against a find.
        advantage_NJ: a, in any unit.
        allowed_NJ: items that may be shown, bool.
        num_slots: K.
        optimiser: one of `OPTIMISERS`.
        pull: of pages on whether anything is viewed; None: they have none.
    """
    odds_NJ, count = odds_NJ * allowed_NJ, min(num_slots, odds_NJ.shape[1])
    none_N = odds_NJ.new_zeros(len(odds_NJ))
    cost_N = _cost(none_N, none_N + 1.0, pull)
    if optimiser == "top_k":
        return _scores(odds_NJ, advantage_NJ, allowed_NJ, cost_N)
    if optimiser != "ratio":
        search = _greedy if optimiser == "greedy" else _exact
        slate_NK = search(odds_NJ, advantage_NJ, allowed_NJ, count, pull)
        return _led_by(slate_NK, odds_NJ, advantage_NJ, allowed_NJ, pull)
    score_NJ = _scores(odds_NJ, advantage_NJ, allowed_NJ, cost_N)
    for _ in range(ROUNDS):
        slate_NK = score_NJ.topk(count, -1, sorted=False).indices
        cost_N = _cost(*_sums(odds_NJ, advantage_NJ, slate_NK), pull)
        score_NJ = _scores(odds_NJ, advantage_NJ, allowed_NJ, cost_N)
    return score_NJ


def lifted(odds_NJ: Tensor, advantage_NJ: Tensor, slate_NK: Tensor) -> Tensor:
    """Lambda of slates of columns ``slate_NK``, [N]; columns without odds count as empty slots."""
    worth_N, mass_N = _sums(odds_NJ, advantage_NJ, slate_NK)
    return worth_N / mass_N


def _sums(odds_NJ: Tensor, advantage_NJ: Tensor, slate_NK: Tensor) -> tuple[Tensor, Tensor]:
    """W and M of slates, [N] each."""
    odds_NK = odds_NJ.gather(-1, slate_NK)
    worth_NK = odds_NK * advantage_NJ.gather(-1, slate_NK)
    return worth_NK.sum(-1), 1.0 + odds_NK.sum(-1)


def _value(worth_NX: Tensor, mass_NX: Tensor, pull: Pull | None) -> Tensor:
    """What slates of these W and M add, up to what is the same for all, [N, X]."""
    if pull is None:
        return worth_NX / mass_NX
    view_NX = viewed(mass_NX, pull.go_on.unsqueeze(-1), pull.weight)
    return view_NX * (pull.stay.unsqueeze(-1) + worth_NX / mass_NX)


def _cost(worth_N: Tensor, mass_N: Tensor, pull: Pull | None) -> Tensor:
    """Lambda of slates of these W and M, [N]."""
    each_N = worth_N / mass_N
    if pull is None:
        return each_N
    end_N = 1.0 - viewed(mass_N, pull.go_on, pull.weight)
    return each_N - pull.weight * end_N * (pull.stay + each_N)


def _greedy(
    odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor, count: int, pull: Pull | None
) -> Tensor:
    """Item by item the one that adds most beside those chosen before, [N, K]."""
    worth_NJ, chosen_NJ = odds_NJ * advantage_NJ, torch.zeros_like(allowed_NJ)
    never = torch.finfo(worth_NJ.dtype).min  # finite: where too few are left, before those chosen
    worth_N1, mass_N1 = torch.zeros_like(worth_NJ[:, :1]), torch.ones_like(worth_NJ[:, :1])
    slate = []
    for _ in range(count):
        value_NJ = _value(worth_N1 + worth_NJ, mass_N1 + odds_NJ, pull)
        value_NJ = value_NJ.masked_fill(~allowed_NJ, never)
        item_N1 = value_NJ.masked_fill(chosen_NJ, -torch.inf).argmax(-1, keepdim=True)
        worth_N1 = worth_N1 + worth_NJ.gather(-1, item_N1)
        mass_N1 = mass_N1 + odds_NJ.gather(-1, item_N1)
        chosen_NJ = chosen_NJ.scatter(-1, item_N1, True)
        slate.append(item_N1)
    return torch.cat(slate, -1)


def _exact(
    odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor, count: int, pull: Pull | None
) -> Tensor:
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
    value_NA = _value(worth_NA, 1.0 + mass_NA, pull).masked_fill(~fullest_NA, -torch.inf)
    return slate_AK[value_NA.argmax(-1)]


@functools.lru_cache(maxsize=4)
def _every(num_items: int, count: int) -> Tensor:
    return torch.tensor(list(itertools.combinations(range(num_items), count)))


def _led_by(
    slate_NK: Tensor,
    odds_NJ: Tensor,
    advantage_NJ: Tensor,
    allowed_NJ: Tensor,
    pull: Pull | None,
) -> Tensor:
    """Scores led by this slate in its order; the others follow by what they would add to it."""
    cost_N = _cost(*_sums(odds_NJ, advantage_NJ, slate_NK), pull)
    score_NJ = _scores(odds_NJ, advantage_NJ, allowed_NJ, cost_N)
    below_NJ = score_NJ - score_NJ.amax(-1, keepdim=True).clamp(min=torch.finfo(score_NJ.dtype).min)
    order_K = torch.arange(slate_NK.shape[1], 0, -1, device=slate_NK.device).to(score_NJ)
    led_NJ = below_NJ.scatter(-1, slate_NK, order_K.expand_as(slate_NK))
    return led_NJ.masked_fill(~allowed_NJ, -torch.inf)


def _scores(odds_NJ: Tensor, advantage_NJ: Tensor, allowed_NJ: Tensor, cost_N: Tensor) -> Tensor:
    score_NJ = odds_NJ * (advantage_NJ - cost_N.unsqueeze(-1))
    return score_NJ.masked_fill(~allowed_NJ, -torch.inf)
