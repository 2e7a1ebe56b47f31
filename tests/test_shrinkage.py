"""recgym.users.shrinkage: a fit that tells shoppers too far apart is drawn back, and no other."""

from __future__ import annotations

import copy

import pytest
import torch
from probe_shop import learned_shop
from simulated_log import logging_policy, simulate
from torch import Tensor

from recgym.simulator import Simulator
from recgym.types import Sessions
from recgym.users.likelihood import cart_counts, expectations, gather_steps, run
from recgym.users.lstm import LSTMUserModel
from recgym.users.shrinkage import SHRUNK, shrink
from recgym.users.states import SequenceState

SLOTS = 4
TRUE = learned_shop(torch.float64)
with torch.no_grad():
    TRUE.heads.of("clicked")[0].mul_(
        3.0
    )  # who differ enough for some hundreds of sessions to show it
    TRUE.heads.of("worth")[0].mul_(3.0)
TRUE.eval()


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    """What the model itself did: its own predictions are right."""
    simulator = Simulator(
        TRUE, encoder=TRUE, num_slots=SLOTS, expected_revenue=False, dtype=torch.float64
    )
    return simulate(simulator, logging_policy(TRUE, SLOTS), 1000)[0]


@torch.no_grad()
def states(model: LSTMUserModel, sessions: Sessions) -> SequenceState:
    """Before each step of these sessions."""
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(len(sessions.split)))
    return run(model, steps, expectations(model, steps)).reading.state


@torch.no_grad()
def bolder(name: str, by: float, sessions: Sessions) -> LSTMUserModel:
    """The model with one head further from its mean over the sessions' states."""
    model = copy.deepcopy(TRUE)
    mean_W = model.wide(states(model, sessions)).mean(0)
    weight, bias = model.heads.of(name)
    bias.sub_((by - 1.0) * (model.weight_HW[model.heads.rows(name)] @ mean_W))
    weight.mul_(by)
    return model.eval()


Drawn = dict[str, tuple[LSTMUserModel, dict[str, float]]]


@pytest.fixture(scope="module")
def drawn_back(sessions: Sessions) -> Drawn:
    """For each head, the model that was twice as bold in it, and the slopes that it was given."""
    found = {}
    for name in ("clicked", "worth"):
        model = bolder(name, 2.0, sessions)
        found[name] = model, shrink(model, sessions, torch.arange(len(sessions.split)))
    return found


@pytest.mark.parametrize("name", ["clicked", "worth"])
def test_a_head_that_is_too_bold_is_drawn_back(name: str, drawn_back: Drawn) -> None:
    # Why: predictions twice too far apart have a calibration slope of a half.
    model, slopes = drawn_back[name]
    assert slopes[name] == pytest.approx(0.5, abs=0.15)
    torch.testing.assert_close(model.heads.of(name)[0], 2.0 * slopes[name] * TRUE.heads.of(name)[0])


def test_predictions_that_are_right_stay_nearly_as_they_are(sessions: Sessions) -> None:
    model = copy.deepcopy(TRUE)
    slopes = shrink(model, sessions, torch.arange(len(sessions.split)))
    assert slopes["clicked"] > 0.85 and slopes["worth"] > 0.85
    assert all(0.0 <= slope <= 1.0 for slope in slopes.values()) and set(slopes) == set(SHRUNK)


@torch.no_grad()
def test_shoppers_are_drawn_together_and_not_moved(sessions: Sessions, drawn_back: Drawn) -> None:
    # Why: a slope must not change how much is clicked or bought in all.
    bold = bolder("worth", 2.0, sessions)
    state = states(bold, sessions)
    before = worth(bold, state)
    model, slopes = drawn_back["worth"]
    after = worth(model.eval(), state)
    torch.testing.assert_close(after.mean(0), before.mean(0))
    torch.testing.assert_close(after.std(0), slopes["worth"] * before.std(0))


def worth(model: LSTMUserModel, state: SequenceState) -> Tensor:
    """Queries of what is bought, before the part of the segment, [n, D]."""
    size = model.items.own.shape[1]
    return model.read(state).shared[:, size : 2 * size]


@pytest.mark.parametrize(("name", "other"), [("clicked", "worth"), ("worth", "clicked")])
def test_the_loads_of_the_belief_are_drawn_back_with_their_head(
    name: str, other: str, drawn_back: Drawn
) -> None:
    # Why: a belief moves the same predictions as the head does, and would stay as bold as it was.
    model, slopes = drawn_back[name]
    assert slopes[name] < 0.8 and slopes[name] != slopes[other]
    torch.testing.assert_close(model.tastes.click, slopes["clicked"] * TRUE.tastes.click)
    torch.testing.assert_close(model.tastes.sale, slopes["worth"] * TRUE.tastes.sale)
    # what views draw to is told by these loads, and is drawn back once and not twice
    count = len(TRUE.heads.draw) * TRUE.items.own.shape[1]
    rows, marks = model.heads.rows("clicked"), slice(-count, None)
    was, now = TRUE.weight_HW[rows, marks], model.eval().weight_HW[rows, marks]
    assert bool((was.abs() > 1e-4).any())
    torch.testing.assert_close(now, slopes["clicked"] * was)
    assert torch.equal(model.tastes.efficiency, TRUE.tastes.efficiency)


def test_without_held_out_sessions_nothing_moves(sessions: Sessions) -> None:
    model = bolder("clicked", 2.0, sessions)
    before, loads = model.heads.linear.weight.detach().clone(), model.tastes.click.detach().clone()
    assert set(shrink(model, sessions, torch.zeros(0, dtype=torch.int64)).values()) == {1.0}
    assert torch.equal(model.heads.linear.weight, before) and torch.equal(model.tastes.click, loads)


def test_a_search_that_runs_away_moves_nothing(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: a slope that is no number would spoil a fit that took minutes.
    model, place = copy.deepcopy(TRUE), "recgym.users.shrinkage._descend"
    before = model.heads.linear.weight.detach().clone()
    monkeypatch.setattr(place, lambda *found: found[-1].fill_(torch.nan))
    assert set(shrink(model, sessions, torch.arange(50)).values()) == {1.0}
    assert torch.equal(model.heads.linear.weight, before)
