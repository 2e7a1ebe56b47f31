"""recgym.ads.ranking: what stands between the ads where the agent decides about ads alone."""

from __future__ import annotations

import dataclasses

import torch
from probe_shop import ProbeShop, learned_shop

from recgym.ads.ranking import FixedRanking, ValueRanking, ranking_of
from recgym.envs.ads import open_ad_core
from recgym.types import Observation
from recgym.worlds.taste import TasteShop


def seen(shop: object, lanes: int = 3) -> Observation:
    return open_ad_core(shop, num_envs=lanes, num_slots=2).reset(0).base  # type: ignore[arg-type]


def test_a_fixed_ranking_shows_the_highest_that_may_be_shown() -> None:
    # Why: by hand; of the scores 1, 9, 5, 7 the second is not eligible, and a fourth is not there.
    base = seen(ProbeShop())
    eligible_NI = torch.ones(3, 4, dtype=torch.bool)
    eligible_NI[:, 1] = False
    base = dataclasses.replace(base, eligible=eligible_NI)
    ranking = FixedRanking(torch.tensor([1, 9, 5, 7]), num_slots=4)
    assert ranking.act(base).tolist() == [[3, 2, 0, -1]] * 3
    assert (
        FixedRanking(torch.arange(4), num_slots=6).act(seen(ProbeShop())).tolist()
        == [[3, 2, 1, 0, -1, -1]] * 3
    )


@torch.no_grad()
def test_a_value_ranking_weighs_mass_by_what_is_expected_to_be_paid() -> None:
    # Why: worked out a second time, item by item; mass alone would put cheap items first.
    model = learned_shop()
    core = open_ad_core(model, num_envs=3, num_slots=4)
    base = core.reset(0).base
    found_NK = core.platform.organic.act(base)
    typical = model.typical(model.read(base.encoder))
    mass_NI = model.appeal(typical, base.visit, base.price).exp()
    buy_NI = torch.sigmoid(model.after(typical, None, base.price, True).buy)
    for lane in range(3):
        value_I = [
            float(mass_NI[lane, i] * buy_NI[lane, i] * base.price[lane, i]) for i in range(40)
        ]
        by_hand = sorted(range(40), key=lambda i: -value_I[i])[:4]
        assert found_NK[lane].tolist() == by_hand


def test_a_shop_is_ranked_by_what_is_known_of_it() -> None:
    # Why: a fitted model where one reads the visit, else the site's own fame, else the list.
    model = learned_shop()
    assert isinstance(ranking_of(model, model, 2), ValueRanking)
    shop = TasteShop(num_items=40)
    best_K = shop.fame.topk(2).indices.tolist()
    assert ranking_of(shop, None, 2).act(seen(shop)).tolist() == [best_K] * 3
    assert ranking_of(ProbeShop(), None, 2).act(seen(ProbeShop())).tolist() == [[0, 1]] * 3
