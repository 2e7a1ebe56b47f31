"""Rules fixed before any fit: alike everywhere, different from each other."""

from __future__ import annotations

import dataclasses

import torch

from agents.fixed import FixedRule, Rule, fixed_rules
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation
from recgym.worlds.taste import TasteShop

SHOP = TasteShop(num_items=40)
VIEWS = torch.arange(40.0)
NONE = Rule(popular=0, cheap=0, alike=0, again=0, liked=0, mixed=0, filled=3)


def observed(lanes: int = 64) -> Observation:
    spec = ObservationSpec(Simulator(SHOP, num_slots=3), "history")
    seed = torch.arange(lanes)
    state = spec.simulator.reset(seed, torch.zeros_like(seed))
    for _ in range(2):
        page = spec.simulator.page(state, torch.arange(3).expand(lanes, -1))
        state = spec.simulator.step(state, page)[0]
    return spec.observe(state)


def rule(**weights: float) -> FixedRule:
    chosen = dataclasses.replace(NONE, **weights)  # type: ignore[arg-type]
    return FixedRule(chosen, VIEWS, SHOP.catalog.feature, torch.zeros(40), num_slots=3)


def test_each_part_alone_does_what_its_name_says() -> None:
    seen = observed()
    assert rule(popular=1.0).act(seen)[0].tolist() == [39, 38, 37]
    cheapest_NK = seen.price.topk(3, largest=False).indices
    assert torch.equal(rule(cheap=1.0).act(seen), cheapest_NK)
    viewed_N = seen.visit.history_item[:, 0] >= 0
    again_NK = rule(again=1.0).act(seen)[viewed_N]
    last_N1 = seen.visit.history_item[viewed_N, :1]
    assert bool((again_NK == last_N1).any(-1).all())
    alike_NK = rule(alike=1.0).act(seen)[viewed_N]
    same_NK = SHOP.catalog.category[alike_NK] == SHOP.catalog.category[last_N1]
    assert same_NK.double().mean() > 0.6


def test_a_rule_is_a_function_of_what_is_seen_and_of_the_lane() -> None:
    seen = observed()
    whole = rule(mixed=1.0).act(seen)
    assert torch.equal(whole, rule(mixed=1.0).act(seen))
    assert torch.equal(whole[10:20], rule(mixed=1.0).act(seen.lanes(slice(10, 20))))
    assert len(whole.unique(dim=0)) > 30


def test_the_rules_are_the_same_for_all_and_all_different() -> None:
    first, second = (fixed_rules(VIEWS, SHOP.catalog.feature, num_slots=3) for _ in range(2))
    assert len(first) == 24
    assert [r.rule for r in first.values()] == [r.rule for r in second.values()]
    assert len({r.rule for r in first.values()}) == 24
    seen = observed()
    for name, one in first.items():
        item_NK = one.act(seen)
        assert ((item_NK >= 0).sum(-1) == one.rule.filled).all(), name
        for row in item_NK[:4].tolist():
            shown = [i for i in row if i >= 0]
            assert len(set(shown)) == len(shown)


def test_a_rule_is_one_policy_in_shops_that_describe_items_otherwise() -> None:
    # Why: a log's catalogue has brands where a true shop's has categories. Rules that read the
    # catalogue of the shop that they were played in were two policies, and what lay between these
    # was put down to the learned shop.
    seen, other = observed(), TasteShop(num_items=40, seed=1).catalog
    catalog = dataclasses.replace(
        SHOP.catalog, feature=other.feature[:, 1:], category=other.category
    )
    elsewhere = dataclasses.replace(seen, catalog=catalog)
    rules = fixed_rules(VIEWS, SHOP.catalog.feature, num_slots=3)
    assert any(one.rule.alike for one in rules.values())
    for name, one in rules.items():
        assert torch.equal(one.act(seen), one.act(elsewhere)), name
