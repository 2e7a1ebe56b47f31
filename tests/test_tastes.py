"""recgym.users.tastes: what a view says of a shopper's taste, and how sure that is, by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import learned_shop, some_belief
from simulated_log import assert_zero_on_average, foreseen, logging_policy, simulate, with_room
from taste_loads import along_first, loads_of, some_loads
from torch import Tensor

from recgym.simulator import Simulator
from recgym.types import After, Event, Kind, Observation, Page, Policy
from recgym.users import tastes
from recgym.users.likelihood import (
    beliefs,
    cart_counts,
    expectations,
    gather_steps,
    run,
)
from recgym.users.surprises import Expectation
from recgym.users.tastes import NUM_TASTES, Belief, Lesson, Loads

F64 = torch.float64
SLOTS = 4
SOLD = 0.2  # probability that what is viewed is carted or bought: 0.15 + 0.05


# three items, of which only the first says anything when it sells
LOADS = loads_of(along_first(1.0, -1.0, 1.0), along_first(2.0, 0.0, 0.0))


def expected_of(*slot: float) -> Expectation:
    """What is expected of one page whose slots have these chances."""
    return Expectation(
        leave=torch.zeros(1, dtype=F64),
        slot=torch.tensor([slot], dtype=F64),
        after=torch.tensor([[0.7, 0.1, 0.15, 0.05]], dtype=F64),
        found=torch.zeros(1, 1, dtype=F64),
        usual=torch.zeros(1, 1, dtype=F64),
        searched=torch.ones(1, dtype=F64),
    )


def page_of(*item: int) -> Page:
    return Page(torch.tensor([item]), torch.ones(1, len(item), dtype=F64))


def event_of(item: int, slot: int, after: After = After.NOTHING, kind: Kind = Kind.VIEW) -> Event:
    kind_1, item_1, slot_1, after_1 = torch.tensor([[int(kind)], [item], [slot], [int(after)]])
    one, zero = torch.ones(1, dtype=F64), torch.zeros(1, dtype=F64)
    return Event(kind_1, item_1, slot_1, after_1, one, zero, zero)


def lesson_of(
    loads: Loads, expected: Expectation, page: Page, event: Event, surprise: float = 0.0
) -> Lesson:
    """Where what was found alone, if it was, surprised by so much."""
    return tastes.lesson(loads, expected, torch.full((1, 1), surprise, dtype=F64), page, event)


def nothing_known() -> Belief:
    return tastes.begin(torch.zeros(1, 1, dtype=F64))


def assert_first(belief: Belief, mean: float, precision: float) -> None:
    """Of the first taste this, and of the others still nothing."""
    mean_1V, precision_1VV = torch.zeros(1, NUM_TASTES, dtype=F64), torch.eye(NUM_TASTES, dtype=F64)
    mean_1V[0, 0], precision_1VV[0, 0] = mean, precision
    torch.testing.assert_close(belief.mean, mean_1V, rtol=0, atol=1e-12)
    torch.testing.assert_close(belief.precision[0], precision_1VV, rtol=0, atol=1e-12)


def test_a_belief_after_two_clicks_by_hand() -> None:
    # Why: the filter is small enough for paper. Slots of loads 1 and -1 have chances 0.3 and 0.1.
    # A click on the first is a score of 0.7 * 1 - 0.1 * -1 = 0.8 and an information of
    # 0.3 + 0.1 - (0.3 - 0.1)^2 = 0.36. Not sold at a chance of 0.2 and a load of 2 is a score of
    # -0.2 * 2 = -0.4 and an information of 0.2 * 0.8 * 2^2 = 0.64. In all 0.4 and 1.
    said = lesson_of(LOADS, expected_of(0.3, 0.1), page_of(0, 1), event_of(0, 0))
    assert said.score[0, 0].item() == pytest.approx(0.4, abs=1e-12)
    assert said.information[0, 0, 0].item() == pytest.approx(1.0, abs=1e-12)
    # precision 1 + 1, mean 0 + 0.4 / 2; and once more: precision 3, mean 0.2 + 0.4 / 3
    first = tastes.learn(nothing_known(), said)
    assert_first(first, 0.2, 2.0)
    assert_first(tastes.learn(first, said), 0.2 + 0.4 / 3, 3.0)


@pytest.mark.parametrize("after", [After.CART, After.BUY])
def test_a_sale_says_the_opposite_of_none(after: After) -> None:
    # Why: by hand as above, with 0.8 * 2 = 1.6 for the sale: 0.8 + 1.6, of the same information.
    said = lesson_of(LOADS, expected_of(0.3, 0.1), page_of(0, 1), event_of(0, 0, after))
    assert_first(tastes.learn(nothing_known(), said), 2.4 / 2, 2.0)


def test_a_find_beside_a_page_says_that_the_page_was_passed_over() -> None:
    # Why: item 1 found alone: no slot clicked is -0.3 * 1 - 0.1 * -1 = -0.2, of information 0.36;
    # what item 1 sells says nothing.
    said = lesson_of(LOADS, expected_of(0.3, 0.1), page_of(0, 1), event_of(1, -1))
    after = tastes.learn(nothing_known(), said)
    assert_first(after, -0.2 / 1.36, 1.36)
    assert after.passed[0, 0].item() == pytest.approx(-0.2 / 1.36, abs=1e-12)


def test_what_a_page_passed_over_told_is_kept_apart_from_the_find_beside_it() -> None:
    # Why: -0.2 of score and 0.36 of information as above; the find adds 0.5 * 3 = 1.5 and
    # 0.5^2 * 4 = 1. Of the mean, 1.3 / 2.36, the page told -0.2 / 2.36. A click is no page passed
    # over: the mean moves, and that part of it stays.
    loads = loads_of(LOADS.click_IV, LOADS.sale_IV, (1.0, 1.0, 1.0), along_first(0.5), 4.0)
    said = lesson_of(loads, expected_of(0.3, 0.1), page_of(0, 1), event_of(1, -1), 3.0)
    after = tastes.learn(nothing_known(), said)
    assert_first(after, 1.3 / 2.36, 2.36)
    assert after.passed[0, 0].item() == pytest.approx(-0.2 / 2.36, abs=1e-12)
    clicked = lesson_of(LOADS, expected_of(0.3, 0.1), page_of(0, 1), event_of(0, 0))
    assert torch.equal(tastes.learn(after, clicked).passed, after.passed)


def test_what_a_log_shows_tells_of_taste_where_its_policy_saw_some_by_hand() -> None:
    # Why: loads 1, -1 and 1 have a mean of 1/3, so that item 0 is away by 2/3. It was likelier by
    # 0.5 nats than foreseen, where the belief said 0.2 at a slope of 1: a score of
    # 0.05 (0.5 - 0.2) 2/3 = 0.01 and an information of 0.05 (2/3)^2, of whatever happened. Of the
    # second slot no propensity is known. Twice the slope halves what it stands for: 0.05 in all.
    nan = float("nan")
    page = dataclasses.replace(page_of(0, 1), told=torch.tensor([[0.5, nan]], dtype=F64))
    liked = torch.tensor([[0.2, 9.0]], dtype=F64)
    expected = dataclasses.replace(expected_of(0.3, 0.1), liked=liked)
    for clicked, event in ((0.4, event_of(0, 0)), (0.0, event_of(-1, -1, kind=Kind.LEAVE))):
        said = lesson_of(LOADS, expected, page, event)
        assert said.score[0, 0].item() == pytest.approx(clicked + 0.01, abs=1e-12)
        plain = lesson_of(LOADS, expected, page_of(0, 1), event)
        more = said.information - plain.information
        assert more[0, 0, 0].item() == pytest.approx(0.05 * 4 / 9, abs=1e-12)
        assert torch.equal(said.passed, plain.passed)
    steeper = dataclasses.replace(LOADS, told=LOADS.told * torch.tensor([2.0, 1.0]))
    said = lesson_of(steeper, expected, page, event_of(-1, -1, kind=Kind.LEAVE))
    assert said.score[0, 0].item() == pytest.approx(0.05 * 0.05 * 2 / 3, abs=1e-12)


def test_a_find_by_hand() -> None:
    # Why: an empty page, and item 1, of no sale's load, is found with a surprise of 3: by a load
    # of 0.5 that is a score of 1.5. Surprises of variance 4 have an information of 0.5^2 * 4 = 1.
    # Of efficiency 0.8 that is 1.2 and 0.8.
    loads = loads_of(LOADS.click_IV, LOADS.sale_IV, (1.0, 1.0, 0.8), along_first(0.5), 4.0)
    said = lesson_of(loads, expected_of(0.0, 0.0), page_of(-1, -1), event_of(1, -1), 3.0)
    assert_first(tastes.learn(nothing_known(), said), 1.2 / 1.8, 1.8)
    # what was clicked was not found alone: nothing of it but the click of the first tests
    said = lesson_of(loads, expected_of(0.3, 0.1), page_of(0, 1), event_of(0, 0))
    assert_first(tastes.learn(nothing_known(), said), 0.2, 2.0)


def test_the_surprise_of_a_find_is_what_it_is_less_the_mean() -> None:
    # Why: by hand: items of inputs 1, 2 and 7 where 2.5 would be found on average.
    input_IX = torch.tensor([[1.0], [2.0], [7.0]], dtype=F64)
    mean = dataclasses.replace(expected_of(0.0), found=torch.full((1, 1), 2.5, dtype=F64))
    for event, hoped in (
        (event_of(2, -1), 4.5),
        (event_of(2, 0), 0.0),  # clicked
        (event_of(-1, -1, kind=Kind.LEAVE), 0.0),
        (event_of(-1, -1, kind=Kind.CHECKOUT), 0.0),
    ):
        assert tastes.found_surprise(mean, input_IX, event).item() == hoped


def test_the_information_of_finds_is_measured_by_hand() -> None:
    # Why: surprises of 1 and 3 have a mean square of 5; none leave what there was.
    made = tastes.Tastes(1)
    made.measure(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    assert made.get_buffer("surprise_XX").tolist() == [[5.0, 0.0], [0.0, 0.0]]
    made.measure(torch.zeros(0, 2))
    assert made.get_buffer("surprise_XX").tolist() == [[5.0, 0.0], [0.0, 0.0]]


def test_efficiency_weighs_clicks_and_sales_apart() -> None:
    # Why: half of the click and a quarter of the sale: 0.5 * 0.8 - 0.25 * 0.4 = 0.3 of score,
    # 0.5 * 0.36 + 0.25 * 0.64 = 0.34 of information.
    loads = loads_of(LOADS.click_IV, LOADS.sale_IV, (0.5, 0.25, 1.0))
    said = lesson_of(loads, expected_of(0.3, 0.1), page_of(0, 1), event_of(0, 0))
    assert_first(tastes.learn(nothing_known(), said), 0.3 / 1.34, 1.34)


@pytest.mark.parametrize("kind", [Kind.LEAVE, Kind.CHECKOUT])
def test_what_is_no_view_says_nothing(kind: Kind) -> None:
    # Why: who leaves or pays has chosen no item.
    said = lesson_of(LOADS, expected_of(0.3, 0.1), page_of(0, 1), event_of(-1, -1, kind=kind))
    assert not said.score.any() and not said.information.any()


def test_an_empty_page_says_nothing() -> None:
    # Why: what was not shown was not passed over; item 1, found alone as any, sells without load.
    said = lesson_of(LOADS, expected_of(0.0, 0.0), page_of(-1, -1), event_of(1, -1))
    assert not said.score.any() and not said.information.any()
    none_NK = torch.full((1, 2), -torch.inf, dtype=F64)
    eye = torch.eye(NUM_TASTES, dtype=F64).unsqueeze(0)
    found = tastes.common(LOADS, eye, torch.zeros(1, 2, dtype=torch.int64), none_NK)
    assert bool(found.along.isfinite().all()) and bool(found.rest.isfinite().all())


def test_a_click_among_equals_teaches_less_than_one_on_a_mixed_page() -> None:
    # Why: a site that fills its pages with what a shopper seems to like would else learn from each
    # click there as much as from a real choice. Slots that win all views, 0.6 and 0.4: of loads 1
    # and 1 a click says (0.4 - 0.4) * 1 = 0 with a variance within the page of 0; of loads 1 and
    # -1 it says 0.4 + 0.4 = 0.8 with 1 - 0.2^2 = 0.96.
    loads = loads_of(LOADS.click_IV, torch.zeros_like(LOADS.sale_IV))
    equal, mixed = (
        tastes.learn(
            nothing_known(),
            lesson_of(loads, expected_of(0.6, 0.4), page_of(0, other), event_of(0, 0)),
        )
        for other in (2, 1)
    )
    assert_first(equal, 0.0, 1.0)
    assert_first(mixed, 0.8 / 1.96, 1.96)


def test_precision_never_falls() -> None:
    # Why: an event may speak against what was believed, and still makes the belief surer. One that
    # lost precision could be led anywhere, and its covariance would be none.
    generator, count = torch.Generator().manual_seed(0), 200
    loads, belief = some_loads(12, generator), some_belief(count, generator)
    item_NK = torch.randint(-1, 12, (count, 3), generator=generator)
    chance_NK = torch.rand(count, 4, generator=generator, dtype=F64).softmax(-1)[:, :3]
    chance_NK = chance_NK * (item_NK >= 0)
    after_N4 = (3.0 * torch.randn(count, 4, generator=generator, dtype=F64)).softmax(-1)
    slot_N = torch.where(item_NK[:, 0] >= 0, torch.arange(count) % 2 - 1, -1)
    item_N = torch.where(slot_N == 0, item_NK[:, 0], torch.arange(count) % 12)
    zero = torch.zeros(count, dtype=F64)
    kind_N, after_N = torch.arange(count) % 3, torch.arange(count) % 4
    event = Event(kind_N, item_N, slot_N, after_N, zero, zero, zero)
    zero_N1 = zero.unsqueeze(-1)
    expected = Expectation(zero, chance_NK, after_N4, zero_N1, zero_N1, torch.ones_like(zero))
    found_NX = tastes.found_surprise(expected, torch.arange(12.0, dtype=F64)[:, None], event)
    said = tastes.lesson(loads, expected, found_NX, Page(item_NK, chance_NK), event)
    assert torch.equal(said.information.flatten(1).any(-1), kind_N == int(Kind.VIEW))
    after = tastes.learn(belief, said)
    gained_NV = torch.linalg.eigvalsh(after.precision - belief.precision)
    assert float(gained_NV.min()) > -1e-12 and float(gained_NV.max()) > 0.1
    least_NV = torch.linalg.eigvalsh(after.precision)
    assert float(least_NV.min()) > 1.0 - 1e-12


def test_the_taste_that_a_page_speaks_to_by_hand() -> None:
    # Why: two slots of equal mass, each of a taste of its own: the page's mean load is (1/2, 1/2)
    # of variance 1/2. Each slot moves by 1/2 ÷ sqrt(1/2) = 0.7071 with it, and of its variance of
    # 1 there is 1/2 left, whose mean adds a quarter.
    click_IV = torch.zeros(3, NUM_TASTES, dtype=F64)
    click_IV[0, 0] = click_IV[1, 1] = click_IV[2, 2] = 1.0
    loads = loads_of(click_IV, torch.zeros_like(click_IV))
    eye = torch.eye(NUM_TASTES, dtype=F64).unsqueeze(0)
    # an empty slot, in which item 2 stands for none, does not count
    mass_NK = torch.tensor([[0.3, 0.3, -torch.inf]], dtype=F64)
    found = tastes.common(loads, eye, torch.tensor([[0, 1, 2]]), mass_NK)
    assert found.along[0].tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 0.0], abs=1e-5)
    assert found.rest[0].tolist() == pytest.approx([0.5, 0.5, 1.0], abs=1e-5)
    moved_NKX = found.at(torch.tensor([[-1.0, 1.0, 0.0]], dtype=F64))
    first = [0.25 - 0.5**0.5, 0.25 + 0.5**0.5, 0.25]
    assert moved_NKX[0, 0].tolist() == pytest.approx(first, abs=1e-5)


def test_along_and_rest_are_all_of_a_slots_variance() -> None:
    # Why: what a page's slots share and what each has alone must add up to what is not known.
    generator, count = torch.Generator().manual_seed(1), 60
    loads = some_loads(12, generator)
    covariance_NVV = torch.linalg.inv(some_belief(count, generator).precision)
    item_NK = torch.randint(0, 12, (count, 4), generator=generator)
    mass_NK = torch.randn(count, 4, generator=generator, dtype=F64)
    found = tastes.common(loads, covariance_NVV, item_NK, mass_NK)
    load_NKV = loads.click_IV[item_NK]
    variance_NK = torch.einsum("nkv,nvw,nkw->nk", load_NKV, covariance_NVV, load_NKV)
    whole_NK = found.along.square() + found.rest
    torch.testing.assert_close(whole_NK, variance_NK, rtol=0, atol=1e-10)
    # of items by their number and of all items at once
    some_NK = tastes.variance(loads.click_IV, covariance_NVV, item_NK)
    all_NI = tastes.variance(loads.click_IV, covariance_NVV, None)
    for found_NK in (some_NK, all_NI.gather(-1, item_NK)):
        torch.testing.assert_close(found_NK, variance_NK, rtol=0, atol=1e-10)


def test_slots_of_one_load_move_alike_and_as_one() -> None:
    # Why: one taste pleases or fails them together, and nothing of it is each slot's own.
    generator, count = torch.Generator().manual_seed(2), 20
    loads = some_loads(12, generator)
    covariance_NVV = torch.linalg.inv(some_belief(count, generator).precision)
    item_NK = torch.arange(count).remainder(12).unsqueeze(-1).expand(-1, 4)
    mass_NK = torch.randn(count, 4, generator=generator, dtype=F64)
    found = tastes.common(loads, covariance_NVV, item_NK, mass_NK)
    torch.testing.assert_close(found.along, found.along[:, :1].expand(-1, 4), rtol=0, atol=1e-12)
    spread_NK = tastes.variance(loads.click_IV, covariance_NVV, item_NK).sqrt()
    torch.testing.assert_close(found.along, spread_NK, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.rest, torch.zeros_like(found.rest), rtol=0, atol=1e-5)


def test_an_empty_page_speaks_to_no_taste() -> None:
    # Why: what follows a find beside nothing has no node.
    none_NK = torch.full((1, 2), -torch.inf, dtype=F64)
    eye = torch.eye(NUM_TASTES, dtype=F64).unsqueeze(0)
    assert not tastes.common(LOADS, eye, torch.zeros(1, 2).long(), none_NK).toward.any()


def test_a_chance_is_averaged_over_what_is_not_known_by_hand() -> None:
    # Why: a chance of 3/4 has the logit log 3, of whose half the tanh is (3 - 1) / (3 + 1) = 1/2:
    # a variance of 0.4 takes 0.2 * 1/2 off. Even chances stay.
    logit = torch.tensor([3.0, 1 / 3, 1.0], dtype=F64).log()
    moved = tastes.averaged(logit, torch.full((3,), 0.4, dtype=F64)) - logit
    assert moved.tolist() == pytest.approx([-0.1, 0.1, 0.0], abs=1e-12)
    # to the second order it is the chance's mean: at two points of standard deviation 0.1
    mean = ((logit + 0.1).sigmoid() + (logit - 0.1).sigmoid()) / 2
    found = tastes.averaged(logit, torch.full((3,), 0.01, dtype=F64)).sigmoid()
    torch.testing.assert_close(found, mean, rtol=0, atol=1e-5)


def test_nodes_share_a_segment_alike_and_are_folded_back() -> None:
    # Why: by hand. Shares 0.8 and 0.2 are 0.4, 0.4, 0.1, 0.1 at two nodes each; likelihoods 0.1
    # and 0.3 of the first segment's nodes are 0.2 of it, 0.5 and 0.5 are 0.5.
    share_NM = tastes.at_nodes(torch.tensor([[0.8, 0.2]], dtype=F64).log()).exp()
    assert share_NM[0].tolist() == pytest.approx([0.4, 0.4, 0.1, 0.1])
    evidence_NM = torch.tensor([[0.1, 0.3, 0.5, 0.5]], dtype=F64).log()
    assert tastes.over_nodes(evidence_NM).exp()[0].tolist() == pytest.approx([0.2, 0.5])
    mixed = (share_NM * evidence_NM.exp()).sum().item()
    assert mixed == pytest.approx(0.8 * 0.2 + 0.2 * 0.5)


@torch.no_grad()
def test_beliefs_from_sums_are_those_of_learning_step_by_step() -> None:
    # Why: a fit has all steps at once, and a simulator one after another.
    model, count = learned_shop(F64), 60
    simulator = Simulator(model, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    sessions, _, _ = simulate(simulator, logging_policy(model, SLOTS), count)
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(count))
    expected = expectations(model, steps)
    found_nX = tastes.found_surprise(expected, model.tables.input_IX, steps.event)
    said = tastes.lesson(model.tables.loads, expected, found_nX, steps.page, steps.event)
    row_n = torch.cat([torch.arange(active) for active in steps.active])
    at_once = beliefs(tastes.begin(torch.zeros(count, 1, dtype=F64)), said, steps.active)
    unrolled = run(model, steps, expected).reading.state.belief
    for session in range(count):
        belief = tastes.begin(torch.zeros(1, 1, dtype=F64))
        for n in (row_n == session).nonzero().squeeze(-1).tolist():
            for found in (at_once, unrolled):
                for name in ("mean", "passed"):
                    one, other = getattr(found, name)[n], getattr(belief, name)[0]
                    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
                torch.testing.assert_close(
                    found.precision[n], belief.precision[0], rtol=0, atol=1e-10
                )
            belief = tastes.learn(belief, said.lanes(slice(n, n + 1)))
    assert len(steps.active) > 5 and float(at_once.mean.abs().max()) > 0.1


@torch.no_grad()
def test_what_pages_passed_over_told_moves_the_search_by_the_loads_of_finds_alone() -> None:
    # Why: free weights on it are noise, and the untrained model's weights are nothing else. Items
    # become likelier in a category and class by the mean load that the model gives them there,
    # which here is worked out item by item.
    model, generator = learned_shop(F64), torch.Generator().manual_seed(1)
    state = model.init_state(model.arrive(torch.arange(3), torch.zeros(3, dtype=torch.int64)))
    told_NV = torch.randn(3, NUM_TASTES, generator=generator, dtype=F64)
    belief = dataclasses.replace(
        state.belief, mean=state.belief.mean + told_NV, passed=state.belief.passed + told_NV
    )
    before = model.read(state).found
    after = model.read(dataclasses.replace(state, belief=belief)).found
    load_IV = model.tables.input_IX @ model.tastes.found.T
    category_I, share_IZ = model.catalog.category, model.tables.law.share
    load_CZV = torch.stack(
        [
            share_IZ[category_I == c].T @ load_IV[category_I == c]
            for c in range(model.catalog.num_categories)
        ]
    )
    of_category_CV = load_CZV.mean(1)
    of_class_ZV = (load_CZV - of_category_CV.unsqueeze(1)).mean(0)
    moved_NC = before.category + told_NV @ of_category_CV.T
    torch.testing.assert_close(after.category, moved_NC.log_softmax(-1))
    torch.testing.assert_close(
        after.latent, (before.latent.log() + told_NV @ of_class_ZV.T).softmax(-1)
    )


def test_a_lesson_of_nothing_leaves_a_belief_as_it_was() -> None:
    belief = some_belief(5, torch.Generator().manual_seed(3))
    zero = torch.zeros_like
    after = tastes.learn(
        belief, Lesson(zero(belief.mean), zero(belief.mean), zero(belief.precision))
    )
    assert torch.equal(after.mean, belief.mean) and torch.equal(after.passed, belief.passed)
    assert torch.equal(after.precision, belief.precision)


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same page for all; no items make it an empty one."""

    items: tuple[int, ...]

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        item_K = torch.tensor([*self.items, *[-1] * (SLOTS - len(self.items))])
        return item_K.expand(len(observation.visit.gap), SLOTS)


@pytest.mark.parametrize("policy", [Constant(()), Constant((0, 1, 2, 3))], ids=["empty", "full"])
@torch.no_grad()
def test_scores_are_zero_on_average_under_any_policy(policy: Policy) -> None:
    # Why: else a better page would by itself move what is believed of every shopper's taste.
    model = learned_shop(F64)
    steps, expected = foreseen(model, policy, SLOTS)
    found_nX = tastes.found_surprise(expected, model.tables.input_IX, steps.event)
    said = tastes.lesson(model.tables.loads, expected, found_nX, steps.page, steps.event)
    viewed_n = steps.event.kind == int(Kind.VIEW)
    assert bool((said.score[viewed_n] != 0).any(-1).all())
    assert_zero_on_average(said.score[with_room(steps)])
