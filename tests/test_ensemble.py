"""recgym.users.ensemble: many models as one shop, and what they are of several minds about."""

from __future__ import annotations

import copy
from operator import attrgetter
from typing import Any

import pytest
import torch
from probe_shop import learned_shop
from torch import Tensor

from recgym import choice, organic
from recgym.errors import UserError
from recgym.simulator import SimState, Simulator
from recgym.types import Event, Kind, Outcome, Page
from recgym.users.base import by_segment
from recgym.users.ensemble import Ensemble
from recgym.users.lstm import LSTMUserModel
from recgym.visit import begin

F64 = torch.float64
SLOTS, LANES = 3, 64


def moved(seed: int, dtype: torch.dtype = F64) -> LSTMUserModel:
    """The model of the tests, its parameters moved by a seed."""
    model = learned_shop(torch.float32)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    model.project()
    return model.to(dtype).eval()


MEMBERS = [moved(seed) for seed in range(3)]
SHOP = Ensemble(MEMBERS)


def pages(num_lanes: int, steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(-1, 40, (LANES * 8, SLOTS), generator=generator)[:num_lanes]
        for _ in range(steps)
    ]


def play(shop: Any, seed_N: Tensor, steps: int, **settings: Any) -> tuple[SimState, list[Outcome]]:
    simulator = Simulator(shop, num_slots=SLOTS, dtype=F64, **settings)
    state, outcomes = simulator.reset(seed_N, torch.zeros_like(seed_N)), []
    for item_NK in pages(len(seed_N), steps):
        state, outcome = simulator.step(state, simulator.page(state, item_NK))
        outcomes.append(outcome)
    return state, outcomes


@torch.no_grad()
def test_each_shopper_meets_one_member_and_that_one_answers() -> None:
    # Why: the batched pass over all members must be the member's own law, step after step.
    seed_N = torch.arange(LANES)
    state, outcomes = play(SHOP, seed_N, 6)
    met = state.user.member  # type: ignore[attr-defined]
    assert met.unique().tolist() == [0, 1, 2]
    for number, member in enumerate(MEMBERS):
        alone, expected = play(member, seed_N, 6)
        mine = met == number
        for a, b in zip(outcomes, expected, strict=True):
            assert torch.equal(a.event.item[mine], b.event.item[mine])
            assert torch.equal(a.event.after[mine], b.event.after[mine])
            torch.testing.assert_close(a.expected_revenue[mine], b.expected_revenue[mine])
            torch.testing.assert_close(a.event.gap[mine], b.event.gap[mine])
        own, theirs = state.user.each, alone.user  # type: ignore[attr-defined]
        for name in ("h", "memory.c", "tally", "evidence"):
            mine_now, expected_now = (attrgetter(name)(user) for user in (own, theirs))
            torch.testing.assert_close(
                mine_now[mine, number], expected_now[mine], rtol=0, atol=1e-10
            )


def test_lanes_agree_exactly_for_any_number_of_lanes() -> None:
    many, few = (play(SHOP, torch.arange(n), 6, doubt=True)[1] for n in (8 * LANES, 16))
    for a, b in zip(many, few, strict=True):
        assert torch.equal(a.event.item[:16], b.event.item)
        torch.testing.assert_close(a.doubt[:16], b.doubt, rtol=0, atol=1e-10)


def test_members_are_met_alike_and_sessions_draw_anew() -> None:
    seed_N = torch.arange(3000)
    first, second = (
        SHOP.init_state(SHOP.arrive(seed_N, torch.full_like(seed_N, s))).member for s in (0, 1)
    )
    assert torch.bincount(first).tolist() == pytest.approx([1000, 1000, 1000], rel=0.1)
    assert (first == second).double().mean() == pytest.approx(1 / 3, abs=0.05)


@torch.no_grad()
def test_one_table_serves_the_organic_laws_of_all_members() -> None:
    # Why: lanes of different members are drawn and scored through the same lines.
    seed_N = torch.arange(LANES)
    arrival = SHOP.arrive(seed_N, torch.zeros_like(seed_N))
    visit = begin(arrival.start_ms, SLOTS, F64)
    page = Page(pages(LANES, 1)[0].abs(), torch.full((LANES, SLOTS), 10.0, dtype=F64))
    state = SHOP.init_state(arrival)
    supposed = SHOP.suppose(SHOP.read(state), torch.full((LANES,), 0.5, dtype=F64))
    found = choice.probabilities(choice.law(SHOP.respond(supposed, page, visit), visit))
    total = found.leave + found.checkout + found.organic.sum(-1) + found.slot.sum(-1)
    torch.testing.assert_close(total, torch.ones(LANES, dtype=F64))
    own = SHOP.respond(supposed, page, visit).organic
    for number, member in enumerate(MEMBERS):
        mine = state.member == number
        expected = organic.probabilities(member.read(member.init_state(arrival)).found)
        torch.testing.assert_close(organic.probabilities(own)[mine], expected[mine])


@torch.no_grad()
def test_segments_are_those_of_the_member_met() -> None:
    seed_N = torch.arange(LANES)
    arrival = SHOP.arrive(seed_N, torch.zeros_like(seed_N))
    visit = begin(arrival.start_ms, SLOTS, F64)
    state = SHOP.init_state(arrival)
    price_NI = SHOP.catalog.price_at(visit.time_ms)
    mixed = sum(s * SHOP.appeal(r, visit, price_NI) for s, r in by_segment(SHOP, SHOP.read(state)))
    for number, member in enumerate(MEMBERS):
        mine, reading = state.member == number, member.read(member.init_state(arrival))
        alone = sum(s * member.appeal(r, visit, price_NI) for s, r in by_segment(member, reading))
        assert isinstance(mixed, Tensor) and isinstance(alone, Tensor)
        torch.testing.assert_close(mixed[mine], alone[mine])


def dearer(by: float) -> LSTMUserModel:
    """A member who carts and buys with other odds, and is alike in all else."""
    model = copy.deepcopy(MEMBERS[0])
    with torch.no_grad():
        model.heads.of("level")[1][1:3] += by
    return model.eval()


@torch.no_grad()
def test_doubt_is_what_the_clicked_slots_sales_are_uncertain_by() -> None:
    # Why: by hand: members agree on clicks, so it is the deviation of P(sold) times the price.
    pair = [dearer(0.0), dearer(1.0)]
    shop, seed_N = Ensemble(pair), torch.arange(LANES)
    arrival = shop.arrive(seed_N, torch.zeros_like(seed_N))
    visit = begin(arrival.start_ms, SLOTS, F64)
    item_NK = torch.arange(SLOTS).expand(LANES, SLOTS)
    page = Page(item_NK, torch.full((LANES, SLOTS), 20.0, dtype=F64))
    minus = torch.full((LANES,), -1)
    slot_N = torch.arange(LANES) % (SLOTS + 1) - 1
    zero_N = torch.zeros(LANES, dtype=F64)
    event = Event(minus * 0 + int(Kind.VIEW), slot_N, slot_N, minus * 0, zero_N, zero_N, zero_N)
    doubt_N = shop.doubt(shop.read(shop.init_state(arrival)), page, event, visit)
    sold = []
    for member in pair:
        supposed = member.typical(member.read(member.init_state(arrival)))
        supposed = member.facing(supposed, page, visit)
        logits = member.after(supposed, item_NK, page.price, True)
        bought_NK = logits.buy.sigmoid()
        sold.append(bought_NK + (1 - bought_NK) * logits.cart.sigmoid())
    apart_NK = (sold[0] - sold[1]).abs() / 2**0.5 * 20.0
    expected_N = apart_NK.gather(-1, slot_N.clamp(min=0).unsqueeze(-1)).squeeze(-1) * (slot_N >= 0)
    torch.testing.assert_close(doubt_N, expected_N)
    assert (doubt_N[slot_N >= 0] > 0).all()
    alike = Ensemble([dearer(0.0), dearer(0.0)])
    assert not alike.doubt(alike.read(alike.init_state(arrival)), page, event, visit).any()


def test_members_of_two_sizes_end_in_a_sentence() -> None:
    other = copy.copy(MEMBERS[0])
    other.settings = {**other.settings, "hidden": 7}
    with pytest.raises(UserError, match="members of an ensemble differ"):
        Ensemble([MEMBERS[0], other])


def test_a_state_moves_lane_by_lane() -> None:
    # Why: refilled lanes and finished sessions go through Record's own lines.
    seed_N = torch.arange(8)
    state = SHOP.init_state(SHOP.arrive(seed_N, torch.zeros_like(seed_N)))
    picked = state.lanes(torch.tensor([5, 2]))
    assert picked.each.h.shape == (2, 3, MEMBERS[0].memory.hidden_size)
    assert torch.equal(picked.each.h[0], state.each.h[5])
