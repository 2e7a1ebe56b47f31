"""recgym.spaces: what a policy sees of the site is the same in both shops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probe_shop import TwoFeatures, learned_shop

from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation

F64 = torch.float64
MODEL = learned_shop(F64)
# other codes, features and prices than the log's
TRUE = TwoFeatures(num_items=40, seed=7, dtype=F64)


def seen(shop: Any, kind: str) -> Observation:
    simulator = Simulator(shop, encoder=MODEL, num_slots=4, dtype=F64)
    seed_N = torch.arange(3)
    spec = ObservationSpec(simulator, kind)
    return spec.observe(simulator.reset(seed_N, torch.zeros_like(seed_N)))


@pytest.mark.parametrize("kind", ["history", "encoder"])
def test_items_are_described_as_the_log_does_in_both_shops(kind: str) -> None:
    # Why: a policy that reads features would be another one in the shop that judges it, and what
    # lies between the two would be taken for an error of the user model.
    true, learned = seen(TRUE, kind), seen(MODEL, kind)
    for name in ("feature", "category"):
        assert not torch.equal(getattr(TRUE.catalog, name), getattr(MODEL.catalog, name))
        assert torch.equal(getattr(true.catalog, name), getattr(MODEL.catalog, name))
        assert torch.equal(getattr(learned.catalog, name), getattr(MODEL.catalog, name))


def test_prices_are_those_in_force_in_the_shop() -> None:
    # Why: a page costs what the shop asks, and not what the log remembers.
    true = seen(TRUE, "encoder")
    assert torch.equal(true.catalog.price, TRUE.catalog.price)
    assert torch.equal(true.price, TRUE.catalog.price_at(true.visit.time_ms))
    assert not torch.equal(TRUE.catalog.price, MODEL.catalog.price)
