"""agents.ppo: ranking, advantages and objective by hand; masks, limits, and real learning."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from probe_model import ITEMS, MODEL, SLOTS, SPEC, first_pages

from agents.on_policy import surrogate
from agents.ppo import PPO
from recgym.envs.core import ShopCore
from recgym.errors import UserError


def agent_of(**changed: Any) -> PPO:
    settings: dict[str, Any] = {
        "user_model": MODEL,
        "num_features": SPEC.num_features,
        "num_slots": SLOTS,
        "cart_paid": 0.0,
        "hidden": 32,
        "sharpness": 1e-3,
    }
    return PPO(**{**settings, **changed})


def test_rankings_are_drawn_with_their_probabilities() -> None:
    # Why: Gumbel noise and the likelihood must be of one policy, or the ratio is wrong. The first
    # item of 20,000 draws, against the softmax of the logits, within four standard errors.
    agent = agent_of(sharpness=1.0, num_candidates=ITEMS)
    with torch.no_grad():
        agent.network.taste.bias.copy_(torch.linspace(-1.0, 1.0, agent.network.taste.out_features))
    page = first_pages(20_000)
    first = agent.act(page, explore=True)[:, 0]
    with torch.no_grad():
        found, logit = agent._ranked(page)
    share = torch.zeros(len(first), ITEMS).scatter(1, found.item, logit.softmax(-1)).mean(0)
    drawn = torch.bincount(first, minlength=ITEMS) / len(first)
    assert bool(((drawn - share).abs() < 4 * (share * (1 - share) / len(first)).sqrt()).all())
    assert float(share.max() / share.min()) > 3  # it is no uniform draw


def test_the_objective_by_hand() -> None:
    # Why: equation 7: a gain is not pursued beyond 1.2 times, a loss counts in full.
    ratio, gain = torch.tensor([1.5, 1.5, 0.5, 0.5]), torch.tensor([2.0, -2.0, 2.0, -2.0])
    assert surrogate(ratio, gain, 0.2).tolist() == pytest.approx([2.4, -3.0, 1.0, -1.6])
    assert surrogate(ratio, gain, None).tolist() == pytest.approx([3.0, -3.0, 1.0, -1.0])


def test_what_is_stored_is_the_page_s_own_probability_and_value() -> None:
    # Why: the reset observation taken for the next one, or a probability of other items, are the
    # classical traps. With logits all alike, 20 * 19 * 18 orders are equally likely.
    core = ShopCore(SPEC, "revenue", num_envs=64, max_pages=2)
    agent = agent_of(horizon=10**6, sharpness=1e-12)
    with torch.no_grad():
        agent.network.value.bias.fill_(3.0)
        agent.network.value.weight.normal_(generator=torch.Generator().manual_seed(0))
    observation = core.reset(0)
    for _ in range(2):
        item_NK = agent.act(observation, explore=True)
        transition = core.step(item_NK)
        assert agent.learn(observation, item_NK, transition) == {}
        rows, observation = agent.rows[-1], transition.observation
        assert torch.allclose(rows["old"], torch.tensor(-math.log(20 * 19 * 18)), atol=1e-4)
        assert torch.equal(rows["item"].gather(1, rows["place"]), item_NK)
        final = agent.network.values(transition.final_observation.feature)
        assert torch.equal(rows["next_value"], final.detach())
    cut = transition.truncated
    assert bool(cut.any()) and bool(transition.terminated.any())
    assert not torch.equal(rows["next_value"][cut], agent.network.values(observation.feature)[cut])


def test_a_shop_without_a_user_model_is_refused_in_a_sentence() -> None:
    # Why: the retrieval has nothing to build on there.
    with pytest.raises(UserError, match="retrieve items through a fitted user model"):
        agent_of(user_model=None)
