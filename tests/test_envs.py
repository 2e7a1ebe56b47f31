"""recgym.envs: Gymnasium to the letter, one lane and many lanes alike."""

from __future__ import annotations

import json
import shutil
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker as sb3_checker
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from probe_shop import ProbeShop, learned_shop

import recgym  # noqa: F401
from recgym.envs.core import ShopCore, open_core
from recgym.envs.single import RecEnv
from recgym.envs.vector import RecVectorEnv
from recgym.errors import UserError
from recgym.rng import Purpose, key, uniform
from recgym.spaces import NUM_SITE
from recgym.types import Kind
from recgym.worlds.taste import TasteShop

SLATE, ITEM = "RecGym/Slate-v0", "RecGym/Item-v0"


def shop_named(name: str) -> Any:
    return learned_shop() if name == "learned" else TasteShop(num_items=40)


def action_of(info: dict[str, Any], step: int, lane: int, shape: tuple[int, ...], n: int) -> Any:
    """An action that both kinds of environment can work out for a lane."""
    word = key(torch.tensor([lane]), torch.tensor([step]), 0, Purpose.POLICY)
    return (uniform(word, max(1, int(np.prod(shape)))) * n).long().numpy().reshape(shape)


@pytest.mark.parametrize("allow_empty", [False, True])
@pytest.mark.parametrize("env_id", [SLATE, ITEM])
@pytest.mark.parametrize("name", ["true", "learned"])
def test_both_checkers_pass(name: str, env_id: str, allow_empty: bool) -> None:
    # Why: Gymnasium's and Stable-Baselines3's own words on what an environment is.
    env = gym.make(env_id, shop=shop_named(name), allow_empty=allow_empty, render_mode="ansi")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for harmless in (".*infinity.*", ".*not different from the unwrapped.*"):
            warnings.filterwarnings("ignore", message=harmless)  # the space is unbounded
        check_env(env.unwrapped)
        sb3_checker.check_env(env.unwrapped)


def test_both_ids_open_the_default_shop_by_name() -> None:
    # Why: the line that a newcomer types first.
    env = gym.make(ITEM)
    assert env.action_space == gym.spaces.Discrete(env.unwrapped.shell.num_items)
    slate = gym.make(SLATE, allow_empty=True)
    values = slate.unwrapped.shell.num_items + 1
    assert slate.action_space == gym.spaces.MultiDiscrete([values] * 10)
    assert env.observation_space.dtype == np.float32 and len(env.observation_space.shape) == 1


def test_make_vec_takes_ids_limits_and_wrappers() -> None:
    # Why: it passes max_episode_steps to our class, and its kwargs must survive JSON.
    env = gym.make_vec(SLATE, num_envs=3, num_slots=2, max_episode_steps=2, render_mode="ansi")
    assert isinstance(env, RecVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert json.loads(env.spec.to_json())["kwargs"]["num_slots"] == 2
    counted = RecordEpisodeStatistics(env)
    counted.reset(seed=5)
    for _ in range(2):
        *_, terminated, truncated, info = counted.step(env.action_space.sample())
    assert bool((terminated | truncated).all())
    assert info["episode"]["l"].max() == 2
    assert len(env.render()) == 3 and env.render()[0].startswith("Shopper 5, session 0")


@pytest.mark.parametrize(("env_id", "name"), [(SLATE, "true"), (ITEM, "true"), (SLATE, "learned")])
def test_lane_i_replays_the_single_environment_with_seed_plus_i(env_id: str, name: str) -> None:
    # Why: no checker exists for vector environments; auto-reset and infos included. Gymnasium's own
    # SyncVectorEnv over our single environment is the second implementation.
    kwargs = {"shop": shop_named(name), "num_slots": 1 if env_id == ITEM else 4, "max_pages": 6}
    ours = gym.make_vec(env_id, num_envs=5, **kwargs)
    theirs = SyncVectorEnv(
        [lambda: gym.make(env_id, **kwargs).unwrapped] * 5, autoreset_mode=AutoresetMode.SAME_STEP
    )
    same(ours.reset(seed=7), theirs.reset(seed=7))
    ended = 0
    for step in range(40):
        shape = ours.single_action_space.shape
        action = np.stack([action_of({}, step, lane, shape, 40) for lane in range(5)])
        first, second = ours.step(action), theirs.step(action)
        same(first, second)
        ended += int((first[2] | first[3]).sum())
    assert ended > 20
    same(ours.reset(), theirs.reset())


def same(a: Any, b: Any) -> None:
    """Equal as far as float32 sums over another number of lanes can be."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            # ours is one row for all lanes, theirs zero where it does not count
            if name == "action_mask":
                mask = a["_action_mask"] if "_action_mask" in a else slice(None)
                same(a[name][mask], b[name][mask])
            # Gymnasium keeps an object array with None where an episode goes on; ours is dense
            elif name == "final_obs":
                mask = a["_final_obs"]
                same(a[name][mask], np.stack(list(b[name][mask])))
            else:
                same(a[name], b[name])
    elif isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a.dtype == b.dtype or a.dtype.kind == b.dtype.kind
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_final_observation_is_dense_and_the_last_one_of_its_episode() -> None:
    # Why: bootstrapping from the first observation of the next episode is a classic trap.
    env = RecVectorEnv(TasteShop(num_items=40), num_envs=64, num_slots=3, max_pages=4)
    env.reset(seed=0)
    for _ in range(4):
        observation, _, terminated, truncated, info = env.step(np.tile([0, 1, 2], (64, 1)))
    ended = terminated | truncated
    assert ended.any() and not ended.all()
    final = info["final_obs"]
    assert final.shape == observation.shape and final.dtype == np.float32
    np.testing.assert_array_equal(info["_final_obs"], ended)
    np.testing.assert_array_equal(final[~ended], observation[~ended])
    begun = env.shell.core.observation.visit.page_number.numpy()
    np.testing.assert_array_equal(begun[ended], 0)
    assert (final[ended] != observation[ended]).any(-1).all()


def test_leaving_terminates_and_the_page_limit_truncates() -> None:
    # Why: a limit reported as terminated stops bootstrapping, so long sessions look worthless.
    core = open_core(ProbeShop(), num_envs=2000, num_slots=1, max_pages=3)
    core.reset(0)
    for page in range(3):
        step = core.step(torch.full((2000, 1), 3))
        left = step.outcome.event.kind == Kind.LEAVE
        assert torch.equal(step.terminated, left)
        assert not bool((step.terminated & step.truncated).any())
        if page == 0:  # a first page is never left
            assert not bool(left.any()) and not bool(step.truncated.any())
    # lanes that began their second session stand at an earlier page and go on
    assert bool(step.truncated.any()) and bool(step.terminated.any())
    number = step.final_observation.visit.page_number
    assert torch.equal(step.truncated, (number == 3) & ~left)


def test_sessions_of_a_lane_follow_one_another() -> None:
    # Why: lane i plays sessions 0, 1, 2, ... of shopper s + i, and reset without a seed goes on.
    env = RecEnv(ProbeShop(), num_slots=1, max_pages=1)
    assert env.reset(seed=9)[1].keys() == {"shopper", "session", "action_mask"}
    env.step(np.array([0]))
    info = env.reset()[1]
    assert (info["shopper"], info["session"]) == (9, 1)
    assert env.reset()[1]["session"] == 2  # given up halfway
    assert env.reset(seed=9)[1]["session"] == 0
    many = RecVectorEnv(ProbeShop(), num_envs=3, num_slots=1, max_pages=1)
    many.reset(seed=9)
    assert many.step(np.zeros((3, 1), dtype=np.int64))[4]["session"].tolist() == [1, 1, 1]
    assert many.reset(seed=[4, 2, 8])[1]["shopper"].tolist() == [4, 2, 8]


def test_without_a_seed_two_environments_meet_different_shoppers() -> None:
    # Why: a fixed default seed would make every unseeded experiment the same one.
    shoppers = {RecEnv(ProbeShop(), num_slots=1).reset()[1]["shopper"] for _ in range(3)}
    assert len(shoppers) == 3


def test_masks_follow_what_may_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: sb3-contrib reads bool masks of all slots in one row, Gymnasium samples with int8.
    env = RecEnv(ProbeShop(), num_slots=2, allow_empty=True)
    forbid(env.shell.core, item=1, patch=monkeypatch)
    _, info = env.reset(seed=0)
    assert info["action_mask"].dtype == np.int8 and info["action_mask"].tolist() == [1, 0, 1, 1, 1]
    assert env.action_masks().dtype == np.bool_
    assert env.action_masks().tolist() == [True, False, True, True, True] * 2
    env.action_space.seed(0)
    mask = (info["action_mask"],) * 2
    assert all(1 not in env.action_space.sample(mask=mask) for _ in range(50))
    assert env.step(np.array([1, 3]))[4]["impressions"] == 1  # item 1 left its slot empty


def test_masks_of_items_and_of_many_lanes() -> None:
    # Why: each form goes straight into its space's sample.
    one = RecEnv(ProbeShop(), action="item", num_slots=1)
    assert one.action_space.sample(mask=one.reset(seed=0)[1]["action_mask"]) in one.action_space
    many = RecVectorEnv(ProbeShop(), num_envs=3, action="item", num_slots=1)
    mask = many.reset(seed=0)[1]["action_mask"]
    assert mask.shape == (3, 4) and many.action_masks().shape == (3, 4)
    assert many.action_space.sample(mask=tuple(mask)) in many.action_space
    slates = RecVectorEnv(ProbeShop(), num_envs=3, num_slots=2)
    mask = slates.reset(seed=0)[1]["action_mask"]
    one_each = [slates.single_action_space.sample(mask=(row,) * 2) for row in mask]
    assert np.stack(one_each) in slates.action_space  # a batch of slates is a Box: no mask there


def forbid(core: ShopCore, *, item: int, patch: pytest.MonkeyPatch) -> None:
    observe = core.spec.observe

    def without(state: Any) -> Any:
        seen = observe(state)
        seen.eligible[:, item] = False
        return seen

    patch.setattr(core.spec, "observe", without)


def test_repeated_and_empty_slots_show_nothing() -> None:
    # Why: by hand; of (2, 2, empty, 0) two different items remain.
    env = RecEnv(ProbeShop(), num_slots=4, allow_empty=True)
    env.reset(seed=0)
    assert env.step(np.array([2, 2, 4, 0]))[4]["impressions"] == 2
    assert env.shell.shown.outcome.page.item.tolist() == [[2, -1, -1, 0]]


def test_nothing_is_handed_out_twice() -> None:
    # Why: a caller that keeps or changes an array must not change another one.
    env = RecVectorEnv(TasteShop(num_items=40), num_envs=4, num_slots=2)
    first, info = env.reset(seed=1)
    untouched = first.copy()
    first[:] = 0.0
    assert not info["action_mask"].flags.writeable  # one row that stands for all lanes
    again, info_again = env.reset(seed=1)
    np.testing.assert_array_equal(again, untouched)
    assert info_again["action_mask"].all()
    action = np.zeros((4, 2), dtype=np.int64)
    one, two = env.step(action), env.step(action)
    assert not any(np.shares_memory(a, b) for a, b in zip(one[:4], two[:4], strict=True))
    assert action.sum() == 0


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_a_compiled_environment_gives_the_same_episodes(traced: list[str]) -> None:
    # Why: one path ships, traced whole; what a compiler makes of it is in test_simulator.
    kwargs = {"shop": learned_shop(), "num_envs": 5, "num_slots": 4, "max_pages": 6}
    eager, fast = RecVectorEnv(**kwargs), RecVectorEnv(compile=True, **kwargs)
    same(fast.reset(seed=7), eager.reset(seed=7))
    for step in range(12):
        action = np.stack([action_of({}, step, lane, (4,), 40) for lane in range(5)])
        same(fast.step(action), eager.step(action))


def test_without_a_compiler_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: inductor's own message is a page long and names no setting of ours.
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"compile=true needs a C\+\+ compiler.*compile=false"):
        RecEnv(ProbeShop(), num_slots=1, compile=True)


def test_the_page_as_text() -> None:
    # Why: what a person reads when a policy does something odd.
    env = RecEnv(ProbeShop(appeal=1e6), num_slots=2, allow_empty=True, render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == "No page has been shown yet."
    env.step(np.array([4, 3]))
    lines = env.render().splitlines()
    assert lines[0].startswith("Shopper 0, session 0 (2023-11-1") and lines[0].endswith("page 1")
    assert lines[1] == "  1. (empty)"
    assert lines[2].startswith("  2. item      3") and lines[2].endswith("  <- clicked")
    assert lines[3].startswith("The shopper clicked item 3 at position 2")
    assert lines[4].startswith("Paid ")
    assert RecEnv(ProbeShop(), num_slots=2).render() is None


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"shop": "shop"}, "expected 'world:NAME' or 'model:DIR'"),
        ({"shop": "world:moon"}, "the worlds are bored, confounded, default"),
        ({"shop": "model:/no/such/folder"}, "python -m recgym.fit"),
        ({"reward": "fame"}, "expected one of revenue"),
        ({"observation": "encoder", "shop": "world:default"}, "use observation='history'"),
        ({"num_slots": 0}, "expected at least 1"),
        ({"max_pages": 0}, "expected at least 1"),
        ({"action": "item", "num_slots": 3}, "use RecGym/Slate-v0"),
        ({"action": "page"}, "expected 'slate' or 'item'"),
        ({"device": "abacus", "shop": "world:default"}, "expected 'cpu', 'cuda' or 'auto'"),
    ],
)
def test_wrong_settings_say_what_to_do(kwargs: dict[str, Any], message: str) -> None:
    # Why: an error carries what was expected and the next step.
    with pytest.raises(UserError, match=message):
        RecEnv(**{"shop": ProbeShop(), **kwargs})


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0, 4], r"slate has item 4, but the catalogue holds 4 items \(shop=ProbeShop\): items "),
        ([0, -1], r"items must be in \[0, 4\)"),
        ([0, 1, 2], r"expected whole numbers of shape \(1, 2\)"),
        ([0.5, 1.0], "dtype float64"),
    ],
)
def test_wrong_actions_say_what_was_expected(action: list[float], message: str) -> None:
    # Why: an index out of range would otherwise raise deep inside a gather.
    env = RecEnv(ProbeShop(), num_slots=2)
    env.reset(seed=0)
    with pytest.raises(UserError, match=message):
        env.step(np.array(action))


def test_a_step_needs_a_running_episode() -> None:
    # Why: stepping past the end would quietly sell to a shopper who has left.
    env = RecEnv(ProbeShop(), num_slots=1, max_pages=1)
    with pytest.raises(UserError, match="call reset"):
        env.step(np.array([0]))
    env.reset(seed=0)
    env.step(np.array([0]))
    with pytest.raises(UserError, match="call reset"):
        env.step(np.array([0]))
    with pytest.raises(UserError, match="seed=4611686018427387904"):
        env.reset(seed=2**62)


def test_a_learned_shop_is_observed_through_its_encoder() -> None:
    # Why: the encoder's state is what carries a policy over to the true shop.
    model = learned_shop()
    encoded, plain = RecEnv(model), RecEnv(model, observation="history")
    assert encoded.shell.core.spec.kind == "encoder" and plain.shell.core.spec.kind == "history"
    assert encoded.observation_space.shape[0] == model.num_encoded + 2 + NUM_SITE
    assert not model.training
