"""agents.linear: bounds by hand, draws of the right spread, masks, and real learning."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from probe_model import ITEMS, MODEL, SIZE, SLOTS, SPEC, WORTH, first_pages
from torch import Tensor

from agents.linear import LinearBandit
from agents.outlook import NUM_SIGNS
from recgym.envs.core import ShopCore
from recgym.errors import UserError
from recgym.types import Outcome


def agent_of(**changed: Any) -> LinearBandit:
    settings: dict[str, Any] = {
        "user_model": MODEL,
        "num_slots": SLOTS,
        "cart_paid": 0.0,
        "num_candidates": ITEMS,
    }
    return LinearBandit(**{**settings, **changed})


def test_the_upper_bound_by_hand() -> None:
    # Why: with precision 4 on every weight, x = (3, 4) has a standard deviation of sqrt(25 / 4).
    agent = agent_of(prior=4.0)
    row = torch.zeros(1, len(agent.sum_Z), dtype=torch.float64)
    row[0, 1:3] = torch.tensor([3.0, 4.0])
    assert agent._width(row).item() == pytest.approx(2.5)
    # after one pull of x with reward 10 the weights are 10 x / (4 + 25), the spread sqrt(25 / 29)
    agent.precision_ZZ += row.T @ row
    agent.sum_Z += 10.0 * row[0]
    assert agent._mean()[1:3].tolist() == pytest.approx([30 / 29, 40 / 29])
    assert agent._width(row).item() == pytest.approx((25 / 29) ** 0.5)


def test_before_any_data_it_trusts_the_user_model() -> None:
    # Why: the prior is that an item brings what the model expects of it.
    agent = agent_of()
    found = agent.retrieved(first_pages(3))
    score_NM = agent._features(found.item, found.sign) @ agent._mean()
    assert torch.allclose(score_NM.float(), found.sign[..., 0].exp())
    assert agent._mean().tolist() == pytest.approx([1.0] + [0.0] * (1 + NUM_SIGNS + SIZE))


@pytest.mark.parametrize("kind", ["ucb", "thompson"])
def test_exploration_is_a_function_of_the_lane(kind: str) -> None:
    # Why: results must not depend on the number of lanes or on what was drawn before.
    agent = agent_of(kind=kind, alpha=5.0)
    few, many = agent.act(first_pages(8), explore=True), agent.act(first_pages(32), explore=True)
    assert torch.equal(few, many[:8])
    assert (len(many.unique(dim=0)) > 8) == (kind == "thompson")


def test_weights_are_drawn_with_the_posterior_s_spread() -> None:
    # Why: a draw of the wrong matrix explores what is known. How often each item comes first,
    # against 20,000 draws of weights of standard deviation 1 / sqrt(25).
    agent = agent_of(kind="thompson", alpha=1.0, num_slots=1, prior=25.0)
    page = first_pages(4000)
    found = agent.retrieved(page)
    feature = agent._features(found.item, found.sign)[0]
    mean = feature @ agent._mean()
    picked = agent.act(page, explore=True)[:, 0]
    share = torch.bincount(picked, minlength=ITEMS)[found.item[0]] / len(picked)
    draws = torch.randn(20_000, len(agent.sum_Z), dtype=torch.float64) / 5.0
    expected = torch.bincount((mean + draws @ feature.T).argmax(-1), minlength=ITEMS) / 20_000
    assert float(expected.max()) < 0.5  # several items are in question
    assert bool(((share - expected).abs() < 4 * (0.25 / 4000 + 0.25 / 20_000) ** 0.5).all())


@pytest.mark.parametrize("kind", ["ucb", "thompson"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_it_learns_the_best_slate_of_a_probe_shop(kind: str, shuffled: bool) -> None:
    # Why: what a click is worth is linear in the item's vector; rewards of other lanes say nothing.
    generator = torch.Generator().manual_seed(0)

    def reward(outcome: Outcome) -> Tensor:
        event = outcome.event
        paid_N = torch.where(event.slot >= 0, WORTH[event.item.clamp(min=0)], 0.0)
        return paid_N[torch.randperm(len(paid_N), generator=generator)] if shuffled else paid_N

    core = ShopCore(SPEC, reward, num_envs=64, max_pages=5)
    agent = agent_of(kind=kind, prior=1.0)
    observation = core.reset(0)
    for _ in range(60):
        item_NK = agent.act(observation, explore=True)
        transition = core.step(item_NK)
        agent.learn(observation, item_NK, transition)
        observation = transition.observation
    item_NK = agent.act(first_pages(200))
    found = float(WORTH[item_NK].sum(-1).mean() / WORTH.topk(SLOTS).values.sum())
    assert found < 0.8 if shuffled else found >= 0.95, found


def test_items_that_may_not_be_shown_are_not() -> None:
    # Why: stock and rules hold for a learner too, and where too few are left.
    page = first_pages(200)
    few = torch.zeros_like(page.eligible)
    few[:, [3, 7]] = True
    for kind in ("ucb", "thompson"):
        item = agent_of(kind=kind).act(dataclasses.replace(page, eligible=few), explore=True)
        assert set(item.flatten().tolist()) == {3, 7, -1}


def test_a_saved_agent_acts_alike(tmp_path: Any) -> None:
    # Why: a checkpoint is what an evaluation opens; it loads without pickled code.
    agent, other, page = agent_of(), agent_of(), first_pages(20)
    agent.sum_Z += torch.randn(len(agent.sum_Z), dtype=torch.float64) * 100
    torch.save(agent.state_dict(), tmp_path / "agent.pt")
    assert not torch.equal(agent.act(page), other.act(page))
    other.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    assert torch.equal(agent.act(page), other.act(page))


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    # Why: a typing error must not end in a traceback after a fit.
    with pytest.raises(UserError, match=r"agent\.kind=greedy: expected ucb or thompson"):
        agent_of(kind="greedy")
    with pytest.raises(UserError, match="retrieve items through a fitted user model"):
        agent_of(user_model=None)
