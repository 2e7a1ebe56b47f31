"""recgym.ope.slates: by enumeration of all pages, each where its own assumption holds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from test_ope import expected
from torch import Tensor

from recgym import ope


def pages_of_two_slots(reward: str) -> tuple[dict[str, Tensor], float]:
    """All rankings of two out of three items, drawn without replacement, and the true value."""
    logged, evaluated = (0.5, 0.3, 0.2), (0.2, 0.2, 0.6)

    def ranking(p: tuple[float, ...], i: int, j: int) -> tuple[float, float]:
        return p[i], p[j] / (1 - p[i])

    def second(p: tuple[float, ...], j: int) -> float:
        return sum(math.prod(ranking(p, i, j)) for i in range(3) if i != j)

    rows: list[tuple[float, list[float], list[float], list[float]]] = []
    value = 0.0
    for i, j in itertools.permutations(range(3), 2):
        one, two = ranking(logged, i, j), ranking(evaluated, i, j)
        worth = (1.0, 2.0, 5.0)
        slots = [worth[i], 0.5 * worth[j] - (i if reward == "cascade" else 0)]
        rows.append(
            (
                math.prod(one),
                [math.log(b / a) for a, b in zip(one, two, strict=True)],
                [evaluated[i] / logged[i], second(evaluated, j) / second(logged, j)],
                slots,
            )
        )
        value += math.prod(two) * sum(slots)
    names = ("chance", "log_ratio", "marginal", "reward")
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {name: torch.tensor(x, dtype=torch.float64) for name, x in columns}, value


def test_slate_estimators_are_right_on_average_where_their_assumption_holds() -> None:
    # Why: by enumeration again. Item-position weights need slots that do not look at one another;
    # weights from the top need slots that do not look down.
    for reward in ("additive", "cascade"):
        page, value = pages_of_two_slots(reward)
        past = torch.ones(6, 1).double()
        log_ratio, marginal, slots = (
            page[name].unsqueeze(1) for name in ("log_ratio", "marginal", "reward")
        )
        from_top = expected(ope.interaction(past, log_ratio, slots), page["chance"])
        alone = expected(ope.independent(past, marginal, slots), page["chance"])
        assert from_top == pytest.approx(value, abs=1e-12)
        assert (alone == pytest.approx(value, abs=1e-12)) == (reward == "additive")


def test_pseudoinverse_needs_the_sum_of_the_slots_only() -> None:
    # Why: slots filled one by one with replacement are its exact case. By hand: two slots of two
    # items, logged with 1/2 each, evaluated with 0.9 and 0.1; item 0 is worth 1 in slot 1 and 2 in
    # slot 2, so the value is 0.9 * 3 = 2.7.
    pages = list(itertools.product((0, 1), repeat=2))
    marginal = torch.tensor(
        [[[(1.8, 0.2)[i], (1.8, 0.2)[j]]] for i, j in pages], dtype=torch.float64
    )
    reward = torch.tensor(
        [[(i == 0) * 1.0 + (j == 0) * 2.0] for i, j in pages], dtype=torch.float64
    )
    past = torch.ones(4, 1).double()
    assert ope.pseudoinverse(past, marginal, reward).value() == pytest.approx(2.7)


def test_slate_weights_stand_on_the_weight_of_the_pages_before() -> None:
    # Why: a page in the middle of a session is reached by earlier ones. 1 * 2 * 3 + 4 * 5 * 0.5.
    past = torch.tensor([[1.0, 4.0]], dtype=torch.float64)
    ratio = torch.tensor([[[2.0], [5.0]]], dtype=torch.float64)
    reward = torch.tensor([[[3.0], [0.5]]], dtype=torch.float64)
    for parts in (
        ope.independent(past, ratio, reward),
        ope.interaction(past, ratio.log(), reward),
        ope.pseudoinverse(past, ratio, reward.squeeze(-1)),
    ):
        assert parts.value() == pytest.approx(16.0)
