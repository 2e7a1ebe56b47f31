"""agents.factorisation: one turn against a system solved by hand, folding in, and what it shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probe_model import ITEMS, SLOTS, first_pages
from test_neighbours import VIEWS, viewing
from torch import Tensor

from agents import factorisation
from agents.factorisation import MatrixFactorisation, solved

ALPHA, RIDGE = 3.0, 0.5


def policy(view_V2: Tensor = VIEWS, **changed: Any) -> MatrixFactorisation:
    settings = {"num_factors": 4, "alpha": ALPHA, "ridge": RIDGE, **changed}
    return MatrixFactorisation(view_V2, ITEMS, num_slots=SLOTS, **settings)


def two_kinds() -> Tensor:
    """Four views each of 200 sessions: of items 0 to 4 in the first half, 5 to 9 in the second."""
    generator = torch.Generator().manual_seed(0)
    session = torch.arange(200).repeat_interleave(4)
    item = torch.randint(5, session.shape, generator=generator) + 5 * (session >= 100)
    return torch.stack([session, item], -1)


def test_one_turn_by_hand() -> None:
    # Why: equation 4. Factors (1, 0), (1, 1), (0, 2) have Y^T Y = [[2, 1], [1, 5]]; the first item
    # seen twice with alpha 2 adds 4 [[1, 0], [0, 0]], the second once 2 [[1, 1], [1, 1]], the ridge
    # 1: [[9, 3], [3, 8]] x = 5 (1, 0) + 3 (1, 1) = (8, 3), so x = (55, 3) / 63.
    fixed = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    row, column, preferred = torch.tensor([1, 1]), torch.tensor([0, 1]), torch.ones(2)
    found = solved(fixed, row, column, torch.tensor([4.0, 2.0]), preferred, 2, 1.0)
    assert found[1].tolist() == pytest.approx([55 / 63, 3 / 63], abs=1e-6)
    assert found[0].tolist() == [0.0, 0.0]  # nothing was seen of it


def test_a_running_session_is_folded_in_by_the_same_equation() -> None:
    # Why: the same numbers by hand as above: item 0 viewed twice is held twice as firmly, and is no
    # second preference. Nothing viewed is nothing known.
    agent = policy(num_factors=2, alpha=2.0, ridge=1.0)
    agent.item_IF = torch.zeros(ITEMS, 2)
    agent.item_IF[:3] = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    history = torch.tensor([[0, 1, 0, -1], [-1, -1, -1, -1], [1, 0, 0, -1]])
    factor = agent.folded_in(history)
    assert factor[0].tolist() == pytest.approx([55 / 63, 3 / 63], abs=1e-6)
    assert factor[1].tolist() == [0.0, 0.0]
    assert torch.allclose(factor[2], factor[0])  # whatever the order


def loss_of(session_SF: Tensor, item_IF: Tensor, seen_SI: Tensor) -> Tensor:
    """Equation 3 in full, over all pairs."""
    error_SI = (seen_SI > 0).to(seen_SI) - session_SF @ item_IF.T
    squares = session_SF.square().sum() + item_IF.square().sum()
    return ((1.0 + ALPHA * seen_SI) * error_SI.square()).sum() + RIDGE * squares


def test_the_turns_minimise_the_loss_over_all_pairs() -> None:
    # Why: a turn that leaves out the pairs not viewed, or weighs them wrongly, minimises another
    # loss. After many turns nothing moves it: its gradient, written out in full, is 0.
    views = two_kinds()
    seen_SI = torch.zeros(200, ITEMS, dtype=torch.float64)
    seen_SI.index_put_((views[:, 0], views[:, 1]), torch.ones(800).double(), accumulate=True)
    losses = []
    for rounds in (1, 3, 300):
        agent = policy(views, rounds=rounds)
        item_IF = agent.item_IF.double().requires_grad_()
        session_SF = torch.zeros(200, 4, dtype=torch.float64)
        for s in range(200):  # the best for these items, pair by pair: a weighted ridge regression
            weight_I = 1.0 + ALPHA * seen_SI[s]
            left_FF = item_IF.T @ (weight_I.unsqueeze(-1) * item_IF) + RIDGE * torch.eye(4)
            right_F = item_IF.T @ (weight_I * (seen_SI[s] > 0))
            session_SF[s] = torch.linalg.solve(left_FF, right_F)
        loss = loss_of(session_SF.detach(), item_IF, seen_SI)
        losses.append(float(loss.detach()))
    assert losses[0] > losses[1] > losses[2] > 0.0
    loss.backward()
    assert item_IF.grad is not None
    assert float(item_IF.grad.abs().max()) < 1e-2 * float(item_IF.detach().abs().max())


def test_who_viewed_one_kind_is_shown_its_others() -> None:
    # Why: this is what it is for; what was viewed is found already and comes last.
    agent = policy(two_kinds())
    assert set(agent.act(viewing(7, 6))[0].tolist()) == {5, 8, 9}
    assert set(agent.act(viewing(0))[0].tolist()) < {1, 2, 3, 4}
    everything = agent.act(viewing(*range(8)))[0].tolist()
    assert not set(everything) & set(range(8))


def test_before_a_first_view_the_most_viewed_come_first() -> None:
    # Why: a page must be filled for a stranger too: item 0 was viewed 3 times, item 2 as often.
    item = policy().act(first_pages(5))
    assert {tuple(sorted(row)) for row in item.tolist()} == {(0, 1, 2)}
    assert set(item[:, :2].flatten().tolist()) == {0, 2}
    # and where nothing was viewed at all there still is a page
    assert bool((policy(VIEWS[:0]).act(first_pages(5)) >= 0).all())


def test_neither_lanes_nor_blocks_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: rows are solved some at once and views taken in some at once, to bound the memory.
    whole, views = policy(two_kinds()), two_kinds()
    few, many = torch.tensor([[7, 6]]), torch.tensor([[7, 6]]).repeat(40, 1)
    assert torch.allclose(whole.folded_in(few), whole.folded_in(many), atol=1e-6)
    monkeypatch.setattr(factorisation, "ROWS", 7)
    monkeypatch.setattr(factorisation, "ENTRIES", 5)
    shuffled = views[torch.randperm(800, generator=torch.Generator().manual_seed(1))]
    assert torch.allclose(policy(shuffled).item_IF, whole.item_IF, atol=1e-4)
