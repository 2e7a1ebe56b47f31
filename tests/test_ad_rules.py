"""agents.ads.rules and agents.ads.hindsight: choices and bounds by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from ad_probe import PLACES, agent_named, observed, options_of, places
from scipy.optimize import linprog

from agents.ads.hindsight import Hindsight, bound
from agents.ads.rules import page_worth
from recgym.errors import UserError

PAYS = torch.tensor([[0.0, 0.03, 0.02, 0.05], [0.0, 0.001, 0.004, 0.005], [0.0, 0.0, 0.0, 0.0]])


def chosen(agent: Any, payment: torch.Tensor = PAYS) -> list[tuple[int, ...]]:
    """Slots of the ads that it chooses."""
    return [PLACES[index] for index in agent.act(observed(options_of(payment))).tolist()]


def test_each_rule_chooses_as_its_name_says() -> None:
    # Why: they are what a trained agent is held against; a rule that is not what it says flatters.
    # The first page pays 0.03 and 0.02 an ad, the second 0.001 and 0.004, the third nothing.
    assert chosen(agent_named("ad_none")) == [(), (), ()]
    assert chosen(agent_named("ad_fixed", slots=[5])) == [(5,), (5,), (5,)]
    assert chosen(agent_named("ad_fixed", slots=[2, 5])) == [(2, 5)] * 3
    assert chosen(agent_named("ad_greedy")) == [(2, 5), (2, 5), ()]
    # by hand: 0.05 / 2 ads is 0.025 apiece, and 0.03 an ad alone is more
    assert chosen(agent_named("ad_threshold", threshold=0.025))[0] == (2, 5)
    assert chosen(agent_named("ad_threshold", threshold=0.026))[0] == (2,)
    assert chosen(agent_named("ad_threshold", threshold=0.004))[1:] == [(5,), ()]


def test_no_rule_chooses_what_is_not_allowed() -> None:
    # Why: caps and budgets hold for every policy; the first option is always allowed.
    options = options_of(PAYS)
    allowed = torch.zeros_like(options.allowed)
    allowed[:, 0] = allowed[0, 2] = True
    page = observed(dataclasses.replace(options, allowed=allowed))
    for name in ("ad_none", "ad_fixed", "ad_greedy", "ad_threshold", "ad_ranking"):
        index = agent_named(name).act(page)
        assert bool(allowed[torch.arange(3), index].all()), name
    assert agent_named("ad_fixed", slots=[5]).act(page).tolist() == [2, 0, 0]
    assert agent_named("ad_fixed", slots=[2, 5]).act(page).tolist() == [2, 0, 0]


def test_ads_push_items_down_and_off_the_page() -> None:
    # Why: what an ad costs is the item that falls off and the worse slots of those that stay.
    # By hand, without loss by the slot: the two ads push off the last two of ten items, 10 and 9.
    worth = torch.arange(1.0, 11.0).unsqueeze(0)
    assert page_worth(worth, places().unsqueeze(0), 0.0).tolist() == [[55.0, 45.0, 45.0, 36.0]]
    # with attention 1 / slot: items 1, 2, then 3 in slot 4, ..., 9 in slot 10
    found = page_worth(worth, places().unsqueeze(0), 1.0)[0, 1].item()
    assert found == pytest.approx(1 + 1 + sum((k - 1) / k for k in range(4, 11)))


def test_one_ranking_shows_an_ad_where_it_is_worth_more_than_what_it_pushes_off() -> None:
    # Why: greedy shows an ad that pays next to nothing in place of an item that would sell.
    dear = torch.tensor([[0.0, 1e3, 1e3, 2e3]])
    assert chosen(agent_named("ad_ranking"), dear) == [(2, 5)]
    assert chosen(agent_named("ad_ranking"), dear * 1e-9) == [()]
    assert chosen(agent_named("ad_ranking", take_rate=0.0), dear * 1e-9) == [(2, 5)]


@pytest.mark.parametrize("slots", [[], [-1], [10]])
def test_slots_that_no_page_has_are_refused_in_a_sentence(slots: list[int]) -> None:
    # Why: a page without the fixed slots would be one without ads, and the baseline nothing.
    with pytest.raises(UserError, match=r"agent\.slots=.*expected slots"):
        chosen(agent_named("ad_fixed", slots=slots))


def test_the_bound_by_hand() -> None:
    # Why: two pages and one ad: by hand the ad that pays 0.03 goes, and half an ad more buys half
    # of the step from 0.03 to 0.05 on that page, 0.01.
    some = torch.ones(2, 4, dtype=torch.bool)
    num_ads = places().sum(-1).expand(2, -1)
    assert bound(PAYS[:2], num_ads, some, 4.0).payment == pytest.approx(0.055)
    assert bound(PAYS[:2], num_ads, some, 1.0).payment == pytest.approx(0.03)
    half = bound(PAYS[:2], num_ads, some, 1.5)
    assert half.payment == pytest.approx(0.04) and half.price == pytest.approx(0.02)
    assert half.num_ads == 1.5


def test_the_bound_is_the_linear_programme_s_value() -> None:
    # Why: a bound that is too low would make regret negative, one too high meaningless.
    generator = torch.Generator().manual_seed(0)
    payment = torch.rand(30, 6, generator=generator, dtype=torch.float64)
    ads = torch.randint(0, 4, (30, 6), generator=generator)
    allowed = torch.rand(30, 6, generator=generator) < 0.7
    payment[:, 0], ads[:, 0], allowed[:, 0] = 0.0, 0, True
    for budget in (3.0, 20.5, 47.0):
        each = torch.eye(30, dtype=torch.float64).repeat_interleave(6, 1)
        found = linprog(
            -payment.flatten().numpy(),
            A_ub=ads.flatten().unsqueeze(0).numpy(), b_ub=[budget],
            A_eq=each.numpy(), b_eq=[1.0] * 30,
            bounds=[(0, 1 if may else 0) for may in allowed.flatten().tolist()],
        )  # fmt: skip
        reached = bound(payment, ads, allowed, budget)
        assert reached.payment == pytest.approx(-found.fun, abs=1e-9)


def test_the_policy_of_a_bound_keeps_its_budget() -> None:
    # Why: it is the row that regret is counted from.
    generator = torch.Generator().manual_seed(1)
    payment = torch.rand(500, 4, generator=generator) * torch.tensor([0.0, 1.0, 1.0, 1.5])
    options = options_of(payment)
    reached = bound(payment, options.num_ads, options.allowed, 250.0)
    index = Hindsight(reached.price).act(observed(options))
    spent = options.num_ads.gather(-1, index.unsqueeze(-1)).sum().item()
    paid = payment.gather(-1, index.unsqueeze(-1)).sum().item()
    assert 248 <= spent <= 250 and paid == pytest.approx(reached.payment, rel=0.01)
