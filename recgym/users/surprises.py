"""What happened less what a user model expected: how a memory reads an event."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.lanes import Record
from recgym.types import After, Event, Kind

NUM_TALLIES = 6
HAZARD = 3  # which of them is the hazard survived


@dataclass(frozen=True)
class Expectation(Record):
    """What the model expected of a page: what happens is compared with it."""

    leave: Tensor  # [N] probability of leaving
    slot: Tensor  # [N, K] probability of each slot, given a view
    after: Tensor  # [N, 4] probability of what would follow the view, in the order of After
    found: Tensor  # [N, X] mean over what a search would find of the items' inputs to the memory
    usual: Tensor  # [N, X] the same with nothing on the page
    searched: Tensor  # [N] chance that the event's item, had it been found, was searched
    liked: Tensor | None = None  # [N, K] how each slot pleases by the belief, where `Page.told` is

    def sold(self) -> Tensor:
        """Probability that what was viewed is carted or bought, [N]."""
        return self.after[:, int(After.CART) :].sum(-1)


def tallies(expected: Expectation, event: Event) -> Tensor:
    """Surprises of one step, whose sums tell types of shoppers apart, [N, NUM_TALLIES].

    Favourite, cart, buy; the hazard survived; orders; views. For a shopper with a constant unknown
    tendency such sums are what its posterior depends on; but that who has ordered wants less is no
    surprise, and so orders and views are counted as they are. Of clicks there is no such sum: what
    a click or a page passed over tells, segments and tastes say by Bayes' rule. A log knows a slope
    of sales on that sum to a percent of what sells after a page; on pages that please more than the
    log's, a policy would live on that percent.
    """
    dtype, device = expected.leave.dtype, expected.leave.device
    followed_N3 = event.after.unsqueeze(-1) == torch.arange(1, len(After), device=device)
    kind_2 = torch.arange(int(Kind.CHECKOUT), int(Kind.VIEW) + 1, device=device)
    kind_N2 = (event.kind.unsqueeze(-1) == kind_2).to(dtype)
    happened_N3 = followed_N3.to(dtype)
    surprise_N3 = happened_N3 - expected.after[:, 1:] * kind_N2[:, 1:]
    order_N1 = kind_N2[:, :1] + happened_N3[:, 2:]  # a cart paid, or bought at once
    return torch.cat([surprise_N3, expected.leave.unsqueeze(-1), order_N1, kind_N2[:, 1:]], -1)


def squashed(tally_NF: Tensor) -> Tensor:
    """Sums brought to the scale of their logarithms, signs kept, [N, NUM_TALLIES]."""
    return tally_NF.abs().log1p().copysign(tally_NF)
