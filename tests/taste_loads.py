"""Loads of items on tastes, made up, for tests by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.users import tastes
from recgym.users.tastes import NUM_TASTES, Loads

F64 = torch.float64


def along_first(*value: float) -> Tensor:
    """Loads of items on the first taste, and none on the others, [I, V]."""
    load_IV = torch.zeros(len(value), NUM_TASTES, dtype=F64)
    load_IV[:, 0] = torch.tensor(value, dtype=F64)
    return load_IV


def loads_of(
    click_IV: Tensor,
    sale_IV: Tensor,
    efficiency: tuple[float, ...] = (1.0, 1.0, 1.0),
    found_XV: Tensor | None = None,
    surprise: float = 0.0,
) -> Loads:
    """Loads of which finds say nothing, or as much as surprises of this variance, uncorrelated."""
    found_XV = along_first(0.0) if found_XV is None else found_XV
    found_VV = surprise * found_XV.T @ found_XV
    # an item's one input is its number
    input_IX = torch.arange(len(click_IV), dtype=F64).unsqueeze(-1)
    find_IV = efficiency[2] * input_IX @ found_XV
    share_3, zero = torch.tensor(efficiency, dtype=F64), torch.zeros((), dtype=F64)
    told_2 = torch.tensor(tastes.TOLD, dtype=F64)
    return Loads(click_IV, sale_IV, find_IV, click_IV, zero, found_XV, found_VV, share_3, told_2)


def some_loads(num_items: int, generator: torch.Generator) -> Loads:
    click_IV, sale_IV = torch.randn(2, num_items, NUM_TASTES, generator=generator, dtype=F64)
    found_XV = torch.randn(1, NUM_TASTES, generator=generator, dtype=F64)
    return loads_of(click_IV, sale_IV, (0.7, 1.6, 0.4), found_XV, 0.5)
