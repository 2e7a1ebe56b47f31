"""agents.dqn: slates valued by hand, targets that stop where they must, and real learning."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from probe_model import MODEL, SLOTS, SPEC, first_pages
from torch import Tensor

from agents.dqn import DQN
from recgym.envs.core import ShopCore
from recgym.errors import UserError


def agent_of(**changed: Any) -> DQN:
    settings: dict[str, Any] = {
        "user_model": MODEL,
        "num_features": SPEC.num_features,
        "num_slots": SLOTS,
        "cart_paid": 0.0,
        "batch_size": 64,
        "learning_starts": 64,
        "hidden": 32,
    }
    return DQN(**{**settings, **changed})


def constant(agent: DQN) -> DQN:
    """Online Q0 = 1 and target Q0 = 5; sales weigh 1, 2 online and 7, 3 in the target."""
    weights = {
        agent.network: (1.0, [1.0, 2.0, 0.0, 0.0, 0.0]),
        agent.target: (5.0, [7.0, 3.0, 0.0, 0.0, 0.0]),
    }
    with torch.no_grad():
        for network, (null, sales) in weights.items():
            for parameter in network.parameters():
                parameter.zero_()
            network.null.bias.fill_(null)
            network.sales.bias.copy_(torch.tensor(sales))
    return agent


def one_row(going_on: float) -> dict[str, Tensor]:
    """Candidates 0 and 1 alike but for what they sell; nothing was clicked; the reward was 1."""
    feature = torch.zeros(1, SPEC.num_features)
    return {
        "feature": feature,
        "chosen": torch.tensor([-1]),
        "sold": torch.zeros(1, 4),
        "reward": torch.tensor([1.0]),
        "going_on": torch.tensor([going_on]),
        "next_feature": feature,
        "candidate": torch.tensor([[0, 1]]),
        "added": torch.tensor([[0.5, 0.5]]),
        "taken": torch.tensor([[0.1, 0.1]]),
        "next_sold": torch.eye(4)[:2].unsqueeze(0),
        "go_on": torch.tensor([0.5]),
    }


def test_double_dqn_picks_online_and_values_by_the_target() -> None:
    # Why: one network for both overestimates. The online network picks item 1 (2 above 1), which
    # the target values at 3 (it would itself pick item 0 at 7): going on 0.75 / 1.25 = 0.6, clicked
    # with 0.6 / 1.5 = 0.4, so 5 + 0.6 * 0.4 * 3 = 5.72.
    agent = constant(agent_of(num_slots=1))
    assert agent._next_value(one_row(1.0)).item() == pytest.approx(5.72, abs=1e-5)


@pytest.mark.parametrize(("going_on", "error"), [(1.0, 2.86), (0.0, 0.0)])
def test_the_target_by_hand(going_on: float, error: float) -> None:
    # Why: 1 + 0.5 * 5.72 = 3.86 against Q0 = 1, and 1 alone where the shopper had left.
    agent = constant(agent_of(num_slots=1, gamma=0.5))
    assert agent._update(one_row(going_on))["td_error"].item() == pytest.approx(error, abs=1e-5)


def test_what_is_stored_is_the_next_state_and_stops_at_terminated_alone() -> None:
    # Why: SlateQ's target on the state itself, the reset observation as the next one, and a page
    # limit taken for an end are the classical traps.
    core = ShopCore(SPEC, "revenue", num_envs=64, max_pages=2)
    agent = agent_of(learning_starts=10**6)
    observation = core.reset(0)
    stored = 0
    for _ in range(2):
        item_NK = agent.act(observation)
        transition = core.step(item_NK)
        agent.learn(observation, item_NK, transition)
        rows = {k: v[stored : stored + 64] for k, v in agent.replay.rows.items()}
        assert torch.equal(rows["feature"], observation.feature)
        assert torch.equal(rows["next_feature"], transition.final_observation.feature)
        assert torch.equal(rows["going_on"], (~transition.terminated).float())
        observation, stored = transition.observation, stored + 64
    cut = transition.truncated
    assert bool(cut.any()) and bool(transition.terminated.any())
    assert bool((rows["going_on"][cut] == 1.0).all())
    # where an episode ended, the next observation is another one
    assert not torch.equal(rows["next_feature"][cut], transition.observation.feature[cut])


def test_exploration_falls_as_it_was_told() -> None:
    # Why: a schedule that never anneals keeps half of the slots random. By hand, halfway from 0.5
    # to 0.1 is 0.3.
    agent = agent_of(epsilon=(0.5, 0.1), epsilon_steps=10)
    shares = []
    for agent.steps in (0, 5, 10, 99):
        shares.append(agent._epsilon())
    assert shares == pytest.approx([0.5, 0.3, 0.1, 0.1])


def test_items_that_may_not_be_shown_are_not() -> None:
    # Why: stock and rules hold for a learner too.
    observation = first_pages(4)
    eligible = torch.zeros_like(observation.eligible)
    eligible[:, [2, 5]] = True
    item_NK = agent_of().act(dataclasses.replace(observation, eligible=eligible))
    assert sorted(item_NK[0].tolist()) == [-1, 2, 5]


def test_a_shop_without_a_user_model_is_refused_in_a_sentence() -> None:
    # Why: the values are built on the model's embeddings and choices.
    with pytest.raises(UserError, match="shop='model:DIR'"):
        agent_of(user_model=None)
