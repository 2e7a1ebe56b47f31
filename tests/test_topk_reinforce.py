"""agents.topk_reinforce: weight, multiplier and gradient by hand, and what the corrections do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probe_model import ITEMS, MODEL, SLOTS, SPEC
from torch import Tensor

from agents.topk_reinforce import TopKReinforce, capped_weights, multiplier
from recgym.envs.core import ShopCore
from recgym.errors import UserError


def agent_of(**changed: Any) -> TopKReinforce:
    settings: dict[str, Any] = {
        "user_model": MODEL,
        "num_features": SPEC.num_features,
        "num_slots": SLOTS,
        "views_I": torch.zeros(ITEMS),
        "hidden": 32,
        "gamma": 0.5,
        "clip": 1e9,
    }
    return TopKReinforce(**{**settings, **changed})


def test_importance_weights_by_hand() -> None:
    # Why: section 4.4: 0.2 / 0.4 counts a half, and 0.6 / 0.1 is cut at 5.
    pi, beta = torch.tensor([[0.2, 0.6]]).log(), torch.tensor([[0.4, 0.1]]).log()
    assert capped_weights(pi, beta, 5.0)[0].tolist() == pytest.approx([0.5, 5.0])
    assert capped_weights(pi, beta, 9.0)[0].tolist() == pytest.approx([0.5, 6.0])


def test_the_multiplier_by_hand() -> None:
    # Why: equation 8: of three slots, 3 (1 - 0.5)^2 = 0.75; an item that is never drawn counts
    # three times and one that always is not at all. It is the slope of 1 - (1 - pi)^3.
    pi = torch.tensor([0.5, 0.0, 1.0], requires_grad=True)
    found = multiplier(pi, 3).tolist()
    assert found == pytest.approx([0.75, 3.0, 0.0])
    (1.0 - (1.0 - pi) ** 3).sum().backward()
    assert pi.grad is not None and pi.grad.tolist() == pytest.approx(found)
    assert multiplier(torch.tensor(0.3), 1).item() == 1.0


def blank(agent: TopKReinforce) -> TopKReinforce:
    """The policy shows item 0 with 3 / 4 and item 1 with 1 / 4, the log's either with a half."""
    with torch.no_grad():
        for parameter in agent.network.parameters():
            parameter.zero_()
        for intercept, odds in (
            (agent.network.intercept, [3.0, 1.0]),
            (agent.network.logging_intercept, [1.0, 1.0]),
        ):
            intercept.fill_(-40.0)
            intercept[:2] = torch.tensor(odds).log()
    return agent


def one_row(slot: int, chance: float = torch.nan) -> dict[str, Tensor]:
    """Items 1 and 0 on a page that brought 2."""
    return {
        "feature": torch.zeros(1, SPEC.num_features),
        "shown": torch.tensor([[1, 0, -1]]),
        "slot": torch.tensor([slot]),
        "propensity": torch.tensor([[chance, 1.0, torch.nan]]),
        "reward": torch.tensor([2.0]),
    }


@pytest.mark.parametrize(
    ("cap", "chance", "weight", "slope"),
    [(4.0, torch.nan, 0.5, 1.265625), (4.0, 0.05, 4.0, 10.125), (99.0, 0.05, 5.0, 12.65625)],
)
def test_the_gradient_by_hand(cap: float, chance: float, weight: float, slope: float) -> None:
    # Why: item 1 was clicked. Estimated, beta is a half and the weight 1/4 : 1/2; the log's own
    # 0.05 makes it 5, cut at 4. The multiplier is 3 (3/4)^2 = 1.6875 and the return 2, and the
    # first logits' slopes of log pi(1) are -3/4 and 3/4: 0.5 * 1.6875 * 2 * 3/4 = 1.265625.
    agent = blank(agent_of(cap=cap))
    found = agent._update(one_row(0, chance))
    assert found["weight"].item() == pytest.approx(weight, rel=1e-5)
    assert found["multiplier"].item() == pytest.approx(1.6875, rel=1e-5)
    assert found["capped"].item() == (weight == cap)
    grad = agent.network.intercept.grad
    assert grad is not None
    assert grad[:2].tolist() == pytest.approx([slope, -slope], rel=1e-4)


def test_what_was_not_clicked_teaches_the_estimate_of_the_log_alone() -> None:
    # Why: section 4.2: the estimate learns from all items shown, and must not bend the state that
    # the policy reads; a page without a click is no evidence against its items.
    agent = agent_of()
    agent._update({**one_row(-1), "feature": torch.ones(1, SPEC.num_features)})
    slope = {name: p.grad.abs().sum().item() for name, p in agent.network.named_parameters()}
    assert slope.pop("logging_taste.weight") > 0 and slope.pop("logging_taste.bias") > 0
    assert slope.pop("logging_intercept") > 0
    assert set(slope.values()) == {0.0}


def learned(
    shown: list[int], reward: list[float], num_slots: int, cap: float = 20.0
) -> list[float]:
    """Shares of the first items where each was shown alone on so many pages, always clicked."""
    agent = agent_of(num_slots=num_slots, cap=cap, learning_rate=1e-2)
    item = torch.repeat_interleave(torch.arange(len(shown)), torch.tensor(shown))
    rows = {
        "feature": torch.zeros(len(item), SPEC.num_features),
        "shown": item.unsqueeze(-1),
        "slot": torch.zeros_like(item),
        "propensity": torch.full((len(item), 1), torch.nan),
        "reward": torch.tensor(reward)[item],
    }
    for _ in range(200):
        agent._update(rows)
    with torch.no_grad():
        share = agent.network(rows["feature"])[0].softmax(-1)
    return [float(x) for x in share[: len(shown)]]


def test_the_correction_undoes_what_the_log_preferred() -> None:
    # Why: item 1 pays twice as much and was shown a ninth as often. A cap that leaves all weights
    # alike corrects nothing: 90 * 1 log pi(0) + 10 * 2 log pi(1) is highest at 90 / 110 = 0.818.
    assert learned([90, 10], [1.0, 2.0], 1)[1] > 0.9
    assert learned([90, 10], [1.0, 2.0], 1, cap=1e-3)[0] == pytest.approx(9 / 11, abs=0.03)


def test_the_multiplier_leaves_room_for_the_second_best() -> None:
    # Why: a softmax without it ends on one item, which fills one slot. Of two draws each item's
    # worth counts 1 - (1 - pi)^2 times, which is best where 1 (1 - pi(0)) = 0.9 (1 - pi(1)):
    # 1 / 1.9 = 0.526 and 0.474. The third item pays too little to be among them.
    one, two = (learned([30, 30, 30], [1.0, 0.9, 0.1], num_slots) for num_slots in (1, 2))
    assert one[0] > 0.9 and one[1] < 0.1
    assert two == pytest.approx([1 / 1.9, 0.9 / 1.9, 0.0], abs=0.03)


def test_a_return_is_that_of_the_page_and_what_followed() -> None:
    # Why: foresight; a row comes out once its return is known. With gamma = 1/2 and pages of 10 to
    # a middle price of 10, it is r0 + r1 / 2 + r2 / 4 where nobody left.
    core = ShopCore(SPEC, "revenue", num_envs=64, max_pages=50)
    agent, observation = agent_of(learning_starts=10**6, horizon=3), core.reset(0)
    first, earned, ended = observation, [], torch.zeros(64, dtype=torch.bool)
    for _ in range(3):
        assert agent.replay.size == 0
        item_NK = agent.act(observation, explore=True)
        transition = core.step(item_NK)
        agent.learn(observation, item_NK, transition)
        earned.append(transition.reward / 10.0)
        ended |= transition.terminated
        observation = transition.observation
    rows = {name: value[:64] for name, value in agent.replay.rows.items()}
    whole = earned[0] + earned[1] / 2 + earned[2] / 4
    assert torch.equal(rows["feature"], first.feature) and bool(rows["propensity"].isnan().all())
    assert 0 < int(ended.sum()) < 64 and float(whole[~ended].max()) > 0
    assert torch.allclose(rows["reward"][~ended], whole[~ended], atol=1e-6)


def test_a_shop_without_a_user_model_is_refused_in_a_sentence() -> None:
    # Why: shoppers are read through it.
    with pytest.raises(UserError, match="agent=topk_reinforce reads shoppers through a fitted"):
        agent_of(user_model=None)
