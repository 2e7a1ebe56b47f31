"""agents.sum_tree: draws in proportion to weights, and sums that never drift."""

from __future__ import annotations

import pytest
import torch

from agents.sum_tree import SumTree

CPU = torch.device("cpu")


def tree_of(*weights: float, leaves: int | None = None) -> SumTree:
    tree = SumTree(leaves or len(weights), CPU)
    tree.update(torch.arange(len(weights)), torch.tensor(weights))
    return tree


def test_sums_and_draws_by_hand() -> None:
    # Why: five leaves of 1 to 5 lie at [0, 1), [1, 3), [3, 6), [6, 10), [10, 15) of 15; the first
    # two sum to 3, the first four to 10.
    tree = tree_of(1, 2, 3, 4, 5)
    assert tree.node[[1, 2, 3, 4]].tolist() == [15.0, 10.0, 5.0, 3.0]
    shares = torch.tensor([0.0, 0.99, 1.01, 2.9, 3.1, 5.9, 6.1, 9.9, 10.1, 14.99]) / 15
    assert tree.find(shares).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_leaves_are_found_as_often_as_they_weigh() -> None:
    # Why: proportional priorities are all of it. Even shares give exact counts: 3,000 a unit.
    tree = tree_of(1, 0, 3, 0.5, 0.5)
    found = tree.find((torch.arange(15_000, dtype=torch.float64) + 0.5) / 15_000)
    assert torch.bincount(found, minlength=5).tolist() == [3_000, 0, 9_000, 1_500, 1_500]


def test_a_leaf_named_twice_takes_the_highest_and_counts_once() -> None:
    # Why: draws repeat rows, and which of two writes comes last is left to chance on a GPU.
    tree = tree_of(1, 2, 3)
    tree.update(torch.tensor([0, 2, 0, 2]), torch.tensor([5.0, 0.5, 4.0, 0.25]))
    assert tree.weights(torch.arange(3)).tolist() == [5.0, 2.0, 0.5]
    assert tree.total.item() == 7.5


def test_sums_do_not_drift() -> None:
    # Why: millions of updates of a run; differences added up would leave weight where none is.
    generator = torch.Generator().manual_seed(0)
    tree = SumTree(37, CPU)
    for _ in range(500):
        place = torch.randint(37, (20,), generator=generator)
        tree.update(place, 10.0 ** (8 * torch.rand(20, generator=generator) - 4))
    tree.update(torch.arange(37), torch.zeros(37))
    assert tree.total.item() == 0.0
    tree.update(torch.tensor([17]), torch.tensor([1e-4]))
    assert tree.find(torch.rand(50, generator=generator)).unique().tolist() == [17]


@pytest.mark.parametrize("leaves", [1, 2, 3, 8, 100])
def test_a_draw_never_ends_where_nothing_lies(leaves: int) -> None:
    # Why: a share that rounds up to the whole total leads past the last leaf, to no row at all.
    tree = tree_of(0.1, leaves=leaves)
    assert tree.find(torch.tensor([0.0, 1.0 - 1e-9, 1.0], dtype=torch.float64)).tolist() == [0] * 3
