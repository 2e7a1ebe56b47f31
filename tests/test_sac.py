"""agents.sac: soft values, temperature and both critics by hand; the law of its pages."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from probe_model import MODEL, SLOTS, SPEC
from torch import Tensor

from agents.sac import SAC, Temperature, entropy, log_softmax, soft_value
from agents.slateq import led_by_each
from recgym.envs.core import ShopCore
from recgym.errors import UserError
from recgym.plackett_luce import log_prob


def agent_of(**changed: Any) -> SAC:
    settings: dict[str, Any] = {
        "user_model": MODEL,
        "num_features": SPEC.num_features,
        "num_slots": SLOTS,
        "cart_paid": 0.0,
        "batch_size": 64,
        "learning_starts": 64,
        "hidden": 32,
        "gamma": 0.5,
    }
    return SAC(**{**settings, **changed})


def test_the_soft_value_by_hand() -> None:
    # Why: equation 10: half of 2 and half of 4, and log 2 nats at a price of 0.5: 3.346574. An item
    # that may not be shown is worth nothing, whatever its value; nor does it make anything NaN.
    log_pi = log_softmax(torch.tensor([[0.0, 0.0, -torch.inf]]))
    value = torch.tensor([[2.0, 4.0, 99.0]])
    found = soft_value(log_pi, value, torch.tensor(0.5))
    assert found.item() == pytest.approx(3.0 + 0.5 * math.log(2.0), abs=1e-6)
    assert entropy(log_pi).item() == pytest.approx(math.log(2.0), abs=1e-6)
    nobody = torch.full((1, 3), -torch.inf)
    assert bool(soft_value(log_softmax(nobody), value, torch.tensor(0.5)).isfinite())


def test_the_policy_s_gradient_by_hand() -> None:
    # Why: equation 12. Of pi = (0.8, 0.2), values 3 and 1 and alpha = 0.5 the terms are
    # 0.5 log 0.8 - 3 = -3.111572 and 0.5 log 0.2 - 1 = -1.804719, -2.850201 on average: the first
    # logit's slope is 0.8 (-3.111572 + 2.850201) = -0.209096, and the second's the opposite.
    logit = torch.tensor([[0.8, 0.2]]).log().requires_grad_()
    (-soft_value(log_softmax(logit), torch.tensor([[3.0, 1.0]]), torch.tensor(0.5))).backward()
    assert logit.grad is not None
    assert logit.grad[0].tolist() == pytest.approx([-0.209096, 0.209096], abs=1e-5)


@pytest.mark.parametrize(("nats", "slope"), [(1.5, 0.5), (0.5, -0.5)])
def test_the_temperature_falls_where_the_policy_is_too_random(nats: float, slope: float) -> None:
    # Why: equation 11; with the sign turned the policy ends uniform or frozen. Two rows, one at
    # its target and one twice as far off: the slope of log alpha is the mean, 0.5.
    temperature = Temperature(0.1)
    temperature.loss(torch.tensor([1.0, 1.0 + 2 * (nats - 1.0)]), torch.ones(2)).backward()
    assert temperature.log.grad is not None
    assert temperature.log.grad.item() == pytest.approx(slope, abs=1e-6)
    assert temperature().item() == pytest.approx(0.1, abs=1e-6)


def test_the_entropy_that_is_asked_for_by_hand() -> None:
    # Why: K = 3 best items are shown alike. Of 12 that may be shown, halfway from log 3 to log 12
    # is log 6; of 2 there is nothing to choose, and log 2 is all.
    agent = agent_of(target_entropy=0.5)
    item = torch.arange(12).repeat(2, 1)
    item[1, 2:] = -1
    expected = [math.log(6.0), math.log(2.0)]
    assert agent._wanted_entropy(item).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_mean_over_pages_is_one_over_first_slots() -> None:
    # Why: the whole construction rests on it. Of four items of unlike logits all 12 ordered pages
    # of two are weighed by their probabilities, on the left by what each holds, on the right by
    # what the four slates hold that it stands for.
    generator = torch.Generator().manual_seed(0)
    logit, gain, added = torch.randn(3, 1, 4, generator=generator, dtype=torch.float64)
    added = added.exp()
    pages = torch.tensor(list(itertools.permutations(range(4), 2)))
    chance = log_prob(logit.expand(12, -1), pages).exp()
    mass = added[0][pages]
    left = (chance * (mass * gain[0][pages]).sum(-1) / (1 + mass.sum(-1))).sum()
    given = (x.expand(12, -1) for x in (gain, added, added))
    _, lift = led_by_each(*given, torch.ones(12), pages, torch.tensor(0.0))
    right = (chance * (logit.softmax(-1) * lift).sum(-1)).sum()
    assert right.item() == pytest.approx(left.item(), abs=1e-9)
    # and no page stands for its own slate alone
    assert lift.std(-1).max() > 0.01


def constant(agent: SAC) -> SAC:
    """Online Q0 = 1; targets Q0 = 5 and 5.5, Q- = 2, and sales weigh 7, 3 and 1, 5."""
    weights = (
        (agent.network[0], 1.0, [0.0, 0.0]),
        (agent.network[1], 1.0, [0.0, 0.0]),
        (agent.target[0], 5.0, [7.0, 3.0]),
        (agent.target[1], 5.5, [1.0, 5.0]),
    )
    with torch.no_grad():
        for network, null, sales in weights:
            for parameter in network.parameters():
                parameter.zero_()
            network.null.bias.fill_(null)
            network.stay.bias.fill_(null - 2.0)
            network.sales.bias[:2] = torch.tensor(sales)
    return agent


def one_row(discount: float) -> dict[str, Tensor]:
    """Two items alike but for what they sell; one found something; the reward was 1."""
    state = {
        "feature": torch.zeros(1, SPEC.num_features),
        "item": torch.tensor([[0, 1]]),
        "sign": torch.cat([torch.zeros(1, 2, 2), torch.eye(4)[:2].unsqueeze(0)], -1),
        "added": torch.tensor([[0.5, 0.5]]),
        "taken": torch.tensor([[0.1, 0.1]]),
        "go_on": torch.tensor([0.5]),
    }
    return {
        **state,
        **{f"next_{name}": value for name, value in state.items()},
        "chosen": torch.tensor([-1]),
        "viewed": torch.tensor([True]),
        "sold": torch.zeros(1, 4),
        "reward": torch.tensor([1.0]),
        "discount": torch.tensor([discount]),
    }


@pytest.mark.parametrize(("discount", "target"), [(0.5, 3.388287), (0.0, 1.0)])
def test_the_target_takes_the_smaller_critic_of_each_page(discount: float, target: float) -> None:
    # Why: one critic alone overestimates what it happens to like. Either item is viewed with
    # 0.75 / 1.25 = 0.6 and then clicked with 0.6 / 1.5 = 0.4; no view brings 0.4 * 2 = 0.8. Item 0
    # brings 0.8 + 0.6 * (5 + 0.4 * 7) = 5.48 or 0.8 + 0.6 * (5.5 + 0.4) = 4.34, item 1 0.8 + 0.6 *
    # (5 + 1.2) = 4.52 or 0.8 + 0.6 * (5.5 + 2) = 5.3. Half of 4.34, half of 4.52 and 0.5 log 2 make
    # 4.776574; rewarded with 1 and discounted by a half, 3.388287.
    agent = constant(agent_of(num_slots=1, sharpness=1e-6, temperature=0.5))
    assert agent._target(one_row(discount)).item() == pytest.approx(target, abs=1e-5)
    # both critics learn it: (target - 1)^2 / 2 each
    found = agent._update(one_row(discount))
    assert found["td_error"].item() == pytest.approx(target - 1.0, abs=1e-5)
    assert found["loss"].item() == pytest.approx((target - 1.0) ** 2, abs=1e-4)


def test_the_policy_leans_to_the_page_whose_smaller_value_is_larger() -> None:
    # Why: the online critics are of two minds about item 0 (9 or -1) and of one about item 1 (1);
    # their mean would prefer item 0.
    agent = agent_of(num_slots=1, sharpness=1e-6, temperature=1e-3, learning_rate=1e-2)
    for critic, worth in zip(agent.network, ([9.0, 1.0], [-1.0, 1.0]), strict=True):
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.zero_()
            critic.sales.bias[:2] = torch.tensor(worth)
    row = one_row(0.0)
    optimiser = torch.optim.Adam(agent.policy.parameters(), lr=1e-2)
    for _ in range(20):
        loss, _ = agent._policy_loss(row, [critic(row["feature"]) for critic in agent.network])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logit = agent._logits(row)[0].tolist()
    assert logit[1] > logit[0] + 0.1


def test_what_is_stored_is_the_next_state_and_stops_at_terminated_alone() -> None:
    # Why: the reset observation as the next one, and a page limit taken for an end, are the
    # classical traps.
    core = ShopCore(SPEC, "revenue", num_envs=64, max_pages=2)
    agent, observation = agent_of(learning_starts=10**6), core.reset(0)
    for _ in range(2):
        transition = core.step(agent.act(observation, explore=True))
        rows = agent._rows(observation, transition)
        before, observation = observation, transition.observation
        final = transition.final_observation
        assert torch.equal(rows["feature"], before.feature)
        assert torch.equal(rows["next_feature"], final.feature)
        assert torch.equal(rows["next_item"], agent.retrieved(final).item)
        assert torch.equal(rows["discount"], 0.5 * (~transition.terminated))
    cut = transition.truncated
    assert bool(cut.any()) and bool(transition.terminated.any())
    assert not torch.equal(rows["next_feature"][cut], observation.feature[cut])


def test_a_shop_without_a_user_model_is_refused_in_a_sentence() -> None:
    # Why: the retrieval has nothing to build on there.
    with pytest.raises(UserError, match="agent=sac retrieves items through a fitted user model"):
        agent_of(user_model=None)
