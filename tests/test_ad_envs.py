"""recgym.envs.ads and its shells: pages with ads as Gymnasium has it, one lane and many alike."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker as sb3_checker
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from probe_shop import ProbeShop, learned_shop
from test_envs import forbid, same

import recgym  # noqa: F401
from recgym.ads.records import PARTS, Record
from recgym.envs.ad_single import AdEnv
from recgym.envs.ad_vector import AdVectorEnv
from recgym.envs.ads import AdCore, open_ad_core
from recgym.errors import UserError
from recgym.rng import Purpose, key, uniform
from recgym.users.ad_law import PRESETS, AdLaw
from recgym.users.ad_report import AdFit, save_ads
from recgym.users.sponsored import AdShoppers
from recgym.users.store import save_model
from recgym.worlds.taste import TasteShop

D = torch.float64
IDS = {"allocate": "AdAllocate", "insert": "AdInsert", "joint": "Shop", "price": "AdPrice"}
BOUGHT_AND_PAID = {"click_rate": 0.1, "market": {"reserve": 0.01, "error": 0.0}}


def loyal() -> TasteShop:
    """A shop whose shoppers come back."""
    return TasteShop(num_items=40, returns=True, return_base=2.0, dtype=D)


def drawn(space: gym.Space[Any], lane: int, step: int) -> Any:
    """An action of a lane's space that both kinds of environment can work out."""
    word = key(torch.tensor([lane]), torch.tensor([step]), 0, Purpose.POLICY)
    u = uniform(word, 64).numpy()[0]
    if isinstance(space, gym.spaces.Discrete):
        return np.int64(u[0] * space.n)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return (u[: len(space.nvec)] * space.nvec).astype(np.int64)
    if isinstance(space, gym.spaces.MultiBinary):
        return (u[: space.n] < 0.5).astype(np.int8)
    return u[:3].astype(np.float32)


def some_options(core: AdCore, step: int) -> torch.Tensor:
    """An allowed option of each lane, by its shopper and page alone."""
    seen = core.observation
    assert seen.options is not None
    who = seen.base.arrival
    u_NJ = uniform(key(who.seed, who.session, step, Purpose.POLICY), seen.options.allowed.shape[1])
    return u_NJ.masked_fill(~seen.options.allowed, -1.0).argmax(-1)


@pytest.mark.parametrize("task", list(IDS))
@pytest.mark.parametrize("name", ["true", "learned"])
def test_both_checkers_pass(name: str, task: str) -> None:
    # Why: Gymnasium's and Stable-Baselines3's own words on what an environment is.
    shop = learned_shop() if name == "learned" else TasteShop(num_items=40)
    env = gym.make(f"RecGym/{IDS[task]}-v0", shop=shop, num_slots=5, render_mode="ansi")
    assert env.unwrapped.shell.task.name == task
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for harmless in (".*infinity.*", ".*not different from the unwrapped.*", ".*symmetric.*"):
            warnings.filterwarnings("ignore", message=harmless)
        check_env(env.unwrapped)
        sb3_checker.check_env(env.unwrapped)


@pytest.mark.parametrize("task", list(IDS))
def test_ids_open_the_default_shop_and_survive_json(task: str) -> None:
    # Why: the line that a newcomer types first, and what a run writes down of its environment.
    kwargs = {"campaigns": {"num_campaigns": 12}, "market": {"pricing": "vcg"}, "ads": "strong"}
    env = gym.make_vec(f"RecGym/{IDS[task]}-v0", num_envs=2, max_episode_steps=2, **kwargs)
    assert isinstance(env, AdVectorEnv)
    assert json.loads(env.spec.to_json())["kwargs"]["market"] == {"pricing": "vcg"}
    env.reset(seed=3)
    env.action_space.seed(0)
    for _ in range(2):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
    assert bool((terminated | truncated).all())
    assert info["final_info"]["reward_parts"].shape == (2, len(PARTS))


def test_a_small_shop_has_a_campaign_for_each_of_its_items() -> None:
    # Why: the defaults are for hundreds of items, and a first try is often on a shop of four.
    assert open_ad_core(ProbeShop(), num_slots=2).platform.market.campaigns.num_campaigns == 4
    with pytest.raises(UserError, match=r"num_campaigns=5: expected at most one for each of the 4"):
        open_ad_core(ProbeShop(), num_slots=2, campaigns={"num_campaigns": 5})


@pytest.mark.parametrize("task", list(IDS))
def test_lane_i_replays_the_single_environment_with_seed_plus_i(task: str) -> None:
    # Why: Gymnasium's own SyncVectorEnv over our single environment is the second implementation;
    # in float64 no sum depends on how many lanes there are.
    kwargs = {"shop": TasteShop(num_items=40, dtype=D), "num_slots": 5, "max_pages": 5}
    ours = gym.make_vec(f"RecGym/{IDS[task]}-v0", num_envs=4, **kwargs, **BOUGHT_AND_PAID)
    theirs = SyncVectorEnv(
        [lambda: gym.make(f"RecGym/{IDS[task]}-v0", **kwargs, **BOUGHT_AND_PAID).unwrapped] * 4,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    same(ours.reset(seed=7), theirs.reset(seed=7))
    ended, space = 0, ours.single_action_space
    for step in range(25):
        action = np.stack([drawn(space, lane, step) for lane in range(4)])
        first, second = ours.step(action), theirs.step(action)
        same(first, second)
        ended += int((first[2] | first[3]).sum())
    assert ended > 10
    same(ours.reset(), theirs.reset())


def everything(record: Record) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in vars(record).values():
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, Record):
            found += everything(value)
    return found


def test_lanes_do_not_depend_on_one_another_over_several_sessions() -> None:
    # Why: budgets, credits and tiredness are each lane's own; one lane alone sees the same.
    settings: dict[str, Any] = {
        "num_slots": 5, "num_sessions": 3, "max_pages": 6, "ads": "strong",
        "market": {"pacing": "throttle"},
    }  # fmt: skip
    many = open_ad_core(loyal(), num_envs=6, **settings)
    alone = [open_ad_core(loyal(), **settings) for _ in range(6)]
    many.reset(20)
    for i, core in enumerate(alone):
        core.reset(20 + i)
    returned = 0
    for step in range(30):
        played = many.step(some_options(many, step))
        returned += int((many.observation.base.visit.past.sessions > 0).sum())
        for i, core in enumerate(alone):
            mine = core.step(some_options(core, step))
            assert torch.equal(mine.ads.charge[0], played.ads.charge[i])
            torch.testing.assert_close(mine.reward[0], played.reward[i])
            torch.testing.assert_close(mine.observation.feature[0], played.observation.feature[i])
    assert returned > 20


def test_the_same_seed_gives_the_same_ledger_to_the_micro() -> None:
    # Why: an auction that drew from a stream would charge other prices on a second run.
    def play() -> list[torch.Tensor]:
        core, found = open_ad_core(num_envs=200, **BOUGHT_AND_PAID), []
        core.reset(4)
        for step in range(8):
            core.step(some_options(core, step))
            found += everything(core.state.market)
        return found

    first, second = play(), play()
    assert sum(int((x != 0).sum()) for x in first) > 1000
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_lane_that_ends_begins_with_an_empty_ledger_and_a_fresh_shopper() -> None:
    # Why: money and tiredness that leak into the next episode belong to someone else.
    core = open_ad_core(TasteShop(num_items=40), num_envs=300, num_slots=5, max_pages=3)
    core.reset(0)
    for step in range(3):
        played = core.step(some_options(core, step))
    ended_N = played.terminated | played.truncated
    assert ended_N.any()
    market, shop = core.state.market, core.state.shop
    for value in (market.spent, market.shown, market.ads, market.impressions, market.since):
        assert value[ended_N].sum() == 0
    assert (market.credit_item[ended_N] == -1).all()
    assert shop.user.tired[ended_N].sum() == 0 and shop.user.tired[~ended_N].sum() >= 0
    assert (played.final_observation.market.ads[played.truncated] > 0).any()
    # and what is observed is what the platform would say of these lanes anew
    again = core.platform.observe(core.state)
    torch.testing.assert_close(again.feature, core.observation.feature)


def test_a_core_goes_on_from_its_state() -> None:
    # Why: a killed run has to go on with the same numbers, the price of load included.
    first, second = open_ad_core(num_envs=20), open_ad_core(num_envs=20)
    first.reset(8)
    for step in range(3):
        first.step(some_options(first, step))
    first.price_of_load = torch.tensor(0.25)
    second.reset(0)
    second.load_state_dict(first.state_dict())
    a = first.step(some_options(first, 3))
    b = second.step(some_options(second, 3))
    assert torch.equal(a.reward, b.reward)
    assert torch.equal(a.observation.feature, b.observation.feature)


def test_the_price_of_load_is_taken_off_the_reward() -> None:
    # Why: by hand; two ads on a page of 5 are 2 - 0.2 · 5 = 1 beyond a cap of 0.2, at 0.5 each.
    core = open_ad_core(
        TasteShop(num_items=40, dtype=D), num_slots=5, load_cap=0.2, rules={"min_distance": 2}
    )
    core.reset(0)
    full = int(core.observation.options.num_ads[0].argmax())
    core.price_of_load = torch.tensor(0.5, dtype=D)
    played = core.play(torch.tensor([full]))
    part_W = dict(zip(PARTS, played.ads.parts[0].tolist(), strict=True))
    assert part_W["excess_load"] == pytest.approx(1.0)
    money = part_W["ad_revenue"] + part_W["organic_sales"] + part_W["sponsored_sales"]
    assert played.reward.item() == pytest.approx(money - 0.5)


def test_tiredness_is_what_the_pages_ads_added() -> None:
    # Why: a reward for satisfaction has to be about this page, not about those before.
    core = open_ad_core(
        TasteShop(num_items=40, dtype=D), num_envs=50, ads={"preset": "strong", "memory": 0.5}
    )
    core.reset(0)
    for step in range(3):
        before_N = core.state.shop.user.tired
        played = core.play(some_options(core, step))
        after_N = core.state.shop.user.tired
        torch.testing.assert_close(played.ads.tired, after_N - 0.5 * before_N)
        torch.testing.assert_close(played.ads.parts[:, 3], -played.ads.tired)
    assert (played.ads.tired[~(played.ads.campaign >= 0).any(-1)] == 0).all()


def test_masks_say_where_an_ad_may_stand() -> None:
    # Why: by hand; no ad in slot 1, and 40 items before the slots of a joint action.
    kwargs: dict[str, Any] = {"shop": TasteShop(num_items=40), "num_slots": 4}
    masks = {task: AdEnv(task=task, **kwargs).reset(seed=0)[1].get("action_mask") for task in IDS}
    assert masks["allocate"].tolist() == [0, 1, 1, 1]
    assert masks["insert"].tolist() == [1, *[0, 1, 1, 1] * 5]
    assert masks["joint"].tolist() == [1] * 40 + [0, 1, 1, 1]
    assert masks["price"] is None
    env = AdEnv(task="allocate", **kwargs)
    env.reset(seed=0)
    env.action_space.seed(1)
    assert all(env.action_space.sample(mask=2 * masks["allocate"])[0] == 0 for _ in range(20))


def test_masks_for_maskable_ppo_hold_every_value_of_every_part() -> None:
    # Why: by hand; two values for each of 4 slots, and 40 for each of 4 items before them.
    kwargs: dict[str, Any] = {"shop": TasteShop(num_items=40), "num_slots": 4, "num_envs": 3}
    allocate = AdVectorEnv(task="allocate", **kwargs)
    allocate.reset(seed=0)
    assert allocate.action_masks().tolist() == [[True, False, *[True] * 6]] * 3
    joint = AdVectorEnv(task="joint", **kwargs)
    joint.reset(seed=0)
    assert joint.action_masks().shape == (3, 4 * 40 + 8) and joint.action_masks().sum() == 3 * 167
    price = AdVectorEnv(task="price", **kwargs)
    price.reset(seed=0)
    with pytest.raises(UserError, match="has no masks"):
        price.action_masks()


def test_a_page_without_candidates_masks_every_slot() -> None:
    # Why: a category that is excluded, a reserve above every bid: nothing is left to place.
    env = AdEnv(TasteShop(num_items=40), num_slots=4, market={"reserve": 1000.0})
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [0, 0, 0, 0]
    assert env.step(np.ones(4, dtype=np.int8))[4]["ads"] == 0


def test_infos_add_up_to_the_reward() -> None:
    # Why: multi-objective libraries read the parts; their weights are the config's.
    weights = {"ad_revenue": 2.0, "satisfaction": 0.5, "excess_load": 0.25, "take_rate": 0.2}
    env = AdEnv(ProbeShop(appeal=1.0), num_slots=2, rules={"first_slot": True, "min_distance": 1},
                campaigns=[{"item": 3, "bid": 0.5, "budget": 9.0}], organic=FirstTwo(),
                weights=weights, click_rate=0.1)  # fmt: skip
    paid = sold = 0.0
    for seed in range(40):
        env.reset(seed=seed)
        _, reward, _, _, info = env.step(np.array([1, 0], dtype=np.int8))
        assert info["ads"] == 1 and info["impressions"] == 2
        parts = dict(zip(PARTS, info["reward_parts"].tolist(), strict=True))
        assert parts["ad_revenue"] == pytest.approx(info["ad_revenue"])
        assert parts["sponsored_sales"] == pytest.approx(0.2 * info["sponsored_sales"])
        assert parts["organic_sales"] + parts["sponsored_sales"] == pytest.approx(
            0.2 * info["revenue"]
        )
        assert parts["excess_load"] == pytest.approx(0.8)  # 1 - 0.1 · 2
        assert reward == pytest.approx(
            2.0 * parts["ad_revenue"] + parts["organic_sales"] + parts["sponsored_sales"]
            + 0.5 * parts["satisfaction"] - 0.25 * 0.8
        )  # fmt: skip
        # nobody bids beside it: each click costs the reserve
        assert info["ad_revenue"] == pytest.approx(0.02 * info["ad_clicked"])
        paid, sold = paid + info["ad_revenue"], sold + info["sponsored_sales"]
    assert paid > 0.05 and sold > 0


class FirstTwo:
    """Items 0 and 1, the cheapest first."""

    def act(self, observation: Any, *, explore: bool = False) -> torch.Tensor:
        return torch.arange(2).expand(len(observation.feature), -1)


def test_the_page_as_text_says_what_is_an_ad() -> None:
    # Why: what a person reads when a policy does something odd.
    env = AdEnv(ProbeShop(), num_slots=2, rules={"first_slot": True}, organic=FirstTwo(),
                campaigns=[{"item": 3, "bid": 0.5, "budget": 9.0}], render_mode="ansi")  # fmt: skip
    env.reset(seed=0)
    env.step(np.array([1, 0], dtype=np.int8))
    lines = env.render().splitlines()
    assert lines[1].startswith("  1. item      3") and "[ad of campaign 0]" in lines[1]
    assert lines[2].startswith("  2. item      0") and "ad" not in lines[2]
    assert lines[-1].endswith("for each click.")


def test_a_joint_slate_shows_an_item_once() -> None:
    # Why: a repeated item leaves its slot empty, as in every other environment of ours.
    env = AdEnv(TasteShop(num_items=40), task="joint", num_slots=3)
    env.reset(seed=0)
    assert env.step(np.array([5, 5, 6, 0, 0, 0]))[4]["impressions"] == 2
    assert env.shell.shown.outcome.page.item.tolist() == [[5, -1, 6]]


def test_a_joint_slate_leaves_out_what_may_not_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: an item out of stock must not be sold because an agent names it.
    env = AdEnv(TasteShop(num_items=40), task="joint", num_slots=3)
    forbid(env.shell.core, item=5, patch=monkeypatch)
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [int(i != 5) for i in range(40)] + [0, 1, 1]
    env.step(np.array([5, 7, 6, 0, 0, 0]))
    assert env.shell.shown.outcome.page.item.tolist() == [[-1, 7, 6]]


def test_shoppers_who_know_ads_keep_their_own_law() -> None:
    # Why: a true shop that wrote the log with ads, or a fitted law, must not be wrapped twice.
    mine = AdShoppers(TasteShop(num_items=40), AdLaw(leave=0.3))
    core = open_ad_core(mine, ads="strong")
    assert core.simulator.shop is mine
    learned = open_ad_core(AdShoppers(learned_shop(), AdLaw()), num_slots=4)
    assert learned.spec.kind == "encoder"
    assert learned.simulator.encoder is learned.simulator.shop.inner


def test_a_fitted_law_beside_a_model_is_the_one_that_holds(tmp_path: Path) -> None:
    # Why: what a log with ads told must not give way to a preset without a word.
    save_model(learned_shop(), tmp_path / "model", {})
    name = f"model:{tmp_path / 'model'}"
    assert open_ad_core(name, num_slots=4).simulator.shop.law.leave == PRESETS["mild"].leave
    fit = AdFit(AdLaw(leave=0.123), {}, num_sessions=1, num_ads=1, gain=0.0, asked={})
    save_ads(fit, tmp_path / "model")
    assert open_ad_core(name, num_slots=4).simulator.shop.law.leave == 0.123
    told = open_ad_core(name, num_slots=4, ads="strong")
    assert told.simulator.shop.law.leave == PRESETS["strong"].leave


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"task": "place"}, "expected one of allocate, insert, joint, price"),
        ({"market": {"pricing": "auction"}}, "pricing='auction' is unknown: expected one of gsp"),
        ({"market": {"bids": 1}}, "market.bids is no setting"),
        ({"market": "gsp"}, "market='gsp': expected settings by name"),
        ({"rules": {"max_ads": -1}}, "rules.max_ads=-1"),
        ({"weights": {"ad_revenue": -1.0}}, "weights.ad_revenue=-1.0: expected a number of at"),
        ({"load_cap": 1.5}, "load_cap=1.5: expected a number from 0 to 1"),
        ({"ads": "wild"}, "ads.law='wild' is no preset"),
        ({"campaigns": {"daily_budget": 0.0}}, "campaigns.daily_budget=0.0"),
        ({"campaigns": [{"item": 1, "bid": -0.1, "budget": 1.0}]}, r"campaigns\[0\].bid=-0.1"),
        ({"campaigns": [{"item": 1, "bid": 0.1, "budget": 0.0}]}, r"campaigns\[0\].budget=0.0"),
        ({"num_slots": 0}, "num_slots=0: expected a whole number of at least 1"),
        ({"max_pages": 0}, "expected at least 1"),
        ({"num_sessions": 3}, "nobody comes back"),
        ({"observation": "encoder"}, "use observation='history'"),
    ],
)
def test_wrong_settings_end_in_one_sentence(kwargs: dict[str, Any], message: str) -> None:
    # Why: an error carries what was expected and the next step.
    shop = TasteShop(num_items=60)
    with pytest.raises(UserError, match=message) as caught:
        AdEnv(**{"shop": shop, **kwargs})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "action", "message"),
    [
        ("allocate", [0, 2], r"action has 2: expected a value of MultiBinary\(2\)"),
        ("allocate", [0, 1, 0], r"expected whole numbers of shape \(1, 2\)"),
        ("insert", 11, r"action has 11: expected a value of Discrete\(11\)"),
        ("insert", -1, "action has -1"),
        ("joint", [0, 40, 0, 0], "action has 40"),
        ("joint", [0, 1, 0, 2], "action has 2"),
        ("price", [0.0, 0.5, 1.1], "action has 1.1"),
        ("price", [0.0, 0.5, float("nan")], "action has nan"),
        ("allocate", [0.5, 1.0], "dtype float64"),
    ],
)
def test_wrong_actions_say_what_was_expected(task: str, action: Any, message: str) -> None:
    # Why: an index out of range would otherwise raise deep inside a gather.
    env = AdEnv(TasteShop(num_items=40), task=task, num_slots=2)
    env.reset(seed=0)
    with pytest.raises(UserError, match=message):
        env.step(np.array(action))
