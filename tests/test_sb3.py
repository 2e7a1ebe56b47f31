"""agents.sb3: the contract of Stable-Baselines3, and that its agents learn through it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from probe_shop import ProbeShop
from stable_baselines3 import DQN, PPO

from agents.sb3 import PredictPolicy, ShopVecEnv
from recgym.envs.vector import RecVectorEnv
from recgym.rollout import rollout


def vec_env(num_envs: int = 4, **changed: Any) -> ShopVecEnv:
    settings: dict[str, Any] = {"shop": ProbeShop(), "action": "item", "num_slots": 1, **changed}
    return ShopVecEnv(RecVectorEnv(num_envs=num_envs, **settings))


def test_a_step_keeps_the_contract() -> None:
    # Why: SB3 reads these keys without asking; a second environment says what they should hold.
    env, plain = (vec_env(32, max_pages=3), RecVectorEnv(
        ProbeShop(), num_envs=32, action="item", num_slots=1, max_pages=3
    ))  # fmt: skip
    env.seed(11)
    np.testing.assert_array_equal(env.reset(), plain.reset(seed=11)[0])
    earned, length, ended = np.zeros(32), np.zeros(32, dtype=int), 0
    for _ in range(8):
        action = np.full(32, 3)
        observation, reward, done, infos = env.step(action)
        obs, plain_reward, terminated, truncated, info = plain.step(action)
        np.testing.assert_array_equal(observation, obs)
        np.testing.assert_allclose(reward, plain_reward, rtol=1e-6)
        np.testing.assert_array_equal(done, terminated | truncated)
        assert reward.dtype == np.float32 and done.dtype == np.bool_ and len(infos) == 32
        earned, length = earned + plain_reward, length + 1
        for lane, told in enumerate(infos):
            assert told["TimeLimit.truncated"] is bool(truncated[lane])
            assert ("terminal_observation" in told) == ("episode" in told) == bool(done[lane])
            if done[lane]:
                np.testing.assert_array_equal(told["terminal_observation"], info["final_obs"][lane])
                assert told["episode"]["r"] == pytest.approx(earned[lane])
                assert told["episode"]["l"] == length[lane] and told["episode"]["t"] >= 0
                earned[lane], length[lane], ended = 0.0, 0, ended + 1
    assert ended > 50


def test_terminal_observations_are_copies() -> None:
    # Why: a view of a batch keeps the batch alive, and a change of one would reach another.
    env = vec_env(2, max_pages=1)
    env.reset()
    _, _, done, infos = env.step(np.zeros(2, dtype=np.int64))
    assert done.all()
    assert all(info["terminal_observation"].base is None for info in infos)


def test_the_masks_of_sb3_contrib_come_lane_by_lane() -> None:
    # Why: MaskablePPO asks has_attr and stacks env_method.
    env = vec_env(3, action="slate", num_slots=2, allow_empty=True)
    env.reset()
    assert env.has_attr("action_masks") and not env.has_attr("no_such_thing")
    assert np.stack(env.env_method("action_masks")).shape == (3, 10)
    assert len(env.env_method("action_masks", indices=[1])) == 1
    assert env.env_is_wrapped(object) == [False] * 3


def test_ppo_takes_slates_of_several_slots() -> None:
    # Why: MultiDiscrete is what tells PPO's heads apart.
    env = vec_env(8, action="slate", num_slots=2)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=32, n_epochs=1, device="cpu", seed=0)
    model.learn(128)
    item_NK = PredictPolicy(model).act(env.env.shell.core.observation)
    assert item_NK.shape == (8, 2) and bool((item_NK >= 0).all())


class Constant:
    """Predicts the same action for every row."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, None]:
        assert isinstance(observation, np.ndarray) and observation.dtype == np.float32
        return np.array([self.action] * len(observation)), None


def test_predictions_become_items() -> None:
    # Why: by hand; of four items, action 4 is the empty slot.
    core = vec_env(2, action="slate", num_slots=3, allow_empty=True).env.shell.core
    observation = core.reset(0)
    assert PredictPolicy(Constant([1, 4, 0])).act(observation).tolist() == [[1, -1, 0]] * 2
    assert PredictPolicy(Constant(2)).act(observation).tolist() == [[2], [2]]
    eligible = observation.eligible.clone()
    eligible[:, 1] = False
    observation = dataclasses.replace(observation, eligible=eligible)
    assert PredictPolicy(Constant([1, 4, 0])).act(observation).tolist() == [[-1, -1, 0]] * 2


def test_dqn_learns_which_item_earns_most() -> None:
    # Why: an adapter that mixes up lanes, rewards or observations cannot learn. Items 0 to 3 earn
    # 5.85, 5.95, 6.16 and 6.49 on a first page (probe_shop's arithmetic; 10 % dearer on day 1).
    env = vec_env(16, max_pages=1, reward="expected_revenue")
    env.seed(0)
    model = DQN(
        "MlpPolicy", env, learning_rate=3e-3, learning_starts=64, train_freq=1, gamma=0.0,
        exploration_fraction=0.8, batch_size=128, target_update_interval=500, seed=0, device="cpu",
    )  # fmt: skip
    model.learn(6000)
    spec, seed = env.env.shell.core.spec, torch.arange(200)
    shown = PredictPolicy(model)
    assert (shown.act(env.env.shell.core.observation) == 3).float().mean() > 0.9
    session = torch.zeros_like(seed)
    learned = rollout(spec, shown, seed, session, max_pages=1).credited_revenue.mean()
    best = rollout(spec, PredictPolicy(Constant(3)), seed, session, max_pages=1)
    assert learned >= 0.99 * best.credited_revenue.mean()
