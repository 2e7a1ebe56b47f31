"""recgym.users.assumptions: what is assumed of showing holds in the shop that then runs."""

from __future__ import annotations

import copy
import dataclasses
from functools import cache

import pytest
import torch
from probe_shop import learned_shop
from simulated_log import simulate
from torch import Tensor

from recgym import organic, visit
from recgym.errors import UserError
from recgym.lanes import joined
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Event, Observation, Outcome, Page, SessionStats
from recgym.users.assumptions import PAGES, SESSIONS, assume_pages
from recgym.users.lstm import LSTMUserModel
from recgym.users.states import SequenceState
from recgym.users.surprises import squashed

SLOTS = 5
F64 = torch.float64


class Constant:
    """The same page for all."""

    def __init__(self, item_K: Tensor) -> None:
        self.item_K = item_K

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        return self.item_K.expand(len(observation.visit.gap), -1)


@cache
def play(model: LSTMUserModel, shown: tuple[int, ...]) -> SessionStats:
    """Sessions of a page of these items; the model must stay as it is."""
    simulator = Simulator(model, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    seed_B = torch.arange(3000) + 77_000
    spec = ObservationSpec(simulator, "history")
    return rollout(spec, Constant(torch.tensor(shown)), seed_B, torch.zeros_like(seed_B))


def assume(rho: float, page_share: float, seed: int) -> LSTMUserModel:
    model = learned_shop(F64)
    assume_pages(model, rho=rho, page_share=page_share, seed=seed, num_slots=SLOTS)
    return model


assumed_once = cache(assume)


def assumed(rho: float, page_share: float = 0.2, seed: int = 0) -> LSTMUserModel:
    """For tests that leave the model as it is."""
    return assumed_once(rho, page_share, seed)


def some_states(model: LSTMUserModel) -> SequenceState:
    """States of all pages of other shoppers, who are shown nothing."""
    simulator = Simulator(model, encoder=model, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    nothing = Constant(torch.full((SLOTS,), -1))
    _, recorder, order_S = simulate(simulator, nothing, 3000, first_seed=5_000)
    states = joined(recorder.encoders).lanes(order_S)
    assert isinstance(states, SequenceState)
    return states


@torch.no_grad()
def scores(model: LSTMUserModel) -> tuple[Tensor, Tensor]:
    """Organic and shown scores of every item, less their mean over items, each [N, I]."""
    state = some_states(model)
    n, num_items = len(state.h), model.catalog.num_items
    begun = visit.begin(torch.zeros(n, dtype=torch.int64), SLOTS, F64)
    reading = model.read(state)
    found = reading.found
    found_NI = linear_part(model, state, organic.probabilities(found).log())
    shown_NI = model.appeal(model.typical(reading), begun, torch.ones(n, num_items, dtype=F64))
    return found_NI, shown_NI - shown_NI.mean(-1, keepdim=True)


def linear_part(model: LSTMUserModel, state: SequenceState, found_NI: Tensor) -> Tensor:
    """What all share, and of what is personal the least squares on item vectors and states."""
    shared_I = found_NI.mean(0)
    personal_NI = found_NI - shared_I
    personal_NI = personal_NI - personal_NI.mean(-1, keepdim=True)
    vector_ID = model.tables.vector_ID - model.tables.vector_ID.mean(0)
    most_N1 = state.sated.amax(-1, keepdim=True)
    known = [state.h, state.context, squashed(state.tally), most_N1]
    wide_NW = torch.cat([*known, state.belief.mean, state.viewed], -1)
    wide_NW = wide_NW - wide_NW.mean(0)
    like_ND = torch.linalg.lstsq(vector_ID, personal_NI.T).solution.T
    like_ND = wide_NW @ torch.linalg.lstsq(wide_NW, like_ND, driver="gelsd").solution
    explained = (like_ND @ vector_ID.T).square().sum() / personal_NI.square().sum()
    assert explained > 0.3  # else the assumption would speak of something else than organic taste
    return like_ND @ vector_ID.T + shared_I - shared_I.mean()


@cache
@torch.no_grad()
def popular(model: LSTMUserModel) -> tuple[int, ...]:
    """The items likeliest to be found by those whom the assumption was made on, shown nothing.

    In a count of other shoppers' views two items that are nearly as popular would change places.
    """
    simulator = Simulator(model, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    seed_B = torch.arange(SESSIONS)
    found_I = torch.zeros(model.catalog.num_items, dtype=F64)

    def add(index: Tensor, state: SimState, seen: Observation, outcome: Outcome) -> None:
        met_NI = organic.probabilities(model.read(state.user).found)  # type: ignore[arg-type]
        found_I.add_(met_NI[state.visit.page_number < PAGES].sum(0))

    nothing = Constant(torch.full((SLOTS,), -1))
    spec = ObservationSpec(simulator, "history")
    rollout(spec, nothing, seed_B, torch.zeros_like(seed_B), on_step=add)
    return tuple(found_I.topk(SLOTS).indices.tolist())


@pytest.mark.parametrize(("rho", "page_share"), [(0.3, 0.2), (0.0, 0.05), (1.0, 0.6)])
def test_pages_of_popular_items_bring_their_share_of_views(rho: float, page_share: float) -> None:
    # Why: the level of showing decides what any policy can earn; it must be the one named.
    model = assumed(rho, page_share)
    stats = play(model, popular(model))
    share = float(stats.clicks.sum() / stats.views.sum())
    assert share == pytest.approx(page_share, abs=0.02)


def test_views_are_moved_and_not_added() -> None:
    # Why: a log says how much shoppers view in all, so that a page may not conjure up more.
    model = assumed(0.3)
    shown = play(model, popular(model)).views
    nothing = play(model, (-1,) * SLOTS).views
    # the same shoppers; what they view differs, and with it, a little, how long they stay
    assert float(shown.sum()) == pytest.approx(float(nothing.sum()), rel=0.03)


@torch.no_grad()
def test_how_long_shoppers_stay_does_not_depend_on_the_page_itself() -> None:
    # Why: inputs that a log without pages left at 0 have weights that mean nothing.
    model = assumed(0.6)
    simulator = Simulator(model, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    seed_N = torch.arange(500)
    state = simulator.reset(seed_N, torch.zeros_like(seed_N))
    empty = simulator.page(state, torch.full((500, SLOTS), -1))
    full = simulator.page(state, torch.arange(SLOTS).expand(500, SLOTS))
    after_full, outcome = simulator.step(state, full)
    _, same = simulator.step(state, empty)
    # shoppers who view the same item, wherever they found it, are the same shoppers after it
    alike_N = outcome.event.item == same.event.item
    visit_N = state.visit
    reading, event = model.read(state.user), same.event  # type: ignore[arg-type]
    state_empty = model.observe(reading, empty, event, visit_N)
    alike_N &= outcome.event.after == same.event.after
    assert int((alike_N & outcome.clicked).sum()) > 3
    later = after_full.visit.lanes(alike_N)
    none = Page(empty.item[alike_N], empty.price[alike_N])
    both = []
    for user in (after_full.user, state_empty):
        share_NG, supposed = model.segments(model.read(user.lanes(alike_N)))  # type: ignore[arg-type]
        lane_M = torch.arange(share_NG.numel()) // share_NG.shape[1]
        both.append((share_NG, model.respond(supposed, none.lanes(lane_M), later.lanes(lane_M))))
    (first_NG, first), (second_NG, second) = both
    torch.testing.assert_close(first_NG, second_NG, rtol=0, atol=1e-9)
    torch.testing.assert_close(first.leave, second.leave, rtol=0, atol=1e-9)
    found = [organic.probabilities(response.organic) for response in (first, second)]
    torch.testing.assert_close(found[0], found[1])


def test_at_rho_one_shoppers_like_what_they_would_find() -> None:
    # Why: rho = 1 is the belief that a recommendation list is a search; anything else is noise.
    # the least squares of other sessions are a little others: scores spread by more than 1
    found_NI, shown_NI = scores(assumed(1.0))
    torch.testing.assert_close(found_NI, shown_NI, rtol=0, atol=0.05)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_rho_is_the_correlation_and_the_spread_stays(rho: float) -> None:
    # Why: else "rho = 0.3" would name a different belief for each seed and model.
    for seed in range(2):
        found_NI, shown_NI = scores(assumed(rho, seed=seed))
        correlation = float((found_NI * shown_NI).mean() / (found_NI.std() * shown_NI.std()))
        # exact on the sessions that the assumption was made on; these are others
        assert correlation == pytest.approx(rho, abs=0.06)
        assert float(shown_NI.std() / found_NI.std()) == pytest.approx(1.0, abs=0.05)


@torch.no_grad()
def test_what_the_log_cannot_tell_is_switched_off() -> None:
    # Why: a price slope of clicking would sell discounts that nobody has seen work.
    model = assumed(0.3)
    state, n = some_states(model).lanes(slice(0, 4)), 4
    begun = visit.begin(torch.zeros(n, dtype=torch.int64), SLOTS, F64)
    item_NK = torch.tensor([[3, 4, 5, 6, 7]]).expand(n, SLOTS)
    cheap, dear = (Page(item_NK, torch.full((n, SLOTS), price, dtype=F64)) for price in (1.0, 99.0))
    reading = model.read(state)
    supposed = model.suppose(reading, torch.linspace(0.0, 0.99, n, dtype=F64))
    slot = model.respond(supposed, cheap, begun).slot
    torch.testing.assert_close(slot, model.respond(supposed, dear, begun).slot, rtol=0, atol=1e-9)
    tired = visit.advance(begun, cheap, *seen_nothing(n))
    assert torch.equal(slot, model.respond(supposed, cheap, tired).slot)
    # the slot of position 4 (k = 3) loses 0.35 * log2(4) = 0.7 against the first
    first = model.appeal(supposed, begun, torch.ones(n, model.catalog.num_items, dtype=F64))[:, 6]
    torch.testing.assert_close(first - slot[:, 3], torch.full((n,), 0.7, dtype=F64))


@torch.no_grad()
def test_no_segment_is_told_by_what_the_log_could_not_fit() -> None:
    # Why: a click, or a page that nobody clicked on, would else say who the shopper is, by offsets
    # that still are as they were drawn.
    model = learned_shop(F64)
    torch.manual_seed(3)
    model.heads.segment_offset.add_(torch.randn(model.heads.segment_offset.shape, dtype=F64))
    assume_pages(model, rho=0.3, page_share=0.2, seed=0, num_slots=SLOTS)
    state, n = some_states(model).lanes(slice(0, 60)), 60
    reading = model.read(state)
    later = dataclasses.replace(
        visit.begin(torch.zeros(n, dtype=torch.int64), SLOTS, F64),
        page_number=torch.ones(n, dtype=torch.int64),
    )
    item_N, zero = torch.arange(n) % 40, torch.zeros(n, dtype=F64)
    full_NK = (item_N.unsqueeze(-1) + torch.arange(SLOTS)) % 40
    price_NK = torch.rand(n, SLOTS, dtype=F64) * 50 + 1
    full, none_N = Page(full_NK, price_NK), torch.full((n,), -1)
    empty = Page(torch.full_like(full_NK, -1), 0 * price_NK)
    found = Event(none_N + 3, item_N, none_N, torch.arange(n) % 4, zero + 9.0, zero + 1.0, zero)
    clicked = dataclasses.replace(found, slot=none_N + 1)
    ends = [
        model.observe(reading, page, event, later)
        for page, event in ((empty, found), (full, found), (full, clicked))
    ]
    assert not torch.allclose(ends[0].evidence, state.evidence, atol=0.1)  # a view says something
    for other in ends[1:]:
        for name in ("evidence", "h"):
            first, second = getattr(ends[0], name), getattr(other, name)
            torch.testing.assert_close(first, second, rtol=0, atol=1e-9)
        first, second = model.read(ends[0]).share, model.read(other).share
        torch.testing.assert_close(first, second, rtol=0, atol=1e-9)
    # and on the page itself all segments click alike
    share_NM, supposed = model.segments(reading)
    lane_M = torch.arange(share_NM.numel()) // share_NM.shape[1]
    response = model.respond(supposed, full.lanes(lane_M), later.lanes(lane_M))
    slot_NGK = response.slot.unflatten(0, (n, -1))
    same_NGK = slot_NGK[:, :1].expand_as(slot_NGK)
    torch.testing.assert_close(slot_NGK, same_NGK, rtol=0, atol=1e-9)


def seen_nothing(n: int) -> tuple[Event, Tensor]:
    """Leaving at once, which moves a visit on by its page alone."""
    none, zero = torch.full((n,), -1), torch.zeros(n, dtype=F64)
    return Event(torch.zeros_like(none), none, none, torch.zeros_like(none), zero, zero, zero), zero


def test_the_same_seed_assumes_the_same() -> None:
    # Why: several draws of g are compared; each must be one that can be drawn again.
    first, again, other = assumed(0.6), assume(0.6, 0.2, 0), assumed(0.6, seed=1)
    pairs = [copy.copy(model.state_dict()) for model in (first, again, other)]
    assert all(torch.equal(pairs[0][name], pairs[1][name]) for name in pairs[0])
    assert not torch.equal(
        pairs[0]["answers.heads.linear.weight"], pairs[2]["answers.heads.linear.weight"]
    )


def test_only_the_response_to_showing_changes() -> None:
    # Why: what the log does tell must stay as it was fitted.
    model, before = assumed(0.3), learned_shop(F64)
    # the heads read the fading means last, before them eight tastes, satiety and seven tallies
    click = model.heads.linear.in_features - 2 * model.items.own.shape[1] - 8 - 1 - 7 + 3
    keep = torch.arange(model.heads.linear.in_features) != click
    for name in ("category", "latent", "worth", "upper"):
        (weight, bias), (old_weight, old_bias) = model.heads.of(name), before.heads.of(name)
        assert torch.equal(weight[:, keep], old_weight[:, keep]) and torch.equal(bias, old_bias)
    for which in (0, 2, 3, 4, 5):  # found, worth, buy, cart, favourite
        assert torch.equal(model.items.bias[:, which], before.items.bias[:, which])
    assert torch.equal(model.items.own, before.items.own)
    assert torch.equal(model.items.class_taste, before.items.class_taste)
    assert torch.equal(model.tastes.sale, before.tastes.sale)
    assert not model.tastes.click.any()  # no page has told any taste for what is shown


def test_the_report_says_what_was_assumed() -> None:
    # Why: every result under assumptions has to name them.
    model = learned_shop()
    said = assume_pages(model, rho=0.6, page_share=0.2, seed=3, num_slots=SLOTS)
    assert (said["rho"], said["page_share"], said["seed"]) == (0.6, 0.2, 3)
    for part in ("assumed, not fitted", "rho = 0.6", "seed 3", "20%", "5 most popular"):
        assert part in said["sentence"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("rho", -0.1), ("rho", 1.1), ("rho", float("nan")), ("page_share", 0.0), ("page_share", 0.9),
     ("num_slots", 0), ("num_slots", 65)],
)  # fmt: skip
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    # Why: sqrt(1 - rho²) of rho = 1.1 is a NaN that would only show much later.
    settings = {"rho": 0.3, "page_share": 0.2, "seed": 0, "num_slots": 5, name: value}
    model = learned_shop()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match=rf"{name}={value}.*expected.*set {name}="):
        assume_pages(model, **settings)  # type: ignore[arg-type]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
