"""recgym.users.centring: clicks and sales come out as often as they did, and nothing else moves."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from probe_shop import learned_shop
from simulated_log import logging_policy, simulate
from torch import Tensor

from recgym.simulator import Simulator
from recgym.types import After, Event, Kind, Sessions
from recgym.users import centring
from recgym.users.centring import CENTRINGS, centre
from recgym.users.likelihood import Steps, cart_counts, expectations, gather_steps
from recgym.users.lstm import LSTMUserModel
from recgym.users.surprises import Expectation

F64 = torch.float64
SLOTS, SESSIONS = 4, 1500


def shop() -> LSTMUserModel:
    """The model of the tests, whose shoppers click on some pages in two and not on nearly all."""
    model = learned_shop(F64)
    with torch.no_grad():
        model.heads.of("level")[1][0] -= 3.0
    return model.eval()


TRUE = shop()


@pytest.fixture(scope="module")
def logged() -> Steps:
    """What the model itself did."""
    simulator = Simulator(TRUE, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    sessions: Sessions = simulate(simulator, logging_policy(TRUE, SLOTS), SESSIONS)[0]
    return gather_steps(sessions, cart_counts(sessions), torch.arange(SESSIONS))


def happened(event: Event) -> Tensor:
    """Clicks, and buys, carts and favourites of what was found alone and of what was clicked."""
    viewed_n, clicked_n = event.kind == int(Kind.VIEW), event.slot >= 0
    counts = [clicked_n.sum()]
    for among_n in (viewed_n & ~clicked_n, clicked_n):
        counts += [
            ((event.after == int(after)) & among_n).sum()
            for after in (After.BUY, After.CART, After.FAVOURITE)
        ]
    return torch.stack(counts).double()


def foreseen(model: LSTMUserModel, steps: Steps) -> Tensor:
    """What the model expected of `happened`."""
    expected, event = expectations(model, steps), steps.event
    viewed_n, clicked_n = event.kind == int(Kind.VIEW), event.slot >= 0
    counts = [expected.slot.sum(-1)[viewed_n].sum()]
    for among_n in (viewed_n & ~clicked_n, clicked_n):
        counts += [
            expected.after[among_n, int(after)].sum()
            for after in (After.BUY, After.CART, After.FAVOURITE)
        ]
    return torch.stack(counts)


def test_a_step_by_hand() -> None:
    # Why: 100 events at a chance of 0.2 have an information of 100 * 0.2 * 0.8 = 16; 24 happened
    # where 20 were expected, which is a step of 4 / 16.
    chance_n = torch.full((100,), 0.2)
    assert centring._newton(torch.arange(100) < 24, chance_n).item() == pytest.approx(0.25)
    assert centring._newton(torch.arange(100) < 20, chance_n).item() == pytest.approx(0.0, abs=1e-6)
    # 60 of them have an information of 9.6: too little
    assert centring._newton(torch.arange(60) < 24, chance_n[:60]).item() == 0.0
    assert centring._newton(torch.zeros(0), torch.zeros(0)).item() == 0.0


def test_what_follows_a_view_is_asked_in_turn_by_hand() -> None:
    # Why: of 200 views a tenth is bought, of the rest a fifth carted, of the rest a twentieth made
    # a favourite: 0.1, 0.9 * 0.2 = 0.18, 0.72 * 0.05 = 0.036. 38 were bought: (38 - 20) / 18 = 1.
    # Of the 162 left 40 were carted: (40 - 32.4) / (162 * 0.16 = 25.92) = 0.2932. Of the 122 left
    # favourites have an information of 122 * 0.0475 = 5.8: too little.
    chance_m4 = torch.tensor([[0.684, 0.036, 0.18, 0.1]], dtype=F64).expand(200, 4)
    after_m = torch.arange(4).repeat_interleave(torch.tensor([112, 10, 40, 38]))
    view_m, none_m = torch.full((200,), int(Kind.VIEW)), torch.full((200,), -1)
    zero = torch.zeros(200)
    event = Event(view_m, none_m + 1, none_m, after_m, zero, zero, zero)
    expected = Expectation(
        zero, zero.unsqueeze(-1), chance_m4, zero.unsqueeze(-1), zero.unsqueeze(-1), zero
    )
    step_3 = centring._after_levels(event, expected, view_m == int(Kind.VIEW))
    assert step_3.tolist() == pytest.approx([1.0, 7.6 / 25.92, 0.0])


@torch.no_grad()
def centred(level_7: list[float], steps: Steps) -> tuple[Tensor, Tensor, LSTMUserModel]:
    """Counts off by, [7], before and after a fit's steps, and the model whose levels were moved."""
    model = copy.deepcopy(TRUE)
    model.heads.of("level")[1].add_(torch.tensor(level_7, dtype=F64))
    lost_7 = foreseen(model.eval(), steps) - happened(steps.event)
    for _ in range(CENTRINGS):
        centre(model.eval(), steps.event, expectations(model, steps))
    return lost_7, foreseen(model.eval(), steps) - happened(steps.event), model


@pytest.mark.parametrize("by", [0.15])
@torch.no_grad()
def test_levels_of_sales_that_were_moved_come_back(by: float, logged: Steps) -> None:
    # Why: a step of Newton leaves an error of the order of what it went, squared, and what the
    # states answer to new levels: of 0.15 to either side less than a fifth may be left, of what is
    # found and what is clicked each by itself, as the first three levels move both and the last
    # three what is clicked alone.
    moved_7 = [0.0, by, -by, by, -2 * by, 2 * by, -2 * by]
    assert float(happened(logged.event).min()) > 50
    lost_7, left_7, model = centred(moved_7, logged)
    assert bool((lost_7[1:].abs() > 10).all())
    assert bool((left_7.abs() <= 0.2 * lost_7.abs() + 1.0)[1:].all()), (lost_7, left_7)
    # one more step goes far less than the first, towards the same place
    once_7 = model.heads.of("level")[1].clone()
    centre(model, logged.event, expectations(model, logged))
    again_7 = model.heads.of("level")[1] - once_7
    assert float(again_7[1:].abs().max()) < 0.2 * abs(by)


@pytest.mark.parametrize("by", [-0.15])
def test_a_level_of_clicks_that_was_moved_comes_back(by: float, logged: Steps) -> None:
    # Why: as above. Clicks of a page are no plain logit of their level, and what is believed of a
    # shopper moves against it: the step's information must be the one that the level has.
    lost_7, left_7, _ = centred([by] + [0.0] * 6, logged)
    assert float(lost_7[0]) * by > 0 and float(lost_7[0].abs()) > 20
    assert float(left_7[0].abs()) <= 0.2 * float(lost_7[0].abs()) + 1.0, (lost_7[0], left_7[0])


@torch.no_grad()
def test_only_the_levels_move(logged: Steps) -> None:
    # Why: the rest was fitted.
    model = copy.deepcopy(TRUE)
    with_levels = model.heads.rows("level")
    model.heads.linear.bias[with_levels] += 0.1
    before = copy.deepcopy(model.state_dict())
    centre(model, logged.event, expectations(model.eval(), logged))
    for name, value in model.state_dict().items():
        if name == "answers.heads.linear.bias":
            assert bool((value[with_levels] != before[name][with_levels]).all())
            value, before[name] = value.clone(), before[name].clone()
            value[with_levels] = before[name][with_levels] = 0.0
        assert torch.equal(value, before[name]), name


def only(steps: Steps, row_n: Tensor) -> tuple[Event, Expectation]:
    """Of these steps, the events and what the model expected."""
    return steps.event.lanes(row_n), expectations(TRUE, steps).lanes(row_n)


@pytest.mark.parametrize("kind", [Kind.LEAVE, Kind.CHECKOUT])
def test_nothing_moves_without_views(kind: Kind, logged: Steps) -> None:
    # Why: a level of which no event speaks would else be divided by nothing.
    model = copy.deepcopy(TRUE)
    row_n = (logged.event.kind == int(kind)).nonzero().squeeze(-1)
    for rows_n in (row_n, row_n[:0]):
        centre(model, *only(logged, rows_n))
        assert torch.equal(model.heads.linear.bias, TRUE.heads.linear.bias)


@torch.no_grad()
def test_without_clicks_what_is_said_of_them_stays(logged: Steps) -> None:
    # Why: the level after a click is that of a find plus what a click adds; a log without clicks
    # moves the first and says nothing of the sum, nor of how much is clicked.
    model = copy.deepcopy(TRUE)
    model.heads.of("level")[1][1:4] += 0.3
    start_7 = model.eval().heads.of("level")[1].clone()
    row_n = (logged.event.slot < 0).nonzero().squeeze(-1)
    event = logged.event.lanes(row_n)
    expected = expectations(model, logged).lanes(row_n)
    expected = dataclasses.replace(expected, slot=torch.zeros_like(expected.slot))
    centre(model, event, expected)
    level_7 = model.heads.of("level")[1]
    assert bool((level_7[1:4] < start_7[1:4] - 0.1).all())
    clicked_3 = level_7[1:4] + level_7[4:7]
    torch.testing.assert_close(clicked_3, start_7[1:4] + start_7[4:7], rtol=0, atol=1e-12)
    assert level_7[0] == start_7[0]
