"""recgym.ads.logged and the log's `sponsored`: ads at random, written down and read back."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from log_files import read_rows
from torch import Tensor

from recgym.ads.logged import AdLog, RandomAds
from recgym.confounding import SeeingPolicy
from recgym.errors import UserError
from recgym.logs.log import Log
from recgym.record import TrueShopLog
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.log import prepare_log
from recgym.users.ad_law import PRESETS
from recgym.users.sponsored import AdShoppers
from recgym.worlds.taste import TasteShop

SESSIONS, SLOTS, ITEMS = 300, 6, 25
WORLD: dict[str, Any] = {"_target_": "recgym.worlds.taste.TasteShop", "num_items": ITEMS}
# hash of the log without ads, taken before there was the setting
BEFORE = "93ee654d79db163088288ddced60b5e1ec8e8557db4c976645da13c63059fb1d"
ADS: dict[str, Any] = {"law": "strong", "share": 0.4, "campaigns": {"num_campaigns": 12}}


def reader(**changed: Any) -> TrueShopLog:
    return TrueShopLog(world=WORLD, num_sessions=SESSIONS, num_slots=SLOTS, seed=5, **changed)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return reader(ads=ADS).clean(tmp_path_factory.mktemp("ads") / "log")


def inserted(settings: AdLog, item_K: Tensor, lanes: int) -> tuple[Tensor, Tensor, Tensor]:
    """What becomes of one organic ranking, of propensities 0.1, 0.2, ..., in so many lanes."""
    shop = TasteShop(num_items=ITEMS)
    spec = ObservationSpec(Simulator(shop, num_slots=len(item_K)), "history")
    seed_N = torch.arange(lanes)
    observation = spec.observe(spec.simulator.reset(seed_N, torch.zeros_like(seed_N)))
    chance_K = 0.1 * torch.arange(1, len(item_K) + 1)
    ads = RandomAds(shop.catalog, settings, len(item_K))
    assert set(ads.item_A.tolist()) <= set(range(ITEMS))
    return ads.insert(observation, item_K.expand(lanes, -1), chance_K.expand(lanes, -1))


def test_ads_stand_where_and_as_often_as_the_settings_say() -> None:
    # Why: what is drawn evenly is identified. Of 5 slots the first is barred; with a distance of 3
    # the patterns are {1}, {2}, {3}, {4} and {1, 4}: five, each on 0.4 / 5 = 8 % of the pages.
    settings = AdLog(share=0.4, campaigns={"num_campaigns": 12})
    organic_K = torch.tensor([0, 1, 2, 3, 4])
    item_NK, chance_NK, ad_NK = inserted(settings, organic_K, 8000)
    seen = Counter(tuple(row.nonzero().squeeze(-1).tolist()) for row in ad_NK)
    assert set(seen) == {(), (1,), (2,), (3,), (4,), (1, 4)}
    error = (0.08 * 0.92 / 8000) ** 0.5
    assert all(abs(seen[slots] / 8000 - 0.08) < 4 * error for slots in seen if slots)
    # organic items keep their order and their propensities, and nothing stands there twice
    shown = RandomAds(TasteShop(num_items=ITEMS).catalog, settings, 5).item_A
    free = set(shown.tolist()) - set(range(5))
    for row in range(200):
        is_ad = ad_NK[row]
        rest = 5 - int(is_ad.sum())
        assert item_NK[row][~is_ad].tolist() == organic_K[:rest].tolist()
        assert chance_NK[row][~is_ad].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5][:rest])
        assert set(item_NK[row][is_ad].tolist()) <= free and len(item_NK[row].unique()) == 5
        expected = [1 / len(free), 1 / (len(free) - 1)][: int(is_ad.sum())]
        assert chance_NK[row][is_ad].tolist() == pytest.approx(expected)
    # each campaign as often as any other
    count_A = torch.stack([(item_NK[ad_NK] == item).sum() for item in free]).double()
    expected_count = count_A.sum() / len(free)
    assert bool(((count_A - expected_count).abs() < 4 * expected_count.sqrt()).all())


def test_pages_without_items_and_items_that_stand_there_get_no_ads() -> None:
    # Why: an empty page is the log's control; and no item stands on a page twice.
    settings = AdLog(share=1.0, campaigns={"num_campaigns": 2, "seed": 3})
    item_NK, chance_NK, ad_NK = inserted(settings, torch.full((5,), -1), 50)
    assert not bool(ad_NK.any()) and bool((item_NK == -1).all())
    promoted = RandomAds(TasteShop(num_items=ITEMS).catalog, settings, 5).item_A.tolist()
    others = [item for item in range(ITEMS) if item not in promoted]
    item_NK, chance_NK, ad_NK = inserted(settings, torch.tensor([promoted[0], *others[:4]]), 400)
    assert set(item_NK[ad_NK].tolist()) == {promoted[1]}
    assert int(ad_NK.sum(-1).min()) == int(ad_NK.sum(-1).max()) == 1  # one campaign is left
    assert bool((chance_NK[ad_NK] == 1.0).all())


def test_what_held_an_ad_is_written_and_read_back(log: Log) -> None:
    # Why: a fit of what ads do reads the labels from here.
    page = log.sessions().page
    assert page.sponsored is not None and page.sponsored.shape == page.item.shape
    rows = read_rows(log.folder / "impressions.parquet", "page, position, sponsored, item")
    labels = {row[:2]: row[2] for row in rows}
    step, slot = (page.item >= 0).nonzero(as_tuple=True)
    expected = [labels[int(log.steps.page[s]), k] for s, k in zip(step, slot.tolist(), strict=True)]
    assert page.sponsored[step, slot].tolist() == expected
    assert not bool(page.sponsored[page.item < 0].any())
    with_ads = page.sponsored.any(-1)[(page.item >= 0).any(-1)].double()
    assert float(with_ads.mean()) == pytest.approx(0.4, abs=3 * (0.24 / len(with_ads)) ** 0.5)
    assert log.propensities() is not None and not bool(
        log.propensities()[step, slot].isnan().any()  # type: ignore[index]
    )
    assert not log.meta["rows"]["impressions"]["set_aside"]
    assert log.meta["ads"] == sum(expected) and f"{sum(expected):,} of them ads" in log.card()


def test_a_log_without_ads_reads_as_it_did(tmp_path: Path) -> None:
    # Why: all that is fitted on logs without ads has to stay what it is.
    bare = reader().clean(tmp_path / "bare")
    assert bare.sessions().page.sponsored is None
    assert "ads" not in bare.meta and "of them ads" not in bare.card()
    plain = vars(reader())
    assert plain["ads"] is None and reader().content_hash() == reader(ads=None).content_hash()
    assert reader().content_hash() == BEFORE
    assert isinstance(reader().true_shop(), TasteShop)


def test_the_shoppers_of_the_log_heed_its_ads(log: Log) -> None:
    # Why: labels alone would be decoration. The same shoppers, under `none`, see the same first
    # pages and then part; and their shop is the wrapped one, with the default world's catalogue.
    shop = reader(ads=ADS).true_shop()
    assert isinstance(shop, AdShoppers) and shop.law.leave == PRESETS["strong"].leave
    assert isinstance(shop.inner, TasteShop) and shop.fame is shop.inner.fame
    assert len(log.sessions().time_ms) < len(
        reader(ads={**ADS, "law": "none"}).clean(log.folder.parent / "none").sessions().time_ms
    )


def test_a_site_that_sees_hidden_taste_may_show_ads_too(tmp_path: Path) -> None:
    # Why: its policy looks into the true shop's state, which the law of ads wraps.
    seeing = {**WORLD, "logger_sees": 1.0}
    asked = TrueShopLog(world=seeing, num_sessions=60, num_slots=SLOTS, seed=5, ads=ADS)
    shop = asked.true_shop()
    assert isinstance(asked.logging_policy(shop), SeeingPolicy)
    page = asked.clean(tmp_path / "seeing").sessions().page
    assert page.sponsored is not None and int(page.sponsored.sum()) > 20


def test_the_hash_tells_logs_with_other_ads_apart(tmp_path: Path) -> None:
    # Why: a log is found again by it; a preset counts as its numbers.
    hashes = [reader(ads=ads).content_hash() for ads in (None, ADS, {**ADS, "share": 0.5})]
    numbers = dataclasses.asdict(PRESETS["strong"])
    del numbers["position"], numbers["ordinary"]
    hashes.append(reader(ads={**ADS, "law": {**numbers, "leave": 0.1}}).content_hash())
    assert len(set(hashes)) == 4
    assert reader(ads={**ADS, "law": numbers}).content_hash() == hashes[1]
    settings = {"_target_": "recgym.record.TrueShopLog", "world": WORLD, "num_slots": SLOTS}
    settings = {**settings, "num_sessions": 60}
    names = [
        prepare_log({**settings, **more}, tmp_path, {})[0].folder.name
        for more in ({}, {"ads": None}, {"ads": ADS})
    ]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("ads", "message"),
    [
        ({"law": "loud"}, "ads.law='loud' is no preset"),
        ({"share": 1.5}, r"log.ads.share=1.5: expected a number from 0 to 1"),
        ({"loudness": 1}, r"log.ads.loudness is no setting: expected campaigns, law, rules, share"),
        ({"rules": {"max_ads": -1}}, r"log.ads.rules.max_ads=-1: expected a whole number"),
        ({"campaigns": {"num_campaigns": 0}}, r"log.ads.campaigns.num_campaigns=0: expected"),
        ({"rules": {"max_ads": 0}}, "log.ads.rules: no slot of a page of 6 may hold an ad"),
        ("strong", "log.ads=strong: expected settings such as"),
    ],
)
def test_settings_without_meaning_are_refused_in_a_sentence(
    ads: Any, message: str, tmp_path: Path
) -> None:
    # Why: a log takes minutes to write, and its ads may matter only days later.
    with pytest.raises(UserError, match=message):
        reader(ads=ads).clean(tmp_path / "log")
    assert not (tmp_path / "log").exists()
