"""agents.prioritised: who is drawn how often, and what makes up for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents.prioritised import LEAST, PrioritisedReplay


def memory(**changed: Any) -> PrioritisedReplay:
    settings: dict[str, Any] = {"capacity": 4, "alpha": 0.5, "beta": 0.4, "beta_steps": 10}
    return PrioritisedReplay(**{**settings, **changed}, device=torch.device("cpu"))


def rows(*numbers: int) -> dict[str, torch.Tensor]:
    return {"a": torch.tensor(numbers)}


def told(replay: PrioritisedReplay, place: list[int], *errors: float) -> PrioritisedReplay:
    replay.take_in({"place": torch.tensor(place)}, torch.tensor(errors) - LEAST)
    return replay


def drawn(replay: PrioritisedReplay, count: int = 4000) -> dict[str, torch.Tensor]:
    return replay.sample(count, torch.Generator().manual_seed(0))


def counts(replay: PrioritisedReplay, least: int = 6) -> list[int]:
    return torch.bincount(drawn(replay, 6000)["a"], minlength=least).tolist()


def test_priorities_and_importance_by_hand() -> None:
    # Why: equation 1 and section 3.4. Errors 1 and 4 have the priorities 1 and 2 with alpha = 1/2,
    # so the chances 1/3 and 2/3; with beta = 1 the weights 1 / (2 / 3) and 1 / (4 / 3), that is 1
    # and 1/2 of the highest.
    replay = memory(beta=1.0)
    replay.add(rows(0, 1))
    found = drawn(told(replay, [0, 1], 1.0, 4.0), 6000)
    assert torch.bincount(found["a"]).tolist() == pytest.approx([2000, 4000], abs=1)
    weight_N = torch.where(found["a"] == 0, 1.0, 0.5)
    assert (
        torch.allclose(found["importance"], weight_N)
        and found["importance"].dtype == weight_N.dtype
    )
    assert torch.equal(found["place"], found["a"])


def test_importance_grows_to_its_full_power() -> None:
    # Why: bias matters at the end of training. By hand from 0.4, halfway 0.7; then with chances 1/3
    # and 2/3 the lower weight is 2^-0.7 = 0.6155722.
    replay = memory(beta_steps=4)
    assert replay.beta == pytest.approx(0.4)
    for step in range(2):
        replay.add(rows(2 * step, 2 * step + 1))
    assert replay.beta == pytest.approx(0.7)
    found = drawn(told(replay, [0, 1, 2, 3], 1.0, 4.0, 1.0, 4.0))
    assert float(found["importance"].min()) == pytest.approx(0.6155722, abs=1e-6)
    for _ in range(5):
        replay.add(rows(0))
    assert replay.beta == 1.0


def test_rows_come_in_at_the_highest_priority_so_far_and_oust_the_oldest() -> None:
    # Why: every row must be seen once, and the priority of a row that went must go with it. Three
    # rows of errors 1, 4, 16 and then two more at the highest priority, 4: rows 1 to 4 have 2, 4,
    # 4, 4 of 14.
    replay = memory()
    replay.add(rows(0, 1, 2))
    assert counts(replay) == pytest.approx([2000, 2000, 2000, 0, 0, 0], abs=1)
    told(replay, [0, 1, 2], 1.0, 4.0, 16.0)
    replay.add(rows(3, 4))
    assert counts(replay) == pytest.approx([0, 857, 1714, 1714, 1714, 0], abs=2)


def test_without_alpha_all_rows_are_alike() -> None:
    # Why: alpha = 0 is uniform replay, whose importance is 1.
    replay = memory(alpha=0.0)
    replay.add(rows(0, 1, 2))
    told(replay, [0, 1, 2], 1.0, 4.0, 100.0)
    assert counts(replay) == pytest.approx([2000, 2000, 2000, 0, 0, 0], abs=1)
    assert bool((drawn(replay)["importance"] == 1.0).all())


def test_a_saved_memory_draws_on_alike() -> None:
    # Why: a killed run goes on with the same numbers: places, priorities, the highest, and beta.
    replay, other = memory(), memory()
    replay.add(rows(0, 1, 2))
    told(replay, [0, 1], 9.0, 0.1)
    replay.add(rows(3, 4))
    other.add(rows(7, 8, 9, 10))
    other.load_state_dict(replay.state_dict())
    for one in (replay, other):
        one.add(rows(5))
    first, second = drawn(replay), drawn(other)
    assert all(torch.equal(second[name], value) for name, value in first.items())
    assert torch.equal(replay.tree.node, other.tree.node) and replay.beta == other.beta
