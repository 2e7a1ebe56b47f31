"""agents.dqn: targets by hand, what is stored, and what each switch changes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from probe_model import MODEL, SLOTS, SPEC, first_pages
from torch import Tensor

from agents.dqn import DQN
from agents.prioritised import LEAST
from recgym.envs.core import ShopCore
from recgym.errors import UserError
from recgym.types import Observation


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
    """Q0 = 1 online, 5 in the target, Q- = 0 and 1; sales weigh 1, 2 online, 7, 3 in the target."""
    weights = {
        agent.network: (1.0, 0.0, [1.0, 2.0, 0.0, 0.0, 0.0]),
        agent.target: (5.0, 1.0, [7.0, 3.0, 0.0, 0.0, 0.0]),
    }
    with torch.no_grad():
        for network, (null, away, sales) in weights.items():
            for parameter in network.parameters():
                parameter.zero_()
            network.null.bias.fill_(null)
            network.stay.bias.fill_(null - away)
            network.sales.bias.copy_(torch.tensor(sales * network.num_outputs))
    return agent


def one_row(discount: float) -> dict[str, Tensor]:
    """Candidates 0 and 1 alike but for what they sell; one found something; the reward was 1."""
    feature = torch.zeros(1, SPEC.num_features)
    return {
        "feature": feature,
        "chosen": torch.tensor([-1]),
        "viewed": torch.tensor([True]),
        "sold": torch.zeros(1, 4),
        "reward": torch.tensor([1.0]),
        "discount": torch.tensor([discount]),
        "next_feature": feature,
        "candidate": torch.tensor([[0, 1]]),
        "added": torch.tensor([[0.5, 0.5]]),
        "taken": torch.tensor([[0.1, 0.1]]),
        "next_sold": torch.eye(4)[:2].unsqueeze(0),
        "go_on": torch.tensor([0.5]),
    }


@pytest.mark.parametrize("returns", ["mean", "quantiles"])
@pytest.mark.parametrize(("double", "value"), [(True, 4.12), (False, 5.08)])
def test_who_picks_and_who_values_the_next_slate(double: bool, value: float, returns: str) -> None:
    # Why: one network for both overestimates. The online network picks item 1 (2 above 1), which
    # the target values at 3 (it would itself pick item 0 at 7): going on 0.75 / 1.25 = 0.6, clicked
    # with 0.6 / 1.5 = 0.4, so 0.4 * 1 + 0.6 * (5 + 0.4 * 3) = 4.12. Alone the target takes
    # 0.4 + 0.6 * (5 + 0.4 * 7) = 5.08.
    # Of a law that is the mean. Rewarded with 1 and discounted by a half: 1 + value / 2.
    agent = constant(agent_of(num_slots=1, double=double, returns=returns, num_atoms=3))
    assert agent._target(one_row(0.5)).mean().item() == pytest.approx(1 + value / 2, abs=1e-5)


def test_the_law_of_the_target_by_hand() -> None:
    # Why: a shopper who clicks item 1 (0.24) goes on with 5 + 3, who finds something (0.36) with 5,
    # all others with 1: a mean of 4.12 that none of them has.
    agent = constant(agent_of(num_slots=1, returns="quantiles", num_atoms=2))
    law = agent._target(one_row(0.5))
    assert law.value.flatten().tolist() == pytest.approx([1.5, 1.5, 3.5, 3.5, 5.0, 5.0])
    weights = [0.2, 0.2, 0.18, 0.18, 0.12, 0.12]
    assert law.weight.flatten().tolist() == pytest.approx(weights)


@pytest.mark.parametrize(("discount", "error"), [(0.5, 2.06), (0.0, 0.0)])
def test_the_target_by_hand(discount: float, error: float) -> None:
    # Why: 1 + 0.5 * 4.12 = 3.06 against Q0 = 1, and 1 alone where the shopper had left.
    agent = constant(agent_of(num_slots=1))
    assert agent._update(one_row(discount))["td_error"].item() == pytest.approx(error, abs=1e-5)


def test_importance_weighs_a_row() -> None:
    # Why: rows drawn more often than they come count less. Huber's loss of 2.06 is 1.56; a quarter
    # of it is 0.39, and the row's priority is its own error all the same.
    agent = constant(agent_of(num_slots=1, prioritised=True, alpha=1.0))
    agent.replay.add(one_row(0.5))
    told = {"place": torch.tensor([0]), "importance": torch.tensor([0.25])}
    assert agent._update({**one_row(0.5), **told})["loss"].item() == pytest.approx(0.39, abs=1e-5)
    kept = agent.replay.state_dict()["priority"].tolist()
    assert kept == pytest.approx([2.06 + LEAST], abs=1e-5)


def test_what_is_stored_is_the_next_state_and_stops_at_terminated_alone() -> None:
    # Why: SlateQ's target on the state itself, the reset observation as the next one, and a page
    # limit taken for an end are the classical traps.
    core = ShopCore(SPEC, "revenue", num_envs=64, max_pages=2)
    agent = agent_of(learning_starts=10**6, gamma=0.5)
    observation = core.reset(0)
    stored = 0
    for _ in range(2):
        item_NK = agent.act(observation)
        transition = core.step(item_NK)
        agent.learn(observation, item_NK, transition)
        rows = {k: v[stored : stored + 64] for k, v in agent.replay.rows.items()}
        assert torch.equal(rows["feature"], observation.feature)
        assert torch.equal(rows["next_feature"], transition.final_observation.feature)
        assert torch.equal(rows["discount"], 0.5 * (~transition.terminated))
        observation, stored = transition.observation, stored + 64
    cut = transition.truncated
    assert bool(cut.any()) and bool(transition.terminated.any())
    assert bool((rows["discount"][cut] == 0.5).all())
    # where an episode ended, the next observation is another one
    assert not torch.equal(rows["next_feature"][cut], transition.observation.feature[cut])


def test_a_cart_is_first_worth_the_share_of_it_that_is_paid() -> None:
    # Why: else an item that goes into the cart is worth nothing until Q0 knows of carts. By hand,
    # in middle prices of 10, with 0.4 paid and gamma = 1/2: carts of 30 and then 40 are worth 1.2
    # and 1.6, so going on earns 0.8 - 1.2 beside the reward, and leaving loses 1.2.
    core = ShopCore(SPEC, "revenue", num_envs=8)
    agent = agent_of(cart_paid=0.4, gamma=0.5)
    observation = core.reset(0)
    transition = core.step(agent.act(observation))

    def with_cart(observation: Observation, money: float) -> Observation:
        price_NM = torch.zeros_like(observation.visit.cart_price)
        price_NM[:, 0] = money
        visit = dataclasses.replace(observation.visit, cart_price=price_NM)
        return dataclasses.replace(observation, visit=visit)

    for left, worth in ((False, -0.4), (True, -1.2)):
        seen = dataclasses.replace(
            transition,
            final_observation=with_cart(transition.final_observation, 40.0),
            terminated=torch.full_like(transition.terminated, left),
        )
        reward_N = agent._step(with_cart(observation, 30.0), seen)["end"]["reward"]
        earned_N = transition.reward / 10.0
        torch.testing.assert_close(reward_N, earned_N + worth)


def test_an_anchor_holds_what_a_state_says_of_items_and_not_what_all_say() -> None:
    # Why: that an item is worth more than guessed is soon seen of all shoppers together; to whom,
    # only from much noise. Rewards of 1 for clicks on item 0 are learned by the constants alone.
    rows = {
        **{name: value.expand(64, *value.shape[1:]) for name, value in one_row(0.0).items()},
        "chosen": torch.zeros(64, dtype=torch.int64),
        "feature": torch.randn(64, SPEC.num_features, generator=torch.Generator().manual_seed(0)),
    }
    moved = {}
    for anchor in (0.0, 100.0):
        agent = agent_of(anchor=anchor, learning_rate=0.01)
        for _ in range(30):
            told = agent._update(rows)
        moved[anchor] = float(told["doubt"])
        assert float(agent.network.sales.bias[-1].detach()) > 0.05
    assert moved[100.0] < 0.02 * moved[0.0]


def test_exploration_falls_as_it_was_told() -> None:
    # Why: a schedule that never anneals keeps half of the slots random. By hand, halfway from 0.5
    # to 0.1 is 0.3.
    agent = agent_of(epsilon=(0.5, 0.1), epsilon_steps=10)
    shares = []
    for agent.steps in (0, 5, 10, 99):
        shares.append(agent._epsilon())
    assert shares == pytest.approx([0.5, 0.3, 0.1, 0.1])


def test_a_return_over_steps_is_stored_with_the_first_one() -> None:
    # Why: what is learned is the value of the first click; the row comes out two steps later. With
    # gamma = 1/2 and pages of 10 to a middle price of 10, it is r0 + r1 / 2 + r2 / 4.
    core = ShopCore(SPEC, "revenue", num_envs=64, max_pages=50)
    agent = agent_of(learning_starts=10**6, gamma=0.5, n_step=3)
    observation, seen, earned, ended = core.reset(0), [], [], torch.zeros(64, dtype=torch.bool)
    for _ in range(3):
        assert agent.replay.size == 0
        transition = core.step(agent.act(observation))
        agent.learn(observation, agent.act(observation), transition)
        seen.append(observation.feature)
        earned.append(transition.reward / 10.0)
        ended |= transition.terminated | transition.truncated
        observation = transition.observation
    rows = {name: value[:64] for name, value in agent.replay.rows.items()}
    whole = earned[0] + earned[1] / 2 + earned[2] / 4
    assert 0 < int(ended.sum()) < 64 and torch.equal(rows["feature"], seen[0])
    assert torch.allclose(rows["reward"][~ended], whole[~ended], atol=1e-6)
    assert rows["discount"][~ended].unique().tolist() == [0.125]


def test_noisy_weights_explore_in_place_of_random_slots() -> None:
    # Why: acting alone uses mean weights; noise is a function of the lane, and of the step where it
    # learns, so that a run that goes on meets the same.
    page = first_pages(64)
    agent = agent_of(noisy=True, epsilon=(1.0, 1.0))
    assert torch.equal(agent.act(page), agent.act(page))
    explored = agent.act(page, explore=True)
    assert len(explored.unique(dim=0)) > 8 and agent._epsilon() == 0.0
    for parameter in (p for n, p in agent.network.named_parameters() if n.endswith("sigma")):
        parameter.data.zero_()
    assert torch.equal(agent.act(page, explore=True), agent.act(page))
    assert not torch.equal(explored, agent.act(page))
    keys = {int(agent._noise(number, purpose)) for number in range(4) for purpose in range(3)}
    agent.steps += 1
    assert len(keys | {int(agent._noise(0, 0))}) == 13


def test_an_update_draws_noise_anew_and_by_the_step_alone() -> None:
    # Why: one draw for ever is no noise at all, and a stream of draws would have to be saved.
    losses = []
    for number in (0, 0, 1):
        agent = agent_of(num_slots=1, noisy=True)
        losses.append(agent._update(one_row(0.5), number)["loss"].item())
    assert losses[0] == losses[1] != losses[2]


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
