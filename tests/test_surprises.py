"""recgym.users.surprises: what happened less what was expected, by hand."""

from __future__ import annotations

import torch

from recgym.types import After, Event, Kind
from recgym.users.surprises import Expectation, squashed, tallies

F64 = torch.float64


def test_tallies_by_hand() -> None:
    # Why: sales count less their chances, and only where a view could bring them; a cart that is
    # paid is an order, and so is what is bought at once; to cart is none.
    kind = torch.tensor([Kind.VIEW, Kind.VIEW, Kind.VIEW, Kind.CHECKOUT]).long()
    after = torch.tensor([After.BUY, After.CART, After.NOTHING, After.NOTHING]).long()
    slot = torch.tensor([0, -1, 1, -1])
    none = torch.zeros(4, dtype=F64)
    event = Event(kind, torch.tensor([3, 4, 5, -1]), slot, after, none, none, none)
    expected = Expectation(
        leave=torch.full((4,), 0.25, dtype=F64),
        slot=torch.tensor([[0.5, 0.125]] * 4, dtype=F64),
        after=torch.tensor([[0.25, 0.125, 0.5, 0.125]] * 4, dtype=F64),
        found=torch.zeros(4, 1, dtype=F64),
        usual=torch.zeros(4, 1, dtype=F64),
        searched=torch.ones(4, dtype=F64),
    )
    favourite, cart, buy, hazard, orders, views = tallies(expected, event).T.tolist()
    assert favourite == [-0.125, -0.125, -0.125, 0.0]
    assert cart == [-0.5, 0.5, -0.5, 0.0]
    assert buy == [0.875, -0.125, -0.125, 0.0]
    assert hazard == [0.25] * 4
    assert orders == [1.0, 0.0, 0.0, 1.0]
    assert views == [1.0, 1.0, 1.0, 0.0]


def test_sums_are_brought_to_the_scale_of_logarithms_with_their_signs() -> None:
    tally = torch.tensor([[-2.0, 0.0, 2.0]], dtype=F64)
    assert torch.equal(squashed(tally), torch.tensor([[-3.0, 1.0, 3.0]], dtype=F64).abs().log()
                       * torch.tensor([[-1.0, 1.0, 1.0]], dtype=F64))  # fmt: skip
