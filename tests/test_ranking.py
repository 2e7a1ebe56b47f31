"""agents.ranking: probabilities by hand, and gradients where nothing is left to draw."""

from __future__ import annotations

import itertools

import pytest
import torch

from recgym.plackett_luce import log_prob, slot_log_probs


def test_a_ranking_s_probability_by_hand() -> None:
    # Why: with weights 1, 2 and 5 the order (2, 0) has 5 / 8 * 1 / 3; an empty slot is no draw, and
    # an item that may not be drawn is in no sum.
    logit = torch.tensor([[1.0, 2.0, 5.0]]).log()
    both = log_prob(logit, torch.tensor([[2, 0]]))
    assert both.exp().item() == pytest.approx(5 / 8 / 3, abs=1e-6)
    assert log_prob(logit, torch.tensor([[2, -1]])).exp().item() == pytest.approx(5 / 8, abs=1e-6)
    masked = logit.clone()
    masked[0, 1] = -torch.inf
    assert log_prob(masked, torch.tensor([[2]])).exp().item() == pytest.approx(5 / 6, abs=1e-6)


def test_every_order_adds_up_to_one() -> None:
    # Why: it is a distribution over ordered pages.
    logit = torch.randn(1, 5, generator=torch.Generator().manual_seed(0))
    orders = torch.tensor(list(itertools.permutations(range(5), 3)))
    total = log_prob(logit.expand(len(orders), -1), orders).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-5)


def test_each_slot_by_hand() -> None:
    # Why: agents that weigh slots apart need each one's own factor. Of weights 1, 2 and 5 the order
    # (2, 0) has 5 / 8, then 1 / 3; the empty slot between them counts nothing.
    logit = torch.tensor([[1.0, 2.0, 5.0]]).log()
    found = slot_log_probs(logit, torch.tensor([[2, -1, 0]])).exp()
    assert found[0].tolist() == pytest.approx([5 / 8, 1.0, 1 / 3], abs=1e-6)


def test_gradients_stay_finite_where_nothing_is_left() -> None:
    # Why: a page of all items that may be drawn leaves an empty sum, whose gradient is NaN if its
    # logarithm is infinite; one NaN ends a training. The last draw is certain: 5 / 6 times 1.
    logit = torch.tensor([[1.0, 2.0, 5.0]]).log()
    logit[0, 1] = -torch.inf
    logit.requires_grad_()
    total = log_prob(logit, torch.tensor([[2, 0, -1]]))
    total.sum().backward()
    assert total.exp().item() == pytest.approx(5 / 6, abs=1e-6)
    assert logit.grad is not None
    assert logit.grad[0].tolist() == pytest.approx([-1 / 6, 0.0, 1 / 6], abs=1e-6)
