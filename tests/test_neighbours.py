"""agents.neighbours: likeness by hand, fading views, and fame where nothing was viewed yet."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_model import ITEMS, SLOTS, first_pages

from agents.neighbours import ItemKNN

# sessions 0 to 3 view {0, 1}, {0, 1, 2}, {0, 2, 2}, {3}
VIEWS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [2, 0], [2, 2], [2, 2], [3, 3]])


def policy(**changed: float) -> ItemKNN:
    settings = {"shrinkage": 0.0, "fading": 0.5, **changed}
    return ItemKNN(VIEWS, ITEMS, num_slots=SLOTS, **settings)


def viewing(*newest_first: int):  # type: ignore[no-untyped-def]
    page = first_pages(1)
    history = page.visit.history.clone()
    for place, item in enumerate(newest_first):
        history[0, 0, place] = item
    return dataclasses.replace(page, visit=dataclasses.replace(page.visit, history=history))


def test_likeness_by_hand() -> None:
    # Why: items 0, 1, 2, 3 were in 3, 2, 2, 1 sessions; 0 and 1 in two together: 2 / sqrt(6) =
    # 0.8165; 1 and 2 in one: 1 / 2; with a shrinkage of one session 2 / (sqrt(6) + 1) = 0.5798.
    likeness = {
        (i, int(j)): float(like)
        for i in range(4)
        for j, like in zip(policy().neighbour_IM[i], policy().likeness_IM[i], strict=True)
        if like > 0
    }
    assert likeness[0, 1] == likeness[1, 0] == pytest.approx(0.816497, abs=1e-5)
    assert likeness[1, 2] == pytest.approx(0.5, abs=1e-5)
    assert not any(3 in pair for pair in likeness) and (2, 2) not in likeness
    assert float(policy(shrinkage=1.0).likeness_IM[0, 0]) == pytest.approx(0.579796, abs=1e-5)


def test_the_newest_view_counts_most() -> None:
    # Why: after 1, then 2 (the newest), by hand: item 0 has 0.8165 + 0.5 * 0.8165, item 1 has 0.5,
    # item 2 has 0.25; what was viewed itself may come again.
    assert policy().act(viewing(2, 1))[0].tolist() == [0, 1, 2]
    assert policy(fading=0.0).act(viewing(1))[0].tolist() == [0, 2, 1]


def test_before_a_first_view_the_most_viewed_come_first() -> None:
    # Why: a page must be filled for a stranger too; items 1 and 2 tie behind item 0.
    item = policy().act(first_pages(5))
    assert item[:, 0].tolist() == [0] * 5
    assert {tuple(sorted(row)) for row in item[:, 1:].tolist()} == {(1, 2)}
