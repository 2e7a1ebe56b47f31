"""recgym.ads.bidding: one campaign against the others, by hand, within its budget, and paced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from probe_market import small_catalog

from recgym.ads.bidding import BidStream, PidPacing, PidState, play
from recgym.ads.campaigns import campaigns_of, draw_campaigns
from recgym.errors import UserError
from recgym.worlds.taste import TasteShop

ROWS = [
    {"item": 0, "bid": 0.50, "budget": 1.0},
    {"item": 1, "bid": 0.40, "value": 0.6, "budget": 1.0},
    {"item": 2, "bid": 0.30, "value": 0.3, "budget": 1.0},
]


def certain(**settings: Any) -> BidStream:
    """Every rival takes part in every request, and the first slot is always clicked."""
    known: dict[str, Any] = {"rate": 1.0, "rate_spread": 0.0, "participation": 1.0}
    return BidStream(campaigns_of(ROWS, small_catalog()), **{**known, **settings})


def tight(pricing: str = "gsp", **settings: Any) -> BidStream:
    """A campaign that could spend some two and a half budgets in a day."""
    found = draw_campaigns(TasteShop(num_items=200).catalog, seed=0, num_campaigns=20)
    budget = found.budget.clone()
    budget[7] = 1_000_000
    return BidStream(replace(found, budget=budget), own=7, pricing=pricing, **settings)


def bid(value: float, lanes: int = 1) -> torch.Tensor:
    return torch.full((lanes,), value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("pricing", "multiplier", "slot", "charge"),
    [
        ("gsp", 1.0, 0, 400_000),  # 0.5 against 0.4 and 0.3
        ("first_price", 1.0, 0, 500_000),
        ("vcg", 1.0, 0, 329_289),  # 0.4 · (1 - 2^-1/2) + 0.3 · 2^-1/2 = 0.3292893
        ("gsp", 0.5, -1, 0),  # 0.25 is third for two slots
        ("gsp", 0.0, -1, 0),
        ("gsp", 2.2, -1, 0),  # 1.1 is more than the budget pays for
    ],
)
def test_a_request_by_hand(pricing: str, multiplier: float, slot: int, charge: int) -> None:
    # Why: the same auction as the platform's, seen from the other side.
    stream = certain(pricing=pricing)
    nought = torch.zeros(1, dtype=torch.int64)
    state, outcome = stream.step(stream.begin(nought, nought), bid(multiplier))
    assert outcome.slot.tolist() == [slot]
    assert outcome.charge.tolist() == state.spent.tolist() == [charge]
    assert outcome.value.tolist() == [0.5 if charge else 0.0]
    assert state.step.tolist() == [1]


def test_the_second_slot_is_clicked_less_often() -> None:
    # Why: by 2^-1/2, the slot's share.
    stream = certain()
    seed = torch.arange(4000)
    _, outcome = stream.step(stream.begin(seed, torch.zeros_like(seed)), bid(0.7, 4000))
    assert (outcome.slot == 1).all()
    assert float(outcome.clicked.double().mean()) == pytest.approx(0.7071, abs=0.03)
    assert outcome.charge.unique().tolist() == [0, 300_000]


@pytest.mark.parametrize("pricing", ["gsp", "first_price", "vcg"])
def test_no_day_is_overspent(pricing: str) -> None:
    # Why: a budget is a promise, whatever is bid.
    stream = tight(pricing, rate=0.2)
    for policy in (1.0, 3.0, PidPacing(most=3.0)):
        _, spent = play(stream, torch.arange(200), policy)
        assert (spent <= stream.budget).all()
        if isinstance(policy, float):  # the budget binds: what is left pays for no other bid
            bid = policy * float(stream.campaigns.value[7]) * 1e6
            assert float((spent > stream.budget - bid).double().mean()) > 0.9


def test_a_day_does_not_depend_on_the_others() -> None:
    # Why: lane 7 of many is the day of seed 7.
    stream = tight(reaction=0.01)
    value, spent = play(stream, torch.arange(20), PidPacing())
    one_value, one_spent = play(stream, torch.tensor([7]), PidPacing())
    assert (value[7], spent[7]) == (one_value[0], one_spent[0])
    assert len(spent.unique()) > 10


def test_pid_by_hand() -> None:
    # Why: 0.4 of the budget spent after a quarter of the day: the error is -0.15, its sum
    # -0.15 / 500 more; the signal -0.75 and 20 times that sum.
    stream = tight()
    nought = torch.zeros(2, dtype=torch.int64)
    state = stream.begin(nought, nought)
    state = replace(state, step=nought + 125, spent=torch.tensor([400_000, 100_000]))
    memory = PidState(torch.zeros(2).double(), torch.tensor([-0.01, 0.0]).double())
    multiplier, memory = PidPacing(most=0.9).act(stream, state, memory)
    # e^(-0.75 - 0.206) · 0.9; the other lane is behind and bids all it may
    assert multiplier.tolist() == pytest.approx([0.345984, 0.9], abs=1e-6)
    assert memory.error.tolist() == pytest.approx([-0.15, 0.15])
    assert memory.total.tolist() == pytest.approx([-0.0103, 0.0])


def test_pid_spends_with_the_day_and_wins_more_than_bidding_the_value() -> None:
    # Why: a budget that is gone by noon was spent on the dearest clicks of the morning alone.
    stream = tight()
    seed = torch.arange(300)
    paced, spent = play(stream, seed, PidPacing())
    greedy, all_spent = play(stream, seed, 1.0)
    gain = paced - greedy
    assert float(gain.mean()) > 0.15 * float(greedy.mean())
    assert float(gain.mean()) > 4 * float(gain.std()) / 300**0.5
    assert float(spent.double().mean()) > 0.95 * float(all_spent.double().mean())
    state = constant = stream.begin(seed, torch.zeros_like(seed))
    pid = PidPacing()
    memory = pid.begin(state)
    for _ in range(250):  # until noon
        multiplier, memory = pid.act(stream, state, memory)
        state, _ = stream.step(state, multiplier)
        constant, _ = stream.step(constant, bid(1.0, 300))
    share = [float(x.spent.double().mean() / stream.budget) for x in (state, constant)]
    assert share[0] == pytest.approx(0.5, abs=0.05)
    assert share[1] > 0.7


def test_rivals_react_slowly_up_to_their_value() -> None:
    # Why: by hand: beaten on each request, the rival with a shaded bid goes up by 1 % each time, to
    # 0.6 / 0.4 at most; the one that bids its value stays; and they forget what does not beat them.
    stream = certain(reaction=0.01)
    nought = torch.zeros(1, dtype=torch.int64)
    state = stream.begin(nought, nought)
    # no budget binds: what is asked is how rivals bid
    stream.budget = torch.tensor(10**12)
    state, first = stream.step(state, bid(2.0))
    assert state.rival[0, 1:].tolist() == pytest.approx([1.010050, 1.0], abs=1e-6)
    for _ in range(60):
        state, last = stream.step(state, bid(2.0))
    assert state.rival[0, 1:].tolist() == pytest.approx([1.5, 1.0])
    assert (first.charge.tolist(), last.charge.tolist()) == ([400_000], [600_000])
    for _ in range(60):
        state, _ = stream.step(state, bid(0.1))
    assert state.rival[0, 1:].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"own": 3}, "bidding.own=3: expected a campaign from 0 to 2."),
        ({"pricing": "cpa"}, "bidding.pricing='cpa': expected one that is paid per click, such as"),
        ({"pricing": "gps"}, "pricing='gps' is unknown: expected one of gsp, first_price"),
        ({"participation": 2.0}, "bidding.participation=2.0: expected a number from 0 to 1."),
    ],
)
def test_a_bad_setting_ends_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    # Why: before a day is played.
    with pytest.raises(UserError, match=sentence):
        certain(**settings)
