"""Stable-Baselines3 in one file: our shoppers as its `VecEnv`, its models as our `Policy`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from recgym.envs.vector import RecVectorEnv
from recgym.types import Observation

Array = NDArray[Any]
Indices = int | Iterable[int] | None


class ShopVecEnv(VecEnv):
    """A `RecVectorEnv` behind the contract of Stable-Baselines3.

    Each step gives NumPy arrays and one dict a lane: ``TimeLimit.truncated``, and where an episode
    ended ``terminal_observation`` (a copy) and ``episode`` with its reward ``r``, length ``l`` in
    pages and the seconds ``t`` since this object was made.
    """

    def __init__(self, env: RecVectorEnv) -> None:
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._started = time.perf_counter()
        self._return = np.zeros(env.num_envs)
        self._length = np.zeros(env.num_envs, dtype=np.int64)
        self._actions: Array = np.zeros(0)

    def reset(self) -> Array:
        """Begin an episode in every lane, with the seeds of `seed` if it was called."""
        given = [seed for seed in self._seeds if seed is not None]
        observation, _ = self.env.reset(seed=given if len(given) == self.num_envs else None)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._return[:], self._length[:] = 0.0, 0
        return observation

    def step_async(self, actions: Array) -> None:
        """Take note of the actions."""
        self._actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Show the pages."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        self._return += reward
        self._length += 1
        infos: list[dict[str, Any]] = [
            {"TimeLimit.truncated": cut} for cut in (truncated & ~terminated).tolist()
        ]
        seconds = round(time.perf_counter() - self._started, 6)
        for lane in np.flatnonzero(done):
            infos[lane]["terminal_observation"] = info["final_obs"][lane].copy()
            infos[lane]["episode"] = {
                "r": float(self._return[lane]),
                "l": int(self._length[lane]),
                "t": seconds,
            }
        self._return[done], self._length[done] = 0.0, 0
        return observation, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Nothing is held outside Python."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """The attribute, which all lanes share."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set the attribute for all lanes, since they share it."""
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any
    ) -> list[Any]:
        """What the method of the vector environment returns, lane by lane."""
        rows = getattr(self.env, method_name)(*args, **kwargs)
        return [rows[lane] for lane in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Indices = None) -> list[bool]:
        """False: no lane is an environment of its own (episodes are counted here)."""
        return [False for _ in self._get_indices(indices)]


class Predicts(Protocol):
    """What every model of Stable-Baselines3 can do."""

    def predict(
        self, observation: Any, *, deterministic: bool = False
    ) -> tuple[Any, Any]:  # actions, recurrent state
        """Actions for a batch of observations."""
        ...


class PredictPolicy:
    """A trained model as a policy of RecGym: for roll-outs, evaluation and metrics.

    Args:
        model: anything with `predict`; trained on the same kind of observation and as many slots.
    """

    def __init__(self, model: Predicts) -> None:
        self.model = model

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items to show, [N, K]; action value I and items that are not eligible give -1."""
        feature = observation.feature.cpu().numpy().astype(np.float32)
        action, _ = self.model.predict(feature, deterministic=not explore)
        item_NK = torch.from_numpy(np.asarray(action, dtype=np.int64)).to(
            observation.eligible.device
        )
        item_NK = item_NK.view(len(feature), -1)
        num_items = observation.catalog.num_items
        shown_NK = observation.eligible.gather(-1, item_NK.clamp(max=num_items - 1))
        shown_NK = shown_NK & (item_NK < num_items)
        return torch.where(shown_NK, item_NK, torch.full_like(item_NK, -1))
