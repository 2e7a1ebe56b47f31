"""recgym.users.tastes: what a view says of a shopper's taste, and how sure that is, by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import learned_shop, some_belief
from simulated_log import assert_zero_on_average, foreseen, logging_policy, simulate, with_room
from torch import Tensor

from recgym import choice
from recgym.simulator import Simulator
from recgym.types import After, Event, Kind, Observation, Page, Policy
from recgym.users import tastes
from recgym.users.likelihood import (
    beliefs,
    cart_counts,
    expectations,
    gather_steps,
    states_before,
)
from recgym.users.surprises import Expectation
from recgym.users.tastes import NUM_TASTES, Belief, Lesson, Loads

F64 = torch.float64
SLOTS = 4
SOLD = 0.2  # probability that what is viewed is carted or bought: 0.15 + 0.05


def along_first(*value: float) -> Tensor:
    """Loads of items on the first taste, and none on the others, [I, V]."""
    load_IV = torch.zeros(len(value), NUM_TASTES, dtype=F64)
    load_IV[:, 0] = torch.tensor(value, dtype=F64)
    return load_IV


def loads_of(
    click_IV: Tensor,
    sale_IV: Tensor,
    efficiency: tuple[float, ...] = (1.0, 1.0, 1.0),
    found_XV: Tensor | None = None,
    surprise: float = 0.0,
) -> Loads:
    """Loads of which finds say nothing, or as much as surprises of this variance, uncorrelated."""
    found_XV = along_first(0.0) if found_XV is None else found_XV
    found_VV = surprise * found_XV.T @ found_XV
    # an item's one input is its number
    input_IX = torch.arange(len(click_IV), dtype=F64).unsqueeze(-1)
    find_IV = efficiency[2] * input_IX @ found_XV
    share_3, zero = torch.tensor(efficiency, dtype=F64), torch.zeros((), dtype=F64)
    return Loads(click_IV, sale_IV, find_IV, click_IV, zero, found_XV, found_VV, share_3)


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
    assert_first(tastes.learn(nothing_known(), said), -0.2 / 1.36, 1.36)


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


def some_loads(num_items: int, generator: torch.Generator) -> Loads:
    click_IV, sale_IV = torch.randn(2, num_items, NUM_TASTES, generator=generator, dtype=F64)
    found_XV = torch.randn(1, NUM_TASTES, generator=generator, dtype=F64)
    return loads_of(click_IV, sale_IV, (0.7, 1.6, 0.4), found_XV, 0.5)


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
    expected = Expectation(zero, chance_NK, after_N4, zero.unsqueeze(-1), zero.unsqueeze(-1))
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


def test_who_chose_an_item_is_likelier_to_buy_it_by_hand() -> None:
    # Why: a click on item 0, of load 1, moves the mean by a variance of 1/4, and its sales, of load
    # 2, by twice that: 1/2. Found alone it has a load of 0 where 0.3 is usual: 2 * -0.3 / 4. Item 2
    # is found with a load of 2 * 0.5 = 1, and sells without any.
    half_V = torch.full((NUM_TASTES,), 0.25, dtype=F64)
    loads = loads_of(LOADS.click_IV, along_first(2.0, 1.0, 0.0), found_XV=along_first(0.5))
    known, usual_1V = half_V.diag().unsqueeze(0), along_first(0.3)
    clicked = tastes.chosen(loads, known, usual_1V, torch.tensor([[0, 1, 2]]), True)
    assert clicked[0].tolist() == pytest.approx([0.5, -0.25, 0.0], abs=1e-12)
    found = tastes.chosen(loads, known, usual_1V, torch.tensor([[0, 1, 2]]), False)
    assert found[0].tolist() == pytest.approx([-0.15, 0.05, 0.0], abs=1e-12)


def test_the_whole_catalogue_is_chosen_as_its_items_are() -> None:
    # Why: rules ask of all items at once, simulator and fit of some.
    generator, count = torch.Generator().manual_seed(3), 20
    loads = some_loads(12, generator)
    covariance_NVV = torch.linalg.inv(some_belief(count, generator).precision)
    usual_NV = torch.randn(count, NUM_TASTES, generator=generator, dtype=F64)
    item_NJ = torch.randint(0, 12, (count, 5), generator=generator)
    some = []
    for clicked in (True, False):
        whole_NI = tastes.chosen(loads, covariance_NVV, usual_NV, None, clicked)
        some.append(tastes.chosen(loads, covariance_NVV, usual_NV, item_NJ, clicked))
        torch.testing.assert_close(whole_NI.gather(-1, item_NJ), some[-1], rtol=0, atol=1e-10)
    mixed_NJ = torch.rand(count, 5, generator=generator) < 0.5
    found_NJ = tastes.chosen(loads, covariance_NVV, usual_NV, item_NJ, mixed_NJ)
    expected_NJ = torch.where(mixed_NJ, some[0], some[1])
    torch.testing.assert_close(found_NJ, expected_NJ, rtol=0, atol=1e-10)


@pytest.mark.parametrize("clicked", [True, False])
def test_page_and_choice_together_are_bayes_rule_for_small_loads(clicked: bool) -> None:
    # Why: what a page's items share moves with its node, and what each has alone by `chosen`. To
    # the first order in the loads both together are the mean of a sale's logit over all tastes
    # given who clicked, or who found an item beside the page, over a quarter of a million of them.
    generator, small = torch.Generator().manual_seed(4), 0.1
    click_IV, sale_IV = small * torch.randn(2, 3, NUM_TASTES, generator=generator, dtype=F64)
    sale_IV[2] = click_IV[0] + click_IV[1]
    loads = loads_of(click_IV, sale_IV)
    eye = torch.eye(NUM_TASTES, dtype=F64).unsqueeze(0)
    item_NK, mass_NK = torch.tensor([[0, 1]]), torch.tensor([[0.5, 1.0]], dtype=F64).log()
    page = tastes.common(loads, eye, item_NK, mass_NK)
    z_nV = torch.randn(1 << 17, NUM_TASTES, generator=generator, dtype=F64)
    z_nV = torch.cat([z_nV, -z_nV])  # what no load moves cancels
    like_n2 = (mass_NK + z_nV @ click_IV[:2].T).exp()
    chance_n = (like_n2[:, 0] if clicked else 1.0) / (1.0 + like_n2.sum(-1))
    item = 0 if clicked else 2
    exact = float((chance_n * (z_nV @ sale_IV[item])).sum() / chance_n.sum())

    nodes = torch.tensor([-1.0, 1.0], dtype=F64)
    at_2K = (mass_NK.unsqueeze(-1) + page.at(nodes.unsqueeze(0)))[0].T.exp()
    weight_2 = (at_2K[:, 0] if clicked else 1.0) / (1.0 + at_2K.sum(-1))
    along = float(page.toward[0] @ sale_IV[item])
    rest = eye - page.toward.unsqueeze(-1) * page.toward.unsqueeze(-2)
    usual_NV = torch.zeros(1, NUM_TASTES, dtype=F64)
    gain = float(tastes.chosen(loads, rest, usual_NV, torch.tensor([[item]]), clicked))
    found = float((weight_2 * nodes).sum() / weight_2.sum()) * along + gain
    assert abs(exact) > 0.01
    assert found == pytest.approx(exact, rel=0.05, abs=2e-4)


def test_an_empty_page_speaks_to_no_taste() -> None:
    # Why: what follows a find beside nothing has no node.
    none_NK = torch.full((1, 2), -torch.inf, dtype=F64)
    eye = torch.eye(NUM_TASTES, dtype=F64).unsqueeze(0)
    assert not tastes.common(LOADS, eye, torch.zeros(1, 2).long(), none_NK).toward.any()


def test_a_slot_against_its_twin_by_hand() -> None:
    # Why: a page of one item is its own common taste, of the slot's load 1 and the twin's 1/2. To
    # those who would find the twin the slot has 1/2 - 1/8 more, with the twin's deviation of 1/2.
    # Where the slot has four times the twin's mass and d = 1/2, 1 / sqrt(1 + (4 e^0.875)^2) =
    # 0.10366 and 1 / sqrt(1 + (4 e^-0.125)^2) = 0.27257 are kept, 0.18811 on average.
    loads = loads_of(along_first(1.0), along_first(0.0))
    loads = dataclasses.replace(loads, find_IV=along_first(0.5))
    eye, item_NK = torch.eye(NUM_TASTES, dtype=F64).unsqueeze(0), torch.tensor([[0]])
    page = tastes.common(loads, eye, item_NK, torch.zeros(1, 1, dtype=F64))
    usual_NV = torch.zeros(1, NUM_TASTES, dtype=F64)
    found = tastes.rivalry(loads, eye, page, usual_NV, item_NK)
    assert float(found.mean) == pytest.approx(0.375, abs=1e-5)
    assert float(found.sd) == pytest.approx(0.5, abs=1e-5)
    twin, slot = torch.tensor([[[0.01]], [[0.04]]], dtype=F64).log()
    kept = choice.kept(found, twin, slot, torch.tensor(0.5, dtype=F64))
    assert float(kept) == pytest.approx(0.18811, abs=1e-5)


@pytest.mark.parametrize("strength", [0.15, 0.35])  # a slot: 0.4 and 1.0 logits
def test_what_a_page_leaves_of_a_twin_is_its_mean_over_all_tastes(strength: float) -> None:
    # Why: a mean mass against a mean mass leaves less than the mean of what each shopper's masses
    # leave, and a fit would make up for it by a dissimilarity that is wrong on other pages. Two
    # slots, loads at random, masses of the slots ten times the twins'; some 250,000 tastes.
    generator = torch.Generator().manual_seed(5)
    click_IV, find_IV = strength * torch.randn(2, 2, NUM_TASTES, generator=generator, dtype=F64)
    find_IV = 0.5 * find_IV
    loads = loads_of(click_IV, torch.zeros_like(click_IV))
    loads = dataclasses.replace(loads, find_IV=find_IV)
    eye, item_NK = torch.eye(NUM_TASTES, dtype=F64).unsqueeze(0), torch.tensor([[0, 1]])
    level_NK = torch.tensor([[0.2, 0.1]], dtype=F64).log()
    page = tastes.common(loads, eye, item_NK, level_NK)
    usual_NV = torch.zeros(1, NUM_TASTES, dtype=F64)
    found = tastes.rivalry(loads, eye, page, usual_NV, item_NK)
    log_twin_NK = torch.tensor([[0.02, 0.01]], dtype=F64).log()
    d = torch.tensor(0.6, dtype=F64)

    z_nV = torch.randn(1 << 18, NUM_TASTES, generator=generator, dtype=F64)
    share_nK = log_twin_NK + z_nV @ find_IV.T - 0.5 * find_IV.square().sum(-1)
    slot_nK = level_NK + z_nV @ click_IV.T
    exact_K = (share_nK.exp() * choice.nest(share_nK, slot_nK, d)[1]).mean(0)

    left_2K = torch.zeros(2, 2, dtype=F64)
    for node in (-1.0, 1.0):
        node_NX = torch.tensor([[node]], dtype=F64)
        slot_NK = level_NK + page.at(node_NX).squeeze(-1)
        kept_NK = choice.kept(found, log_twin_NK, slot_NK, d)
        plain_NK = choice.nest(log_twin_NK, slot_NK, d)[1]
        left_2K += 0.5 * torch.cat([kept_NK, plain_NK]) * log_twin_NK.exp()
    torch.testing.assert_close(left_2K[0], exact_K, rtol=0.05, atol=0)
    assert bool(((left_2K[0] - exact_K).abs() < 0.5 * (left_2K[1] - exact_K).abs()).all())


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
    at_once = beliefs(tastes.begin(torch.zeros(count, 1, dtype=F64)), said, steps, row_n)
    unrolled = states_before(model, steps, expected).belief
    for session in range(count):
        belief = tastes.begin(torch.zeros(1, 1, dtype=F64))
        for n in (row_n == session).nonzero().squeeze(-1).tolist():
            for found in (at_once, unrolled):
                torch.testing.assert_close(found.mean[n], belief.mean[0], rtol=0, atol=1e-10)
                torch.testing.assert_close(
                    found.precision[n], belief.precision[0], rtol=0, atol=1e-10
                )
            belief = tastes.learn(belief, said.lanes(slice(n, n + 1)))
    assert len(steps.active) > 5 and float(at_once.mean.abs().max()) > 0.1


def test_a_lesson_of_nothing_leaves_a_belief_as_it_was() -> None:
    belief = some_belief(5, torch.Generator().manual_seed(3))
    zero = torch.zeros_like
    after = tastes.learn(belief, Lesson(zero(belief.mean), zero(belief.precision)))
    assert torch.equal(after.mean, belief.mean)
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
