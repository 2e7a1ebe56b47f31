"""recgym.users.heads: what moves what."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import learned_shop
from simulated_log import logging_policy, simulate
from torch import Tensor

from recgym.simulator import Simulator
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob
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


@torch.no_grad()
def test_what_was_viewed_draws_clicks_to_what_the_same_tastes_speak_to() -> None:
    # Why: by hand, an item's log-mass rises by draw · (its loads · those of what was viewed), for
    # each of the two means of what was viewed; and no other head but the search heeds the mark.
    model = learned_shop(F64)
    model.heads.draw.copy_(torch.tensor([0.5, -0.25]))
    model.train(False)
    begun = model.init_state(model.arrive(torch.arange(N), torch.zeros(N, dtype=torch.int64)))
    vector_ID = model.tables.vector_ID
    fast, slow = vector_ID[3].expand(N, -1), vector_ID[7].expand(N, -1)
    shift = moved(model, begun, dataclasses.replace(begun, viewed=torch.cat([fast, slow], -1)))
    load_IV = vector_ID @ model.tastes.click.T
    drawn_I = load_IV @ (0.5 * load_IV[3] - 0.25 * load_IV[7])
    torch.testing.assert_close(shift["clicked"] @ vector_ID.T, drawn_I.expand(N, -1))
    assert bool((drawn_I.abs() > 0.001).any())
    assert not any(shift[name].any() for name in shift if name != "clicked")


@torch.no_grad()
def test_a_log_tells_how_far_views_draw() -> None:
    # Why: who is drawn to what was viewed and who liked it before click alike at first; only the
    # fading tells them apart, and the log of a shop that draws has to: by 3 nats, which chance
    # does once in 70 times if the other is true (twice the log of a likelihood ratio, one number).
    shop = learned_shop(F64)
    shop.heads.of("level")[1][0] += 1.0  # more is clicked
    shop.heads.draw.copy_(torch.tensor([0.5, 0.0]))
    shop.eval()
    simulator = Simulator(shop, encoder=shop, num_slots=4, dtype=F64)
    sessions = simulate(simulator, logging_policy(shop, 4), 300)[0]
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(len(sessions.split)))
    nats = {}
    for draw in ((0.5, 0.0), (0.0, 0.0), (1.0, 0.0), (0.0, 0.5), (-0.5, 0.0)):
        shop.heads.draw.copy_(torch.tensor(draw))
        shop.prepare()
        nats[draw] = float(log_prob(shop, steps, expectations(shop, steps)).choice.sum())
    true = nats.pop((0.5, 0.0))
    assert all(true - other > 3.0 for other in nats.values())
