"""recgym.worlds.tiny: the shop whose best policy is known."""

from __future__ import annotations

import pytest
import torch

from agents.baselines import Random
from recgym.errors import UserError
from recgym.rollout import rollout
from recgym.shops import open_shop
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import After, Kind, Observation, Outcome
from recgym.worlds.tiny import TinyShop, TinyState

SPEC = ObservationSpec(Simulator(TinyShop(), num_slots=2), "history")


def test_the_site_can_see_all_of_the_state() -> None:
    # Why: only then is the best policy one that an agent can learn. Who bought is satisfied, the
    # profile is the kind, nobody carts, and nobody stays beyond the fifth page.
    lanes = 2_000
    satisfied = torch.zeros(lanes)

    def on_step(index: torch.Tensor, state: SimState, _: Observation, outcome: Outcome) -> None:
        user, event = state.user, outcome.event
        assert isinstance(user, TinyState)
        assert torch.equal(user.kind, state.arrival.profile.argmax(-1))
        assert torch.equal(user.satisfied, satisfied[index])
        satisfied[index[event.after == int(After.BUY)]] = 1.0
        assert bool((event.after % int(After.BUY) == 0).all())
        assert bool((event.kind != int(Kind.CHECKOUT)).all())
        last = state.visit.page_number == 4
        assert bool(outcome.left[last].all())

    seed = torch.arange(lanes)
    stats = rollout(SPEC, Random(num_slots=2), seed, seed * 0, on_step=on_step)
    assert int(stats.pages.max()) == 5 and 0.5 < float(stats.orders.mean()) < 1.0


def test_kinds_come_in_their_shares_and_sessions_on_different_days() -> None:
    # Why: `everyone` weighs the kinds by these shares in the exact solution.
    world = SPEC.simulator.shop
    assert isinstance(world, TinyShop)
    seed = torch.arange(100_000)
    share = world.arrive(seed, seed * 0).profile.mean(0)
    assert share.tolist() == pytest.approx(world.everyone()[1].tolist(), abs=0.005)
    again = torch.zeros(10, dtype=torch.int64)
    start = world.arrive(again, torch.arange(10)).start_ms
    assert len(start.unique()) == 10 and len((start % 86_400_000).unique()) == 1


def test_a_redundant_page_only_takes_over() -> None:
    # Why: the name must hold for whatever else is set.
    plain, redundant = TinyShop(), TinyShop(redundant=True, page_weight=1.0)
    assert float(redundant.page_weight) == 0.0
    assert torch.equal(plain.catalog.price, redundant.catalog.price)
    found = redundant.category_ZC.exp()[:, redundant.catalog.category] * redundant.table.share.T
    assert torch.allclose(found, redundant.appeal_ZI.exp(), atol=1e-6)


def test_it_opens_by_name_and_refuses_what_is_no_shop() -> None:
    # Why: `shop="world:tiny"` is how the tables of the README reach it.
    shop, encoder = open_shop("world:tiny")
    assert isinstance(shop, TinyShop) and encoder is None
    with pytest.raises(UserError, match="at least 4 items and 2 pages"):
        TinyShop(num_pages=1)
