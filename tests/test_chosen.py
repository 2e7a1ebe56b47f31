"""recgym.users.chosen: what a choice says of who made it, by hand and by counting shoppers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import some_belief
from taste_loads import along_first, loads_of, some_loads
from torch import Tensor

from recgym import choice
from recgym.users import tastes
from recgym.users.chosen import ChosenTaste, chosen, rivalry, rivalry_alone
from recgym.users.tastes import NUM_TASTES

F64 = torch.float64
# three items, of which only the first says anything when it sells
LOADS = loads_of(along_first(1.0, -1.0, 1.0), along_first(2.0, 0.0, 0.0))


def test_who_chose_an_item_is_likelier_to_buy_it_by_hand() -> None:
    # Why: a click on item 0, of load 1, moves the mean by a variance of 1/4, and its sales, of load
    # 2, by twice that: 1/2. Found alone it has a load of 0 where 0.3 is usual: 2 * -0.3 / 4. Item 2
    # is found with a load of 2 * 0.5 = 1, and sells without any.
    half_V = torch.full((NUM_TASTES,), 0.25, dtype=F64)
    loads = loads_of(LOADS.click_IV, along_first(2.0, 1.0, 0.0), found_XV=along_first(0.5))
    known, usual_1V = half_V.diag().unsqueeze(0), along_first(0.3)
    none_1V = torch.zeros_like(usual_1V)
    clicked = chosen(loads, known, none_1V, usual_1V, torch.tensor([[0, 1, 2]]), True).gain
    assert clicked[0].tolist() == pytest.approx([0.5, -0.25, 0.0], abs=1e-12)
    found = chosen(loads, known, none_1V, usual_1V, torch.tensor([[0, 1, 2]]), False).gain
    assert found[0].tolist() == pytest.approx([-0.15, 0.05, 0.0], abs=1e-12)


def test_the_whole_catalogue_is_chosen_as_its_items_are() -> None:
    # Why: rules ask of all items at once, simulator and fit of some.
    generator, count = torch.Generator().manual_seed(3), 20
    loads = some_loads(12, generator)
    covariance_NVV = torch.linalg.inv(some_belief(count, generator).precision)
    usual_NV, toward_NV = torch.randn(2, count, NUM_TASTES, generator=generator, dtype=F64)
    toward_NV = 0.1 * toward_NV
    item_NJ = torch.randint(0, 12, (count, 5), generator=generator)

    def some(clicked: Tensor | bool) -> ChosenTaste:
        return chosen(loads, covariance_NVV, toward_NV, usual_NV, item_NJ, clicked)

    for clicked in (True, False):
        whole = chosen(loads, covariance_NVV, toward_NV, usual_NV, None, clicked)
        for name, value in vars(some(clicked)).items():
            of_these_NJ = getattr(whole, name).gather(-1, item_NJ)
            torch.testing.assert_close(of_these_NJ, value, rtol=0, atol=1e-10)
    mixed_NJ = torch.rand(count, 5, generator=generator) < 0.5
    expected_NJ = torch.where(mixed_NJ, some(True).gain, some(False).gain)
    torch.testing.assert_close(some(mixed_NJ).gain, expected_NJ, rtol=0, atol=1e-10)


def test_an_item_alone_is_weighed_against_its_twin_as_on_a_page_of_its_own() -> None:
    # Why: rules look at all items alone, the simulator at pages.
    generator, count = torch.Generator().manual_seed(6), 7
    loads = some_loads(12, generator)
    covariance_NVV = torch.linalg.inv(some_belief(count, generator).precision)
    usual_NV = torch.randn(count, NUM_TASTES, generator=generator, dtype=F64)
    whole = rivalry_alone(loads, covariance_NVV, usual_NV)
    for item in range(12):
        item_NK = torch.full((count, 1), item)
        mass_NK = torch.zeros(count, 1, dtype=F64)
        page = tastes.common(loads, covariance_NVV, item_NK, mass_NK)
        alone = rivalry(loads, covariance_NVV, page, usual_NV, item_NK)
        torch.testing.assert_close(whole.mean[:, item], alone.mean[:, 0], rtol=0, atol=1e-5)
        torch.testing.assert_close(whole.sd[:, item], alone.sd[:, 0], rtol=0, atol=1e-5)


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
    usual_NV = torch.zeros(1, NUM_TASTES, dtype=F64)
    item_NJ = torch.tensor([[item]])
    taste = chosen(loads, eye, page.toward, usual_NV, item_NJ, clicked)
    found = float((weight_2 * taste.at(nodes.unsqueeze(0))[0, 0]).sum() / weight_2.sum())
    assert abs(exact) > 0.01
    assert found == pytest.approx(exact, rel=0.05, abs=2e-4)


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
    found = rivalry(loads, eye, page, usual_NV, item_NK)
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
    found = rivalry(loads, eye, page, usual_NV, item_NK)
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
