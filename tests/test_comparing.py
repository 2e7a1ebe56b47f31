"""experiments.comparing: figures over cells, differences within them, and what follows a view."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from family import log_of, made

from experiments.comparing.follow_ups import ALWAYS, figures, follow_ups, tables, threshold
from experiments.comparing.next_views import held_out
from experiments.comparing.tables import (
    BESIDE,
    Column,
    Order,
    Rows,
    over_cells,
    side_by_side,
    table_of,
)
from recgym.metrics import UNDEFINED, Estimate
from recgym.types import Sessions, Split


def test_the_interval_over_cells_is_that_of_student_by_hand() -> None:
    # Why: of 1, 2, 3 the mean is 2, the standard error 1 / sqrt(3), and Student's 97.5 % quantile
    # with two degrees of freedom 4.302653: more than twice what a normal law would say.
    found = over_cells([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5
    assert found.mean == 2.0
    assert [found.low, found.high] == pytest.approx([2.0 - half, 2.0 + half], abs=1e-6)
    assert over_cells([5.0]) == Estimate(5.0, None, None)
    assert over_cells([5.0, 5.0]) == Estimate(5.0, 5.0, 5.0)
    assert over_cells([]) == over_cells([1.0, None]) == UNDEFINED


def test_models_are_held_against_the_best_within_cells() -> None:
    # Why: logs differ by far more than models do; what b is worse by is 1 in each of them, so that
    # its interval has no width, though that of either model spans both.
    cells: list[Rows] = [{"b": {"x": 2.0}, "a": {"x": 1.0}, "floor": {"x": 0.5}},
                         {"b": {"x": 102.0}, "a": {"x": 101.0}, "floor": {"x": 100.0}}]  # fmt: skip
    order = Order("x", rising=True, last=("floor", "not there"))
    found = side_by_side(cells, ["x"], order)
    assert list(found) == ["a", "b", "floor"]  # a floor below all is no rival
    assert found["a"][BESIDE] == UNDEFINED and found["b"][BESIDE] == Estimate(1.0, 1.0, 1.0)
    assert found["floor"][BESIDE].mean == pytest.approx(-0.75)
    low = found["b"]["x"].low
    assert low is not None and low < -500.0
    columns = {"y": Column("Y"), "x": Column("X", "{:.1f}")}
    shown = table_of("model", columns, cells, order).splitlines()
    assert shown[0] == "| model | Y | X | X beside a |"
    assert shown[2].endswith(" | - |") and shown[3].endswith("| +1.0 |")
    # one cell has nothing to be held within, and what is undefined comes last
    alone: Rows = {"c": {"x": None}, **cells[0]}
    assert table_of("model", columns, [alone], order).splitlines()[2:] == [
        "| a | - | 1.0 |",
        "| b | - | 2.0 |",
        "| c | - | - |",
        "| floor | - | 0.5 |",
    ]
    assert list(side_by_side(cells, [], Order("x"))) == ["b", "a", "floor"]


def test_what_is_said_yes_to_by_hand() -> None:
    # Why: from 0.6 on, three yes of which two are right, of three that happen: 2/3, 2/3. From 0.3
    # on five, of which three: 3/5 and 1, F1 3/4, the highest. The average precision is
    # (1/1 + 2/3 + 3/5) / 3, ranks of the three being 1, 3 and 5.
    chance_v = np.array([0.9, 0.8, 0.6, 0.4, 0.3, 0.1])
    happened_v = np.array([True, False, True, False, True, False])
    assert threshold(chance_v, happened_v) == 0.3
    found = figures(chance_v, happened_v, 0.6)
    assert [found[k] for k in ("precision", "recall", "f1")] == pytest.approx([2 / 3] * 3)
    found = figures(chance_v, happened_v, 0.3)
    assert [found[k] for k in ("precision", "recall", "f1")] == pytest.approx([0.6, 1.0, 0.75])
    assert found["pr_auc"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    # of the 9 pairs of one that happens and one that does not, 3 + 2 + 1 stand in the right order
    assert found["roc_auc"] == pytest.approx(6 / 9) and found["rate"] == 0.5
    # nothing to choose by: then always
    assert threshold(chance_v, np.zeros(6, dtype=bool)) == 0.0
    # never saying yes is no answer to divide by
    assert figures(chance_v, happened_v, 1.0)["precision"] == 0.0


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    """Of an untrained model, cut into three parts."""
    found = log_of(60)
    split_B = torch.full((60,), int(Split.TRAIN))
    split_B[30:45], split_B[45:] = int(Split.VALID), int(Split.TEST)
    return dataclasses.replace(found, split=split_B)


def test_the_choice_of_yes_does_not_look_at_the_test_sessions(sessions: Sessions) -> None:
    # Why: a threshold found on what it is judged by flatters.
    models = {"lstm": made("lstm")}
    valid, test = (held_out(models, sessions, part) for part in (Split.VALID, Split.TEST))
    found = follow_ups(valid, test, sessions)
    assert set(found) == {"cart", "purchase"} and set(found["cart"]) == {ALWAYS, "lstm"}
    said = valid["lstm"]
    chance_v, happened_v = said.follow[:, 0].numpy(), said.followed[:, 0].numpy() > 0
    chosen = threshold(chance_v, happened_v)
    yes_v = test["lstm"].follow[:, 0].numpy() >= chosen
    right = (yes_v & (test["lstm"].followed[:, 0].numpy() > 0)).sum()
    assert found["cart"]["lstm"]["precision"] == pytest.approx(right / max(yes_v.sum(), 1))
    # who always says yes is right as often as it happens, misses none, and tells none apart
    always = found["cart"][ALWAYS]
    assert always["precision"] == always["pr_auc"] == pytest.approx(always["rate"])
    assert always["recall"] == 1.0 and always["roc_auc"] == 0.5
    first, second = tables([found, found])
    assert first.startswith("| cart, given the view | precision | ")
    assert second.splitlines()[-1].startswith(f"| {ALWAYS} | ")
    assert tables([found, {"cart": found["cart"]}]) == [first]  # a log without purchases
