"""recgym.worlds.truth: what only evaluation may know, against a shop whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from probe_shop import CLICK, EXPECTED_REVENUE, KEPT, PRICE, ProbeShop, ProbeState, learned_shop
from torch import Tensor

from agents.baselines import Greedy, Popular
from recgym.lanes import Record
from recgym.logging_policy import EmptyPages
from recgym.metrics import difference
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Arrival
from recgym.users.base import AfterLogits
from recgym.worlds.taste import TasteShop
from recgym.worlds.truth import (
    RandomPages,
    choice_probabilities,
    elasticity,
    exposure,
    gain_of,
    observable_spec,
    oracle_observable,
    oracle_spec,
    page_value,
    paired,
    repriced,
    session_elasticity,
    swapped,
    value_of,
)

POWER = -2.6
ALL_ON = {"boredom": 0.5, "boredom_leave": 0.2, "reference": 0.5, "heterogeneity": 0.4}


class PowerShop(ProbeShop):
    """Sells at 0.2 * (price / 10) ** -2.6 a view, found or shown; views do not heed prices."""

    brand = torch.zeros(len(PRICE), dtype=torch.int64)
    fame = torch.zeros(len(PRICE))

    def after(
        self,
        state: ProbeState,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        chance_NJ = 0.2 * (price_NJ.clamp(min=1.0) / 10.0) ** POWER
        never_NJ = torch.full_like(price_NJ, -40.0)
        return AfterLogits(chance_NJ.logit(), never_NJ, never_NJ)


def test_the_elasticity_of_a_power_law_is_its_power() -> None:
    # Why: in closed form, sales of every item move by exp(-2.6 * change), so the central difference
    # of the logarithms is -2.6 whatever is shown.
    policy = Popular(torch.arange(4), num_slots=2)
    found = elasticity(PowerShop(), policy, num_slots=2, num_sessions=200, seed=3)
    assert found == pytest.approx(POWER, abs=1e-3)


def test_the_elasticity_of_the_probe_shop_by_hand() -> None:
    # Why: P(bought or carted) = 1 - (1 - b)**2 with b = 10 / (10 + price) has the elasticity
    # -2 (1 - b)**2 / (2 - b): from -0.333 at price 10 to -0.732 at 44.
    policy = Popular(torch.arange(4), num_slots=2)
    shop = PowerShop()
    shop.after = ProbeShop().after  # type: ignore[method-assign]
    found = elasticity(shop, policy, num_slots=2, num_sessions=200, seed=3)
    assert -0.732 < found < -0.333


def test_the_oracle_acts_on_the_hidden_state() -> None:
    # Why: it is a ceiling only if it knows more than a site can: before the first page all visits
    # look alike to a site, and the oracle already serves each taste.
    world = TasteShop(num_items=40)
    spec = oracle_spec(world, 3)
    seed = torch.arange(64)
    state = spec.simulator.reset(seed, torch.zeros_like(seed))
    observation = spec.observe(state)
    assert observation.encoder is not None
    hidden, seen = vars(state.user), vars(observation.encoder)
    assert all(hidden[name] is seen[name] for name in hidden)
    slates = Greedy(world, num_slots=3, cart_paid=0.3).act(observation)
    same_day = world.catalog.day(state.visit.time_ms) == world.catalog.day(state.visit.time_ms)[0]
    assert len(slates[same_day].unique(dim=0)) > 1 or len(slates.unique(dim=0)) > 10


def test_the_probabilities_of_a_page_by_hand() -> None:
    # Why: they are what a fit's are held against; item 3 alone, as in the probe shop's notes.
    shop = ProbeShop()
    simulator = Simulator(shop, num_slots=1)
    # an even seed may come on the dearer day: take a lane of day 0
    seed = torch.arange(40)
    state = simulator.reset(seed, torch.zeros_like(seed))
    first_day = (shop.catalog.day(state.visit.time_ms) == 0).nonzero()[:3, 0]
    state = state.lanes(first_day)
    page = simulator.page(state, torch.full((3, 1), 3))
    chosen = choice_probabilities(shop, state, page)
    torch.testing.assert_close(chosen.slot, torch.full((3, 1), CLICK))
    torch.testing.assert_close(chosen.organic[:, 3], torch.full((3,), 0.1 * KEPT / 1.1236068))
    value = page_value(shop, state, page, shop.catalog.price_at(state.visit.time_ms))
    torch.testing.assert_close(value.revenue, torch.full((3,), EXPECTED_REVENUE))
    torch.testing.assert_close(value.views, torch.ones(3))  # nobody leaves the first page


def test_the_session_elasticity_of_a_power_law_is_its_power() -> None:
    # Why: in closed form: views do not heed prices, and sales of a view go with price ** -2.6; and
    # the same lines run on a learned shop.
    policy = Popular(torch.arange(4), num_slots=2)
    found = session_elasticity(PowerShop(), policy, num_slots=2, num_sessions=300, seed=3)
    assert found.mean == pytest.approx(POWER, abs=1e-3)
    assert found.low == pytest.approx(POWER, abs=1e-3)  # the same noise at both prices
    model = learned_shop()
    learned = session_elasticity(
        model, RandomPages(3), num_slots=3, num_sessions=800, seed=1,
        spec_of=lambda shop: observable_spec(shop, 3, encoder=model),
    )  # fmt: skip
    assert learned.high is not None and learned.high < 0.0


def test_dearer_items_are_dearer_to_everyone() -> None:
    # Why: an effect of prices is one only if page, search and purchase all meet the new price.
    shop = TasteShop(num_items=40)
    dear = repriced(shop, torch.full((40,), 2.0))
    assert torch.equal(dear.catalog.price, 2.0 * shop.catalog.price) and dear is not shop
    state = Simulator(dear, num_slots=2).reset(torch.arange(3), torch.zeros(3).long())
    page = Simulator(dear, num_slots=2).page(state, torch.tensor([[4, 5]]).expand(3, 2))
    was = Simulator(shop, num_slots=2).page(state, torch.tensor([[4, 5]]).expand(3, 2))
    assert torch.equal(page.price, 2.0 * was.price)


def test_the_effect_of_exposure_by_hand() -> None:
    # Why: an item alone in the one slot of a first page: clicks of 0.0854102, 0.1046056, 0.1306020
    # and 0.1592064 for items of 0.4, 0.3, 0.2 and 0.1 (as in the probe shop's notes for the last):
    # 0.1199561 on average.
    found = exposure(ProbeShop(), num_slots=1, num_sessions=4000, seed=2, max_pages=1)
    assert found.slot_clicks == found.clicks
    assert found.slot_clicks.mean == pytest.approx(0.1199561, abs=0.002)
    # what the item itself sells more, with a chance of 1 - (price / (10 + price))^2 if viewed: of
    # the first 3/4 x (0.0854102 + 0.3577709 / 1.0472136 - 0.4) = 0.0202882, and so on; the mean of
    # all is 0.0262281 on day 0 and 0.0247842 at the prices of day 1
    assert found.sold.mean == pytest.approx(0.0255062, abs=0.0005)
    assert found.views.mean == pytest.approx(0.0, abs=1e-6)
    learned = exposure(learned_shop(), num_slots=3, num_sessions=60, seed=2)
    assert learned.slot_clicks.mean is not None and learned.slot_clicks.mean > 0.0


def test_where_showing_does_nothing_its_effect_is_nothing() -> None:
    # Why: what is clicked and would be found anyway is worth nothing, however often it is clicked.
    redundant = {"redundant": True, "page_weight": 0.0, "dissimilarity": 1e-4}
    found = exposure(TasteShop(num_items=40, **redundant), num_slots=3, num_sessions=100, seed=0)
    assert found.slot_clicks.mean is not None and found.slot_clicks.mean > 0.005
    assert found.sold.mean == pytest.approx(0.0, abs=1e-6)
    assert found.sold_in_all.mean == pytest.approx(0.0, abs=1e-6)
    assert found.sold_value.mean == pytest.approx(0.0, abs=1e-4)
    off = exposure(TasteShop(num_items=40, slot=-40.0), num_slots=3, num_sessions=100, seed=0)
    assert off.slot_clicks.mean == pytest.approx(0.0, abs=1e-6)


def test_one_page_swapped_changes_nothing_before_it() -> None:
    # Why: the same noise: up to the page they are one history, and in a shop without long-term
    # effects they are one afterwards as well.
    seed = torch.arange(300)
    shop = TasteShop(num_items=40, long_term=False)
    spec = ObservationSpec(Simulator(shop, num_slots=3), "history")
    fact, other = swapped(spec, RandomPages(3), EmptyPages(3), step=2, seed_B=seed)
    assert torch.equal(fact.kind, other.kind)
    at = torch.arange(fact.kind.shape[1]) != 2
    for name in ("item", "slot", "after", "revenue"):
        assert torch.equal(getattr(fact, name)[:, at], getattr(other, name)[:, at]), name
    assert int((fact.slot[:, 2] >= 0).sum()) > 5 and int((other.slot[:, 2] >= 0).sum()) == 0
    spec = ObservationSpec(Simulator(TasteShop(num_items=40), num_slots=3), "history")
    fact, other = swapped(spec, RandomPages(3), EmptyPages(3), step=1, seed_B=seed)
    assert torch.equal(fact.item[:, 0], other.item[:, 0])
    columns = min(fact.item.shape[1], other.item.shape[1])
    assert not torch.equal(fact.item[:, 2:columns], other.item[:, 2:columns])


def test_paired_paths_add_up_to_their_statistics() -> None:
    # Why: a policy against itself differs by exactly 0, and pages sum to sessions.
    spec = ObservationSpec(Simulator(TasteShop(num_items=40), num_slots=3), "history")
    one, two = paired((spec, RandomPages(3)), (spec, RandomPages(3)), torch.arange(100))
    assert difference(one.stats, two.stats, "revenue_per_session").mean == 0.0
    torch.testing.assert_close(one.revenue.sum(-1), one.stats.revenue)
    torch.testing.assert_close(one.credited_revenue.sum(-1), one.stats.credited_revenue)
    assert torch.equal((one.kind >= 0).sum(-1), one.stats.pages.long())


def test_the_value_of_policies() -> None:
    # Why: nothing gains exactly nothing, and the oracle gains.
    world = TasteShop(num_items=40)
    site, own = observable_spec(world, 3), oracle_spec(world, 3)
    nothing = gain_of(site, EmptyPages(3), num_sessions=50, seed=1)
    assert (nothing.mean, nothing.low, nothing.high) == (0.0, 0.0, 0.0)
    oracle = Greedy(world, num_slots=3, cart_paid=0.3)
    gain = gain_of(own, oracle, num_sessions=600, seed=1)
    worth = value_of(own, oracle, num_sessions=600, seed=1)
    without = value_of(site, EmptyPages(3), num_sessions=600, seed=1)
    assert gain.mean is not None and worth.mean is not None and without.mean is not None
    assert gain.mean > 0.0 and gain.mean == pytest.approx(worth.mean - without.mean)


class TwoFeatures(TasteShop):
    """The true shop, of whose profile the site knows two features, as many as the model reads."""

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        arrival = super().arrive(seed_N, session_N)
        return dataclasses.replace(arrival, profile=arrival.profile[:, :2])


def tensors(value: object) -> Iterator[Tensor]:
    """All tensors that a record holds, however deep."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Record):
        for field in dataclasses.fields(value):  # type: ignore[arg-type]
            yield from tensors(getattr(value, field.name))


@pytest.mark.parametrize("encoded", [True, False])
def test_no_hidden_state_reaches_an_agent(encoded: bool) -> None:
    # Why: an agent that sees a taste is no agent that a shop could run. Not one field of the hidden
    # state stands in what it observes, and whatever that state is, it observes the same.
    world = TwoFeatures(num_items=40, **ALL_ON)
    spec, _ = oracle_observable(
        world, RandomPages(3), num_slots=3, encoder=learned_shop() if encoded else None
    )
    seed = torch.arange(32)
    state = spec.simulator.reset(seed, torch.zeros_like(seed))
    for _ in range(3):
        page = spec.simulator.page(state, RandomPages(3).act(spec.observe(state)))
        state, _ = spec.simulator.step(state, page)
    hidden, seen = list(tensors(state.user)), list(tensors(spec.observe(state)))
    assert len(hidden) == 12  # every knob with a state of its own is on
    for secret in hidden:
        for known in seen:
            assert secret.untyped_storage().data_ptr() != known.untyped_storage().data_ptr()
            assert secret.shape != known.shape or not torch.equal(secret, known)
    other = dataclasses.replace(state, user=state.user._map(lambda x: x.flip(0) + 1))
    for known, again in zip(seen, tensors(spec.observe(other)), strict=True):
        assert torch.equal(known, again)


def test_the_shop_itself_is_no_encoder_of_an_observable_ceiling() -> None:
    # Why: the ceiling of what a site can know would else be the oracle under another name.
    world = TasteShop(num_items=40)
    with pytest.raises(ValueError, match="the encoder is the shop itself"):
        oracle_observable(world, RandomPages(3), num_slots=3, encoder=world)
