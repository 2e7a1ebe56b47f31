"""agents.iql: its three losses by hand, and a policy that leans to what pays."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from probe_model import ITEMS, MODEL, SLOTS, SPEC
from torch import Tensor

from agents.iql import IQL, expectile_loss, slot_advantages, slot_weights
from recgym.errors import UserError


def agent_of(**changed: Any) -> IQL:
    settings: dict[str, Any] = {
        "user_model": MODEL,
        "num_features": SPEC.num_features,
        "num_slots": SLOTS,
        "views_I": torch.zeros(ITEMS),
        "cart_paid": 0.0,
        "hidden": 32,
        "gamma": 0.5,
    }
    return IQL(**{**settings, **changed})


def test_the_expectile_by_hand() -> None:
    # Why: equation 5 at 0.9: errors 2 and -1 count 0.9 * 4 and 0.1 * 1, 1.85 on average. The value
    # that makes it least leans to the better one: of 0 and 1 it is 0.9.
    assert expectile_loss(torch.tensor([2.0, -1.0]), 0.9).item() == pytest.approx(1.85)
    value = torch.linspace(0, 1, 101)
    loss = [expectile_loss(torch.tensor([0.0, 1.0]) - v, 0.9).item() for v in value]
    assert value[int(torch.tensor(loss).argmin())].item() == pytest.approx(0.9)


def test_slots_share_a_page_s_advantage_by_hand() -> None:
    # Why: equation 7's exponent is Q(s, A) - V(s). Q0 is 1 and the slots gain 0.5 and 0.1, so Q is
    # 1.6; of a value of 1.2 each of the two filled slots bears 0.1: 0.4 and 0, together 0.4.
    gain, filled = torch.tensor([[0.5, 0.1, 0.7]]), torch.tensor([[True, True, False]])
    found = slot_advantages(gain, torch.tensor([0.2]), filled)
    assert found[0].tolist() == pytest.approx([0.4, 0.0, 0.0], abs=1e-6)
    # an empty page has no slot to blame
    assert slot_advantages(gain, torch.tensor([0.2]), filled & False)[0].tolist() == [0.0] * 3


def test_weights_by_hand() -> None:
    # Why: the root mean square of 3, 4 and -0 over the three filled slots is 5 / sqrt(3); a beta of
    # 1 gives exp(3 sqrt(3) / 5). In another currency they are the same.
    advantage, filled = torch.tensor([[3.0, 4.0, 0.0, 9.0]]), torch.tensor([[True] * 3 + [False]])
    found = slot_weights(advantage, filled, 1.0)
    expected = [math.exp(x * 3**0.5 / 5.0) for x in (3.0, 4.0, 0.0)]
    assert found[0, :3].tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(slot_weights(100.0 * advantage, filled, 1.0), found)


def one_row(going_on: float) -> dict[str, Tensor]:
    """Item 0 was clicked beside item 1, and the reward was 1.5; each would sell in its own way."""
    feature = torch.zeros(1, SPEC.num_features)
    return {
        "feature": feature,
        "chosen": torch.tensor([0]),
        "viewed": torch.tensor([True]),
        "sold": torch.eye(4)[:1],
        "reward": torch.tensor([1.5]),
        "going_on": torch.tensor([going_on]),
        "next_feature": feature,
        "shown": torch.tensor([[0, 1, -1]]),
        "added": torch.tensor([[0.5, 0.5, 0.0]]),
        "taken": torch.tensor([[0.1, 0.1, 0.0]]),
        "shown_sold": torch.eye(4)[:3].unsqueeze(0),
        "go_on": torch.tensor([0.5]),
    }


def constant(agent: IQL) -> IQL:
    """Online Q0 = 1, target Q0 = 2.5, Q- = 1, V = 4; sales weigh 1, 2 and in the target 7, 3."""
    weights = ((agent.network, 1.0, [1.0, 2.0]), (agent.target, 2.5, [7.0, 3.0]))
    with torch.no_grad():
        for network, null, sales in weights:
            for parameter in network.parameters():
                parameter.zero_()
            network.null.bias.fill_(null)
            network.stay.bias.fill_(null - 1.0)
            network.sales.bias[:2] = torch.tensor(sales)
        for parameter in agent.value.parameters():
            parameter.zero_()
        agent.value[-1].bias.fill_(4.0)
    return agent


@pytest.mark.parametrize(("going_on", "error"), [(1.0, 1.5), (0.0, 0.5)])
def test_the_losses_by_hand(going_on: float, error: float) -> None:
    # Why: equation 6: Q0 + A = 1 + 1 = 2 against 1.5 + 0.5 * 4 = 3.5, or 1.5 once somebody left.
    # Equation 5: the page has mass 2, so going on rises to 2 / 3, and each of its items is clicked
    # with 0.6 / 2 * 2 / 3 = 0.2: Q' = 1 / 3 + 2.5 * 2 / 3 + 0.2 * 7 + 0.2 * 3 = 4, by the target
    # network. V is 4, the error 0, and at 4.5 it is -0.5: 0.3 * 0.25 = 0.075.
    agent = constant(agent_of())
    found = agent._update(one_row(going_on))
    assert found["td_error"].item() == pytest.approx(error, abs=1e-5)
    assert found["loss"].item() == pytest.approx(0.5 * error**2, abs=1e-5)
    assert found["value_loss"].item() == pytest.approx(0.0, abs=1e-9)
    agent = constant(agent_of())
    with torch.no_grad():
        agent.value[-1].bias.fill_(4.5)
    assert agent._update(one_row(going_on))["value_loss"].item() == pytest.approx(0.075, abs=1e-5)


def test_slots_of_a_page_are_told_apart_by_what_they_gain() -> None:
    # Why: of the page above the slots' parts are 0.2 * 7 - 1 = 0.4 and 0.2 * 3 - 1 = -0.4, whose
    # root mean square is 0.4: weights exp(3) and exp(-3), 10.067662 on average. The policy comes to
    # prefer item 0, which a clone of the same page would not.
    agent = constant(agent_of(beta=3.0, learning_rate=1e-2))
    assert agent._update(one_row(1.0))["weight"].item() == pytest.approx(10.067662, rel=1e-4)
    for _ in range(5):
        agent._update(one_row(1.0))
    logit = agent.policy.network(torch.zeros(1, SPEC.num_features))[0].tolist()
    assert logit[0] > logit[1]


def test_a_shop_without_a_user_model_is_refused_in_a_sentence() -> None:
    # Why: the values are built on the model's embeddings and choices.
    with pytest.raises(UserError, match="agent=iql scores items through a fitted user model"):
        agent_of(user_model=None)
