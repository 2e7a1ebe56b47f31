"""recgym.users.heads: what moves what."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import learned_shop
from torch import Tensor

from recgym.users.lstm import LSTMUserModel
from recgym.users.states import SequenceState
from recgym.users.surprises import HAZARD

F64 = torch.float64
N = 5


@pytest.fixture(scope="module")
def model() -> LSTMUserModel:
    model = learned_shop(F64)
    with torch.no_grad():  # every weight that is read tells
        model.heads.linear.weight.fill_(0.1)
    return model.requires_grad_(False).train(False)


def moved(model: LSTMUserModel, begun: SequenceState, state: SequenceState) -> dict[str, Tensor]:
    """By how much each of the heads that a segment adds to is moved from one state to another."""
    shift_NS = model.read(state).shared - model.read(begun).shared
    return {name: shift_NS[:, model.heads.columns(name)] for name in model.heads.of_segment}


def test_who_survived_is_not_read_as_who_is_keen(model: LSTMUserModel) -> None:
    # Why: better pages keep everybody, so that hazards stay low: read by the level of sales, they
    # would make every shopper look keener for it. The segments say who is still there.
    begun = model.init_state(model.arrive(torch.arange(N), torch.zeros(N, dtype=torch.int64)))
    tally = begun.tally.clone()
    tally[:, HAZARD] = 1.0
    for state in (
        dataclasses.replace(begun, tally=tally),
        dataclasses.replace(begun, sated=torch.ones_like(begun.sated)),
    ):
        shift = moved(model, begun, state)
        assert not shift["level"].any() and not shift["slope"].any()
        assert bool((shift["upper"].abs() > 0.01).all())  # patience is told by both


def test_levels_read_orders_and_how_far_a_session_has_come_alone(model: LSTMUserModel) -> None:
    # Why: who has ordered wants less; what else was sold, or was not, the segments say.
    begun = model.init_state(model.arrive(torch.arange(N), torch.zeros(N, dtype=torch.int64)))
    for place in range(begun.tally.shape[1]):
        tally = begun.tally.clone()
        tally[:, place] = 1.0
        shift = moved(model, begun, dataclasses.replace(begun, tally=tally))
        assert bool(shift["level"].any()) == (place > HAZARD)
        assert bool((shift["level"].abs() > 0.01).all()) == (place > HAZARD)
        assert bool((shift["upper"].abs() > 0.01).all())  # leaving reads them all


def test_levels_and_tastes_do_not_read_the_memory(model: LSTMUserModel) -> None:
    # Why: a level that follows the memory leaves segments too alike, and a taste that does knows
    # nothing of how sure it is. Leaving reads it.
    begun = model.init_state(model.arrive(torch.arange(N), torch.zeros(N, dtype=torch.int64)))
    shift = moved(model, begun, dataclasses.replace(begun, h=begun.h + 1.0))
    assert not any(shift[name].any() for name in shift if name != "upper")
    assert bool((shift["upper"].abs() > 0.01).all())
