"""recgym.users.segments: shoppers of several kinds, drawn, mixed and told apart by one law."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from probe_shop import FOUND, found_alone, learned_shop, some_belief
from scipy.stats import binom, norm
from simulated_log import logging_policy, simulate
from torch import Tensor

from agents.baselines import Greedy
from recgym import choice, organic, visit
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import After, Catalog, Event, Kind, Organic, Page, Sessions, Split
from recgym.users.assumptions import assume_pages
from recgym.users.base import by_segment, follow
from recgym.users.fit_settings import FitSettings
from recgym.users.likelihood import (
    cart_counts,
    expectations,
    gather_steps,
    log_prob,
    run,
    walked,
)
from recgym.users.lstm import LSTMUserModel
from recgym.users.passes import mean_nll
from recgym.users.report import item_given_view
from recgym.users.segments import Prospect, expect
from recgym.users.states import Reading, SequenceState
from recgym.users.training import fit

F64 = torch.float64
SHOWN = torch.tensor([1, -1])  # a page with an empty slot


def tiny_shop(segments: int = 3, num_items: int = 3) -> LSTMUserModel:
    """Shoppers who all arrive alike, and of whom each segment answers very differently."""
    catalog = Catalog(
        price=torch.tensor([[5.0, 9.0, 14.0][:num_items]]),
        category=torch.tensor([0, 0, 1][:num_items]),
        feature=torch.eye(3)[:num_items],
        start_ms=0,
        num_categories=2,
    )
    torch.manual_seed(0)
    model = LSTMUserModel(
        catalog, torch.ones(num_items, dtype=torch.bool), torch.zeros(1, 1),
        torch.zeros(1, dtype=torch.int64), hidden=4, embedding=3, classes=2, segments=segments,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
        model.heads.segment_offset += torch.randn(model.heads.segment_offset.shape)
        model.project()
    return model.to(F64).eval()


def event_of(kind: Kind, item: int, slot: int, after: After, model: LSTMUserModel) -> list[float]:
    price = float(model.catalog.price[0, item]) if item >= 0 else 0.0
    quantity = model.quantity if after >= After.CART else 0.0
    return [int(kind), item, slot, int(after), price, quantity]


def outcomes(model: LSTMUserModel, first: bool, cart: bool) -> list[list[float]]:
    """All that can follow the page ``SHOWN``."""
    ways = [(item, -1) for item in range(model.catalog.num_items)] + [(int(SHOWN[0]), 0)]
    found = [event_of(Kind.VIEW, *way, after, model) for way in ways for after in After]
    if not first:
        found.append(event_of(Kind.LEAVE, -1, -1, After.NOTHING, model))
    if cart:
        found.append(event_of(Kind.CHECKOUT, -1, -1, After.NOTHING, model))
    return found


def histories(model: LSTMUserModel) -> Sessions:
    """All histories of two pages, a session each."""
    rows: list[list[float]] = []
    for first in outcomes(model, True, False):
        for second in outcomes(model, False, first[3] == After.CART):
            rows += [first, second]
    table = torch.tensor(rows, dtype=F64)
    kind, item, slot, after = table[:, :4].long().unbind(-1)
    zero, count = torch.zeros(len(rows), dtype=F64), len(rows) // 2
    item_SK = SHOWN.expand(len(rows), -1)
    price_SK = model.catalog.price[0][item_SK.clamp(min=0)] * (item_SK >= 0)
    return Sessions(
        event=Event(kind, item, slot, after, table[:, 4], table[:, 5], zero),
        page=Page(item_SK, price_SK),
        time_ms=torch.zeros(len(rows), dtype=torch.int64),
        offset=torch.arange(0, len(rows) + 1, 2),
        shopper=torch.arange(count),
        profile=torch.zeros(count, 1, dtype=F64),
        split=torch.zeros(count, dtype=torch.int64),
    )


@torch.no_grad()
def probability(model: LSTMUserModel, sessions: Sessions) -> Tensor:
    """Of each history, [B], by the likelihood that a fit maximises."""
    count = len(sessions.split)
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(count))
    value = log_prob(model, steps)
    total_S = torch.zeros(2 * count, dtype=F64)
    total_S[steps.step] = value.choice + value.after
    return total_S.view(count, 2).sum(-1).exp()


@pytest.mark.parametrize("segments", [1, 3])
def test_all_histories_of_two_pages_have_probability_one(segments: int) -> None:
    # Why: mass that leaks or is counted twice bends a fit without a sign.
    model = tiny_shop(segments)
    sessions = histories(model)
    assert len(sessions.split) == 12 * 17 + 4 * 18
    chance_B = probability(model, sessions)
    first_B = chance_B.split([17 + (after == After.CART) for _ in range(4) for after in After])
    assert sum(float(part.sum()) for part in first_B) == pytest.approx(1.0, abs=1e-12)


def test_a_segment_drawn_on_each_page_plays_the_mixture() -> None:
    # Why: the simulator draws anew on each page, the likelihood sums over segments; only Bayes'
    # rule in between makes the two one law. 60,000 shoppers, 276 histories, and for each the tail
    # of a binomial that a normal has beyond 4.5 sd; rare ones are not normal.
    model = tiny_shop()
    sessions, lanes = histories(model), 60_000
    chance_B = probability(model, sessions)
    simulator = Simulator(model, num_slots=2, expected_revenue=False, dtype=F64)
    seed_N = torch.arange(lanes)
    state = simulator.reset(seed_N, torch.zeros_like(seed_N))
    words = []
    for _ in range(2):
        state, outcome = simulator.step(state, simulator.page(state, SHOWN.expand(lanes, 2)))
        words.append(word(outcome.event))
    seen_N = words[0] * 1000 + words[1]
    word_S = word(sessions.event)
    names_B = word_S[0::2] * 1000 + word_S[1::2]
    assert torch.isin(seen_N, names_B).all()
    count_B = (names_B.unsqueeze(-1) == seen_N.unique()).long() @ seen_N.unique(return_counts=True)[
        1
    ]
    fewer_B = binom.cdf(count_B.numpy(), lanes, chance_B.numpy())
    more_B = binom.sf(count_B.numpy() - 1, lanes, chance_B.numpy())
    assert min(fewer_B.min(), more_B.min()) > norm.sf(4.5)


def word(event: Event) -> Tensor:
    """A number for what happened, below 1000."""
    return event.kind * 100 + (event.item + 1) * 20 + (event.slot + 1) * 4 + event.after


@torch.no_grad()
def test_the_share_after_an_event_is_bayes_rule_by_hand() -> None:
    # Why: two segments, of equal shares, that leave an empty second page with 3/4 and 1/4: of
    # those who stay the patient ones are 3 in 4; after two pages 9 in 10.
    model = tiny_shop(2)
    for name in ("gate", "upper"):
        for parameter in model.heads.of(name):
            parameter.zero_()
    model.heads.segment_offset.zero_()
    model.answers.of_cart.weight.zero_()
    model.heads.offset("upper")[:, 0] = torch.tensor([3.0, 1 / 3], dtype=F64).log()
    model.eval()
    zero = torch.zeros(1, dtype=torch.int64)
    state, now = model.init_state(model.arrive(zero, zero)), visit.begin(zero, 0, F64)
    none = torch.zeros(1, 0, dtype=F64)
    page, nothing = Page(none.long(), none), torch.zeros(1, dtype=F64)
    view = Event(zero + 2, zero, zero - 1, zero, nothing + 5.0, nothing, nothing)
    shares = []
    for _ in range(3):
        reading = model.read(state)
        shares.append(reading.share.exp()[0].tolist())
        state = model.observe(reading, page, view, now)
        now = visit.advance(now, page, view, nothing)
    shares.append(model.read(state).share.exp()[0].tolist())
    # nobody leaves a first page, so that it tells nothing
    expected = [[0.5, 0.5], [0.5, 0.5], [0.25, 0.75], [0.1, 0.9]]
    for found, hoped in zip(shares, expected, strict=True):
        assert found == pytest.approx(hoped, abs=1e-12)
    # and then 3/4 of a tenth and 1/4 of the rest leave
    found = model.prospect(model.read(state), page, view, now)
    leave = model.senses.expect(model.tables, model.read(state), found, page, view).leave
    assert leave.item() == pytest.approx(0.1 * 0.75 + 0.9 * 0.25, abs=1e-12)


def test_an_expectation_mixes_by_who_would_act() -> None:
    # Why: by hand. Shares 0.8 and 0.2; views with 0.5 and 1: viewers are 2/3 and 1/3. The item
    # viewed has 0.1 and 0.6 among them: 0.04 and 0.12, so that its buyers are of 1/4 and 3/4.
    found = Prospect(
        kind=torch.tensor([[0.5, 1.0]]).log(),
        item=torch.tensor([[0.1, 0.6]]).log(),
        after=torch.zeros(1, 2),
        leave=torch.tensor([[0.5, 0.0]]),
        view=torch.tensor([[0.5, 1.0]]),
        slot=torch.tensor([[[0.3, 0.0], [0.6, 0.3]]]),
        follow=torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.6, 0.0, 0.0, 0.4]]]),
        logits=torch.zeros(1, 2, 3),
        spread=torch.zeros(1, 2, 3),
        taken=torch.tensor([[[0.2, 0.0], [0.3, 0.0]]]),
        attraction=torch.tensor([[1.0, 0.5]]).log(),
    )
    shown_NKX = torch.tensor([[[3.0, 1.0], [9.0, 9.0]]])
    share_NG, mean_NX = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[7.0, -1.0]])
    mixed = expect(share_NG, found, mean_NX, shown_NKX, torch.ones(1))
    torch.testing.assert_close(mixed.leave, torch.tensor([0.4]))
    torch.testing.assert_close(mixed.slot, torch.tensor([[0.4, 0.1]]))
    torch.testing.assert_close(mixed.after, torch.tensor([[0.7, 0.0, 0.0, 0.3]]))
    # finds: 0.8 · 0.5 / 1 and 0.2 · 1 / 0.5, both 0.4, of which slots take over 0.2 and 0.3: of
    # 0.8 there are 0.6 left, and (0.8 · 7 - 0.2 · 3) / 0.6 of one input, (-0.8 - 0.2) / 0.6 of the
    # other; carted or bought is 0.0 + 0.3
    torch.testing.assert_close(mixed.found, torch.tensor([[5.0 / 0.6, -1.0 / 0.6]]))
    torch.testing.assert_close(mixed.sold(), torch.tensor([0.3]))


def log_of(model: LSTMUserModel, count: int) -> Sessions:
    simulator = Simulator(model, num_slots=4, expected_revenue=False, dtype=F64)
    return simulate(simulator, logging_policy(model, 4), count)[0]


@pytest.fixture(scope="module")
def logged() -> Sessions:
    return log_of(learned_shop(F64), 120)


@torch.no_grad()
def test_walking_gives_the_shares_of_one_run(logged: Sessions) -> None:
    # Why: a fit sums evidence along whole sessions, a simulator page by page.
    model = learned_shop(F64)
    steps = gather_steps(logged, cart_counts(logged), torch.arange(120))
    met, once = walked(model, steps), run(model, steps, expectations(model, steps))
    share_nG = met.reading.share
    torch.testing.assert_close(once.reading.share, share_nG, rtol=0, atol=1e-10)
    for field in dataclasses.fields(Prospect):
        one, other = (getattr(each.found, field.name) for each in (once, met))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    one, other = (each.reading.state.evidence for each in (once, met))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert float(share_nG.exp().std(0).max()) > 0.1  # the segments were told apart


def test_the_gradient_is_that_of_finite_differences(logged: Sessions) -> None:
    # Why: a gradient cut or poisoned anywhere along the evidence still fits, to something else.
    model = learned_shop(F64)
    steps = gather_steps(logged, cart_counts(logged), torch.arange(40))
    with torch.no_grad():
        expected = expectations(model, steps)

    def total() -> Tensor:
        model.prepare()
        value = log_prob(model, steps, expected).total()
        assert bool(torch.isfinite(value).all())
        return value.sum()

    total().backward()
    model_gate = slice(model.heads.sizes["category"] + model.heads.sizes["latent"], None)
    of_gate = model.heads.linear.weight.grad, model.heads.linear.weight
    assert of_gate[0] is not None and model.heads.segment_offset.grad is not None
    pairs = [
        (model.heads.segment_offset.grad, model.heads.segment_offset.detach()),
        (of_gate[0][model_gate][: model.num_segments], model.heads.of("gate")[0].detach()),
        *((loads.grad, loads.detach()) for loads in (model.tastes.click, model.tastes.sale)),
    ]
    generator, tiny = torch.Generator().manual_seed(0), 1e-5
    for grad, value in pairs:
        assert grad is not None and bool(torch.isfinite(grad).all())
        for row, column in zip(
            torch.randint(len(value), (8,), generator=generator).tolist(),
            torch.randint(value.shape[1], (8,), generator=generator).tolist(),
            strict=True,
        ):
            ends = []
            for step in (tiny, -2 * tiny, tiny):
                value[row, column] += step
                with torch.no_grad():
                    ends.append(float(total()))
            slope = (ends[0] - ends[1]) / (2 * tiny)
            assert float(grad[row, column]) == pytest.approx(slope, rel=1e-5, abs=1e-5)


def some_reading(model: LSTMUserModel, count: int) -> Reading:
    """Of states as different as any."""
    zero = torch.zeros(count, dtype=torch.int64)
    like = model.init_state(model.arrive(torch.arange(count), zero))
    generator = torch.Generator().manual_seed(2)
    drawn = {
        name: torch.randn(getattr(like, name).shape, generator=generator, dtype=F64)
        for name in ("h", "tally", "viewed", "evidence", "sated")
    }
    belief = some_belief(count, generator)
    return model.read(dataclasses.replace(like, belief=belief, **drawn))


def test_by_segment_gives_the_lanes_of_segments() -> None:
    # Why: greedy and the report go segment by segment, the likelihood all at once. Four segments
    # at two nodes of taste each are eight lanes, segment by segment.
    model = learned_shop(F64)
    reading = some_reading(model, 5)
    share_NG, supposed = model.segments(reading)
    torch.testing.assert_close(share_NG.sum(-1), torch.ones(5, dtype=F64))
    parts = list(by_segment(model, reading))
    assert len(parts) == 2 * model.num_segments == 8
    assert supposed.node[:8].tolist() == 4 * [-1.0, 1.0]
    torch.testing.assert_close(share_NG[:, ::2], model.read(reading.state).share.exp() / 2)
    assert torch.equal(share_NG[:, ::2], share_NG[:, 1::2])
    for g, (share_N1, of_g) in enumerate(parts):
        assert torch.equal(share_N1[:, 0], share_NG[:, g])
        for n in range(5):
            lane = supposed.lanes(torch.tensor([n * 8 + g]))
            assert torch.equal(lane.worth, of_g.worth[n : n + 1])
            assert torch.equal(lane.node, of_g.node[n : n + 1])
            assert torch.equal(lane.levels.level, of_g.levels.level[n : n + 1])
            assert torch.equal(lane.found.category, of_g.found.category[n : n + 1])
        # the segment drawn by a uniform inside its part of the sum of shares is this one
        inside_N = share_NG.cumsum(-1)[:, g] - share_NG[:, g] / 2
        drawn = model.suppose(reading, inside_N)
        assert torch.equal(drawn.node, of_g.node)
        torch.testing.assert_close(drawn.worth, of_g.worth, rtol=0, atol=1e-12)
        torch.testing.assert_close(drawn.levels.upper, of_g.levels.upper, rtol=0, atol=1e-12)


@pytest.mark.parametrize("segments", [1, 8])
def test_a_prospect_is_what_the_verbs_say_of_each_segment(segments: int) -> None:
    # Why: it is computed for all segments at once, with what they share computed once.
    torch.manual_seed(1)
    model = tiny_shop(segments)
    reading, count = some_reading(model, 40), 40
    item_NK = torch.tensor([[0, 2], [1, -1], [-1, -1], [2, 1]]).repeat(10, 1)
    page = Page(item_NK, 1.0 + torch.rand(count, 2, dtype=F64))
    slot_N = torch.where(item_NK[:, 0] >= 0, torch.arange(count) % 2 - 1, -1)
    item_N = torch.where(slot_N == 0, item_NK[:, 0], torch.arange(count) % 3)
    kind_N = torch.tensor([2, 2, 0, 2, 1]).repeat(8)
    zero = torch.zeros(count, dtype=F64)
    event = Event(kind_N, item_N, slot_N, torch.arange(count) % 4, zero + 3.0, zero, zero)
    now = dataclasses.replace(
        visit.begin(torch.zeros(count, dtype=torch.int64), 2, F64),
        page_number=torch.ones(count, dtype=torch.int64),
        cart_item=torch.randint(-1, 1, (count, 8)),
        recent_item=torch.randint(-1, 3, (count, 10)),
    )
    whole = model.prospect(reading, page, event, now)
    for g, (_, supposed) in enumerate(by_segment(model, reading, page, now)):
        law = choice.law(model.respond(supposed, page, now), now)
        follow_N4 = follow(model, supposed, event.item, event.price, event.slot)
        viewed_N = event.kind == int(Kind.VIEW)
        after_N = follow_N4.gather(-1, event.after.unsqueeze(-1)).squeeze(-1)
        expected = {
            "kind": law.upper.gather(-1, event.kind.unsqueeze(-1)).squeeze(-1),
            "item": choice.log_prob_of_item(law, event),
            "after": after_N * viewed_N,
            "leave": law.upper[:, 0].exp(),
            "view": law.upper[:, 2].exp(),
            "slot": choice.slot_given_view(law),
            "follow": follow_N4.exp(),
        }
        for name, value in expected.items():
            torch.testing.assert_close(getattr(whole, name)[:, g], value, rtol=0, atol=1e-12)


def test_a_law_of_fewer_lanes_stands_for_those_beside_it() -> None:
    # Why: what is found alone is the same in all segments, and is not computed for each.
    one = found_alone(FOUND, torch.tensor([0, 0, 1, 1]), F64)
    found = dataclasses.replace(
        one,
        category=torch.tensor([[0.3, 0.7], [0.6, 0.4]], dtype=F64).log(),
        latent=torch.ones(2, 1, dtype=F64),
    )
    whole: Organic = found.lanes(torch.tensor([0, 0, 0, 1, 1, 1]))
    item_NJ = torch.tensor([[0, 3], [2, 1]]).repeat_interleave(3, 0)
    value = organic.log_prob(found, item_NJ)
    assert torch.equal(value, organic.log_prob(whole, item_NJ))
    # by hand: items 0 and 3 have 4/7 and 1/3 of their categories
    assert value[0].exp().tolist() == pytest.approx([0.3 * 4 / 7, 0.7 / 3])


def test_one_segment_is_enough() -> None:
    # Why: it is the model without segments, and the yardstick of what they bring.
    shop = learned_shop()
    sessions = simulate(Simulator(shop, num_slots=4), logging_policy(shop, 4), 60)[0]
    sessions = dataclasses.replace(sessions, split=torch.arange(60) % 2)
    start_B = sessions.time_ms[sessions.offset[:-1]]
    model = LSTMUserModel(
        shop.catalog, torch.ones(40, dtype=torch.bool), sessions.profile, start_B,
        hidden=8, embedding=4, segments=1,
    )  # fmt: skip
    figures = fit(model, sessions, FitSettings(epochs=1, least_updates=5), seed=0)
    assert math.isfinite(figures["nll"])
    rows = (sessions.split == Split.VALID).nonzero().squeeze(-1)
    assert mean_nll(model, sessions, rows)["nll"] == pytest.approx(figures["nll"], abs=1e-5)
    simulator = Simulator(model, encoder=model, num_slots=4)
    seed_N = torch.arange(6)
    state = simulator.reset(seed_N, torch.zeros_like(seed_N))
    observation = ObservationSpec(simulator, "encoder").observe(state)
    item_NK = Greedy(model, num_slots=4, cart_paid=0.3).act(observation)
    page = simulator.page(state, item_NK)
    state, _ = simulator.step(state, page)
    assert isinstance(state.user, SequenceState)
    assert bool((model.read(state.user).share == 0).all())
    share_NI = item_given_view(model, state.user, page, state.visit)
    torch.testing.assert_close(share_NI.sum(-1), torch.ones(6))
    assume_pages(model, rho=0.3, page_share=0.2, seed=0, num_slots=4)


def test_segments_differ_before_a_fit() -> None:
    # Why: equal ones have equal gradients, and would stay one segment for ever.
    catalog = learned_shop().catalog
    seen_I, start = torch.ones(40, dtype=torch.bool), torch.zeros(5, dtype=torch.int64)
    model = LSTMUserModel(catalog, seen_I, torch.zeros(5, 2), start, segments=4)
    for first, other in itertools.combinations(range(4), 2):
        apart = (model.heads.segment_offset[first] - model.heads.segment_offset[other]).detach()
        assert float(apart.abs().max()) > 0.3
