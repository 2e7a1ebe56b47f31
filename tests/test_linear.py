"""agents.linear: bounds by hand, draws of the right spread, masks, and real learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probe_model import ITEMS, MODEL, SIZE, SLOTS, first_pages

from agents.linear import LinearBandit
from agents.outlook import NUM_SIGNS
from recgym.errors import UserError


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


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    # Why: a typing error must not end in a traceback after a fit.
    with pytest.raises(UserError, match=r"agent\.kind=greedy: expected ucb or thompson"):
        agent_of(kind="greedy")
    with pytest.raises(UserError, match="retrieve items through a fitted user model"):
        agent_of(user_model=None)
