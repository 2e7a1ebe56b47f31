"""agents.returns: sums over several steps by hand, and nothing across the end of an episode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agents.returns import NStep, advantages

GOING, GONE, CUT = "going", "gone", "cut"  # on; the shopper left; the page limit


def step(number: int, *ends: str) -> dict[str, dict[str, Tensor]]:
    """Of lanes that earn 1, 2, 4 ... at their steps, which are numbered from 0."""
    gone = torch.tensor([end == GONE for end in ends])
    over = gone | torch.tensor([end == CUT for end in ends])
    return {
        "first": {"from": torch.full((len(ends),), number)},
        "last": {"to": torch.full((len(ends), 2), 10 * number)},
        "end": {"reward": torch.full((len(ends),), 2.0**number), "terminated": gone, "over": over},
    }


def test_a_return_of_three_steps_by_hand() -> None:
    # Why: with gamma = 1/2, 1 + 2 / 2 + 4 / 4 = 3 and what follows counts 1/8. A shopper who left
    # at the second step earned 1 + 1 and nothing follows; one cut off there goes on from that
    # step's own end, for 1/4; one who left at once earned 1.
    returns = NStep(3, 0.5)
    assert returns.push(step(0, GOING, GOING, GOING, GONE, CUT)) is None
    assert returns.push(step(1, GOING, GONE, CUT, GOING, GOING)) is None
    rows = returns.push(step(2, GOING, GOING, GOING, CUT, GONE))
    assert rows is not None
    assert rows["reward"].tolist() == [3.0, 2.0, 2.0, 1.0, 1.0]
    assert rows["discount"].tolist() == [0.125, 0.0, 0.25, 0.0, 0.5]
    assert rows["from"].tolist() == [0] * 5
    assert rows["to"][:, 1].tolist() == [20, 10, 10, 0, 0]


def test_each_step_comes_out_once_and_in_its_turn() -> None:
    # Why: steps before an end have shorter returns, and none of them may be left out. Of a lane
    # that ends at its fourth step: 1 + 1 + 1, 2 + 2 + 2, 4 + 4, 8.
    returns, found = NStep(3, 0.5), []
    for number in range(6):
        rows = returns.push(step(number, GONE if number == 3 else GOING))
        found += (
            [(int(rows["from"]), float(rows["reward"]), float(rows["discount"]))] if rows else []
        )
    assert found == [(0, 3.0, 0.125), (1, 6.0, 0.0), (2, 8.0, 0.0), (3, 8.0, 0.0)]


@pytest.mark.parametrize(("end", "discount"), [(GOING, 0.9), (CUT, 0.9), (GONE, 0.0)])
def test_one_step_is_passed_through(end: str, discount: float) -> None:
    # Why: the plain target is r + gamma Q, of a page limit too, and r alone where the shopper left.
    rows = NStep(1, 0.9).push(step(2, end))
    assert rows is not None and rows["reward"].item() == 4.0
    assert rows["discount"].item() == pytest.approx(discount) and rows["to"].tolist() == [[20, 20]]


def test_saved_steps_wait_on() -> None:
    # Why: a killed run must not lose the steps whose return is still open.
    whole, other = NStep(3, 0.5), NStep(3, 0.5)
    for number in range(3):
        whole.push(step(number, GOING, CUT))
    other.load_state_dict(whole.state_dict())
    first, second = (one.push(step(3, GONE, GOING)) for one in (whole, other))
    assert first is not None and second is not None
    assert all(torch.equal(second[name], value) for name, value in first.items())


def advantages_of(terminated: list[bool], truncated: list[bool]) -> list[float]:
    column = [torch.tensor(value).unsqueeze(-1) for value in (terminated, truncated)]
    reward = torch.tensor([[1.0], [2.0], [3.0]])
    value = torch.tensor([[0.5], [1.0], [1.5]])
    following = torch.tensor([[1.0], [1.5], [2.0]])
    found = advantages(reward, value, following, column[0], column[1], 0.5, 0.5)
    return [round(float(x), 6) for x in found.squeeze(-1)]


def test_advantages_by_hand() -> None:
    # Why: errors are 1 + 0.5 * 1 - 0.5 = 1, 2 + 0.5 * 1.5 - 1 = 1.75 and 3 + 0.5 * 2 - 1.5 = 2.5;
    # each counts a quarter of the one after it: 2.5, 2.375, 1.59375.
    none = [False, False, False]
    assert advantages_of(none, none) == [1.59375, 2.375, 2.5]
    # who left after the second page has nothing following: 2 - 1 = 1, and 1 + 0.25 = 1.25
    assert advantages_of([False, True, False], none) == [1.25, 1.0, 2.5]
    # a page limit keeps the value of what follows, but no advantage runs on: 1.75, 1.4375
    assert advantages_of(none, [False, True, False]) == [1.4375, 1.75, 2.5]
