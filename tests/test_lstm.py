"""recgym.users.lstm and likelihood: one law, walked, unrolled, scored or simulated."""

from __future__ import annotations

import dataclasses
from typing import Any

import plain
import pytest
import torch
from family import stepwise
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_shop import TwoFeatures, learned_shop, some_belief
from simulated_log import (
    Recorder,
    assert_zero_on_average,
    foreseen,
    logging_policy,
    simulate,
    with_room,
)
from torch import Tensor

from recgym import organic, visit
from recgym.lanes import joined
from recgym.simulator import Simulator
from recgym.types import Event, Kind, Observation, Page, Policy, Sessions
from recgym.users import tastes
from recgym.users.base import after_log_probs
from recgym.users.likelihood import (
    cart_counts,
    expectations,
    gather_steps,
    log_prob,
    run,
    walk,
)
from recgym.users.lstm import Kept, LSTMUserModel
from recgym.users.states import SequenceState, Supposed
from recgym.users.surprises import tallies
from recgym.worlds.taste import TasteShop

SLOTS = 4
F64 = torch.float64
MODEL = learned_shop(F64)


class Constant:
    """The same page for all; no items make it an empty one."""

    def __init__(self, *items: int) -> None:
        self.item_K = torch.tensor([*items, *[-1] * (SLOTS - len(items))])

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        return self.item_K.expand(len(observation.visit.gap), SLOTS)


@pytest.fixture(scope="module")
def logged() -> tuple[Sessions, Recorder, Tensor]:
    """Sessions of a true shop, read by the model while they were simulated."""
    shop = TwoFeatures(num_items=40, buy=-5.0, cart=-3.0, dtype=F64)
    simulator = Simulator(
        shop, encoder=MODEL, num_slots=SLOTS, expected_revenue=False, dtype=F64
    )  # fmt: skip
    return simulate(simulator, logging_policy(shop, SLOTS), 150)


def steps_of(sessions: Sessions) -> tuple[Tensor, Tensor]:
    return cart_counts(sessions), torch.arange(len(sessions.split))


@torch.no_grad()
def test_unrolling_gives_the_states_of_walking(logged: tuple[Sessions, Recorder, Tensor]) -> None:
    # Why: a fit unrolls and a simulator walks; two laws would part here first.
    sessions, _, _ = logged
    steps = gather_steps(sessions, *steps_of(sessions))
    walked = [moment.reading.state for moment in walk(MODEL, steps)]
    unrolled = run(MODEL, steps, expectations(MODEL, steps)).reading.state
    for name in ("h", "context", "tally", "viewed", "evidence"):
        expected = torch.cat([getattr(state, name) for state in walked])
        torch.testing.assert_close(getattr(unrolled, name), expected, rtol=0, atol=1e-10)
    for name in ("mean", "precision"):
        expected = torch.cat([getattr(state.belief, name) for state in walked])
        torch.testing.assert_close(getattr(unrolled.belief, name), expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_the_likelihood_is_the_sum_of_the_verbs(logged: tuple[Sessions, Recorder, Tensor]) -> None:
    # Why: what a fit maximises must be the law that the simulator draws from, session by session.
    sessions, _, _ = logged
    steps = gather_steps(sessions, *steps_of(sessions))
    value = log_prob(MODEL, steps)
    expected_n = plain.log_prob(MODEL, steps, expectations(MODEL, steps))
    torch.testing.assert_close(value.total(), expected_n, rtol=0, atol=1e-9)
    total_S = torch.zeros(len(steps.step), dtype=F64)
    total_S[steps.step] = value.total()
    for b in range(40):
        expected = stepwise(MODEL, sessions, b)
        first, last = int(sessions.offset[b]), int(sessions.offset[b + 1])
        torch.testing.assert_close(total_S[first:last], expected, rtol=0, atol=1e-9)


@torch.no_grad()
def test_a_log_gives_the_states_that_the_encoder_had(
    logged: tuple[Sessions, Recorder, Tensor],
) -> None:
    # Why: a policy trained on the encoder must meet the states that the model was fitted on.
    sessions, recorder, order_S = logged
    encoder = joined(recorder.encoders).lanes(order_S)
    assert isinstance(encoder, SequenceState)
    steps = gather_steps(sessions, *steps_of(sessions))
    state = run(MODEL, steps, expectations(MODEL, steps)).reading.state
    met = encoder.lanes(steps.step)
    for ours, theirs in (
        *((getattr(state, name), getattr(met, name)) for name in ("h", "tally", "evidence")),
        (state.viewed, met.viewed),
        (state.belief.mean, met.belief.mean),
        (state.belief.precision, met.belief.precision),
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert float(met.belief.mean.abs().max()) > 0.1  # something was learned of tastes
    assert int((sessions.event.slot >= 0).sum()) > 50 and bool((cart_counts(sessions) > 0).any())


def states(model: LSTMUserModel, n: int) -> SequenceState:
    """States as different as any, of n lanes."""
    g = torch.Generator().manual_seed(1)
    like = model.init_state(model.arrive(torch.arange(n), torch.zeros(n, dtype=torch.int64)))
    return SequenceState(
        torch.rand(like.h.shape, generator=g, dtype=F64) * 2 - 1,
        Kept(torch.randn(like.h.shape, generator=g, dtype=F64)),
        like.context,
        torch.randn(like.tally.shape, generator=g, dtype=F64),
        torch.randn(like.viewed.shape, generator=g, dtype=F64),
        some_belief(n, g),
        torch.randn(like.evidence.shape, generator=g, dtype=F64),
        3.0 * torch.rand(like.sated.shape, generator=g, dtype=F64),
        like.clicks,
        like.last,
        like.fold,
    )


def supposed_of(model: LSTMUserModel, state: SequenceState) -> Supposed:
    """Shoppers in these states, one segment after another."""
    return model.suppose(model.read(state), torch.linspace(0.0, 0.99, len(state.h), dtype=F64))


@settings(max_examples=60, deadline=None)
@given(
    item=st.integers(0, 39),
    price=st.floats(0.01, 1e5),
    dearer=st.floats(1.0, 100.0),
    seed=st.integers(0, 2**31),
)
def test_dearer_never_sells_more(item: int, price: float, dearer: float, seed: int) -> None:
    # Why: an agent that sets or exploits prices would find any turn of the slope.
    torch.manual_seed(seed)
    model = learned_shop(F64)
    with torch.no_grad():
        for parameter in (*model.heads.of("slope"), model.heads.offset("slope")):
            parameter.copy_(5.0 * torch.randn(parameter.shape, dtype=F64))
        item_NJ = torch.full((8, 2), item)
        price_NJ = torch.tensor([price, price * dearer], dtype=F64).expand(8, 2)
        logits = model.after(supposed_of(model, states(model, 8)), item_NJ, price_NJ, True)
        probability = after_log_probs(logits).exp()
    bought, sold = probability[..., 3], probability[..., 2:].sum(-1)
    assert bool((bought[:, 1] <= bought[:, 0] + 1e-12).all())
    assert bool((sold[:, 1] <= sold[:, 0] + 1e-12).all())


@torch.no_grad()
def test_dearer_never_sells_more_where_tastes_differ_much() -> None:
    # Why: as above. What is not known of a worth draws chances to a half, the nearer they are the
    # less: so far apart that a dearer item would pass a cheaper one they may not be drawn.
    model = learned_shop(F64)
    model.tastes.sale.mul_(5.0)
    model.eval()
    shopper = MODEL.arrive(torch.arange(8), torch.zeros(8, dtype=torch.int64))
    supposed = supposed_of(model, model.init_state(shopper))  # of whom nothing is known yet
    price_J = torch.logspace(-3, 5, 400, dtype=F64)
    for item in range(40):
        item_NJ = torch.full((8, 400), item)
        logits = model.after(supposed, item_NJ, price_J.expand(8, -1), True)
        bought_NJ = after_log_probs(logits).exp()[..., 3]
        assert bool((bought_NJ.diff(dim=-1) <= 1e-12).all())


@torch.no_grad()
def test_an_item_never_met_falls_back_on_its_features() -> None:
    # Why: a free vector that no view has shaped is noise, and noise would be recommended.
    model = learned_shop(F64)
    model.items.seen[[3, 7]] = 0.0
    twin = model.catalog.feature.clone()
    twin[7] = twin[3]
    category = model.catalog.category.clone()
    category[7] = category[3]
    model.catalog = dataclasses.replace(model.catalog, feature=twin, category=category)
    model.items.log_price[7] = model.items.log_price[3]
    model.eval()
    state, begun = states(model, 5), visit.begin(torch.zeros(5, dtype=torch.int64), SLOTS, F64)
    page = Page(torch.tensor([[3, 7, 1, 2]]).expand(5, 4), torch.ones(5, 4, dtype=F64))
    response = model.respond(supposed_of(model, state), page, begun)
    found = organic.log_prob(response.organic, page.item)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    after = model.after(supposed_of(model, state), page.item, page.price, True)
    for logit in after:
        torch.testing.assert_close(logit[:, 0], logit[:, 1])
        assert not torch.equal(logit[:, 0], logit[:, 2])
    model.items.own[3] += 9.0
    model.items.bias[3] += 9.0
    model.eval()
    again = model.respond(supposed_of(model, state), page, begun)
    assert torch.equal(organic.log_prob(again.organic, page.item), found)
    assert torch.equal(again.slot, response.slot)


@pytest.mark.parametrize("name", ["learned", "true"])
@torch.no_grad()
def test_appeal_is_the_mass_of_a_page_of_one_item(name: str) -> None:
    # Why: greedy and the oracle rank by appeal, and shoppers answer by respond.
    shop = MODEL if name == "learned" else TasteShop(num_items=40, dtype=F64)
    simulator = Simulator(shop, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    seed_N = torch.arange(6)
    state = simulator.reset(seed_N, torch.zeros_like(seed_N))
    for page_number in range(3):  # on later pages some items have been shown, which tires
        item_NK = torch.tensor([5, 6, 7, 8]) + page_number
        state, _ = simulator.step(state, simulator.page(state, item_NK.expand(6, 4)))
    price_NI = simulator.catalog.price_at(state.visit.time_ms)
    reading = shop.read(state.user)  # type: ignore[arg-type]
    supposed: Any = shop.suppose(reading, torch.linspace(0.0, 0.99, 6, dtype=F64))  # type: ignore[arg-type]
    appeal_NI = shop.appeal(supposed, state.visit, price_NI)
    for item in range(40):
        page = simulator.page(state, torch.full((6, 1), item))
        slot_N1 = shop.respond(supposed, page, state.visit).slot
        torch.testing.assert_close(slot_N1[:, 0], appeal_NI[:, item], rtol=0, atol=1e-10)


def searching() -> LSTMUserModel:
    """The model of shoppers who click less, so that half of what they view is found alone."""
    model = learned_shop(F64)
    with torch.no_grad():
        model.heads.of("level")[1][0] -= 2.0
    return model.eval()


POLICIES = pytest.mark.parametrize(
    "policy", [Constant(), Constant(0, 1, 2, 3)], ids=["empty", "full"]
)


@torch.no_grad()
def taking_over(model: LSTMUserModel) -> Constant:
    """The items most found alone: what is found besides is something else the more often."""
    seed_N = torch.arange(200)
    begun = model.init_state(model.arrive(seed_N, torch.zeros_like(seed_N)))
    found_I = organic.probabilities(model.read(begun).found).sum(0)
    return Constant(*found_I.topk(SLOTS).indices.tolist())


@pytest.mark.parametrize(
    "policy",
    [Constant(), Constant(0, 1, 2, 3), taking_over(searching())],
    ids=["empty", "full", "taking over"],
)
@torch.no_grad()
def test_what_the_lstm_reads_of_items_is_zero_on_average_under_any_policy(policy: Policy) -> None:
    # Why: else a site that fills its pages with one kind of item would by itself make every
    # shopper look as if they searched for another, or bought more than they do.
    model = searching()
    steps, expected = foreseen(model, policy, SLOTS, 8000)
    tally_nF = tallies(expected, steps.event)
    found_nX = tastes.found_surprise(expected, model.tables.input_IX, steps.event)
    parts = model.senses.inputs(
        model.tables, expected, tally_nF, found_nX, steps.event, steps.visit
    )
    found_nX, sold_nX, *_ = parts
    assert bool(found_nX.any(0).all()) and bool(sold_nX.any(0).all())
    room_n = with_room(steps)
    assert_zero_on_average(sold_nX[room_n])
    assert_zero_on_average(found_nX[room_n])


@POLICIES
@torch.no_grad()
def test_surprises_are_zero_on_average_under_any_policy(policy: Policy) -> None:
    # Why: else a better page would by itself make every shopper look keener.
    steps, expected = foreseen(MODEL, policy, SLOTS)
    surprise_n3 = tallies(expected, steps.event)[:, :3]  # favourite, cart, buy
    viewed_n1 = (steps.event.kind == Kind.VIEW).double().unsqueeze(-1)
    slot_nK = torch.nn.functional.one_hot(steps.event.slot + 1, SLOTS + 1)[:, 1:]
    slot_nK = viewed_n1 * (slot_nK - expected.slot)
    clicked_n1 = slot_nK.sum(-1, keepdim=True)
    surprise_nX = torch.cat([surprise_n3, clicked_n1, slot_nK[:, :1]], -1)
    assert_zero_on_average(surprise_nX[with_room(steps)])
    clicked = isinstance(policy, Constant) and bool((policy.item_K >= 0).any())
    assert bool((steps.event.slot >= 0).any()) == clicked


@torch.no_grad()
def test_a_step_of_observe_does_not_read_its_own_future() -> None:
    # Why: a state that knew what comes next would predict it well and simulate it badly.
    simulator = Simulator(MODEL, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    sessions, _, _ = simulate(simulator, Constant(0, 1), 30)
    steps = gather_steps(sessions, *steps_of(sessions))
    state = run(MODEL, steps, expectations(MODEL, steps)).reading.state
    changed_S: Event = sessions.event
    last_S = sessions.offset[1:] - 2
    item_S = changed_S.item.clone()
    item_S[last_S] = (item_S[last_S] + 1) % 40
    other = dataclasses.replace(sessions, event=dataclasses.replace(changed_S, item=item_S))
    steps_after = gather_steps(other, *steps_of(other))
    state_after = run(MODEL, steps_after, expectations(MODEL, steps_after)).reading.state
    until_n = ~torch.isin(steps.step, sessions.offset[1:] - 1)
    assert torch.equal(state.h[until_n], state_after.h[until_n])
    assert not torch.equal(state.h, state_after.h)
