"""The figure of Stable-Baselines3's PPO over our lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from agents.sb3 import ShopVecEnv
from experiments.speed.figure import Figure
from experiments.speed.learning import beside_its_parts, default_lanes
from experiments.speed.setting import Setting
from experiments.speed.stepping import Stepping, learned_of, simulator_of
from recgym.envs.vector import RecVectorEnv

PPO_ROLLOUT = 2048  # transitions between two updates, as Stable-Baselines3's default for one lane
PPO_BATCH = 256
MOST_STEPS = 32  # of a rollout, where lanes are so few that 2,048 transitions take long
PPO_EPOCHS = 2  # passes over each rollout; the usual ten would hide the lanes behind the learner

Array = NDArray[Any]


class ConstantVecEnv(VecEnv):
    """Lanes whose steps cost nothing: what a learner of Stable-Baselines3 needs by itself."""

    render_mode: str | None = None

    def __init__(self, like: VecEnv) -> None:
        super().__init__(like.num_envs, like.observation_space, like.action_space)
        shape = (like.num_envs, *(like.observation_space.shape or ()))
        self._observation = np.zeros(shape, dtype=np.float32)
        self._reward = np.zeros(like.num_envs, dtype=np.float32)
        self._done = np.zeros(like.num_envs, dtype=np.bool_)
        self._infos: list[dict[str, Any]] = [{} for _ in range(like.num_envs)]

    def reset(self) -> Array:
        """Always the same."""
        return self._observation

    def step_async(self, actions: Array) -> None:
        """Nothing follows from them."""

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Always the same."""
        return self._observation, self._reward, self._done, self._infos

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute, which all lanes share."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set it for all lanes."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """There is none to call."""
        raise NotImplementedError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never."""
        return [False for _ in self._get_indices(indices)]


def sb3_ppo(setting: Setting) -> Figure:
    """Steps/s of Stable-Baselines3's PPO over our lanes, one slot a page."""
    lanes, shop = setting.lanes_or(default_lanes()), learned_of(setting)
    device = "cuda" if setting.device.type == "cuda" else "cpu"
    env = ShopVecEnv(RecVectorEnv(shop, num_envs=lanes, action="item", num_slots=1))
    rollout_steps = max(1, min(MOST_STEPS, PPO_ROLLOUT // lanes))

    def model_over(lanes_of: VecEnv) -> Callable[[], None]:
        batch = min(PPO_BATCH, rollout_steps * lanes)
        model = PPO(
            "MlpPolicy",
            lanes_of,
            n_steps=rollout_steps,
            batch_size=batch,
            n_epochs=PPO_EPOCHS,
            seed=0,
            device=device,
        )

        def learn() -> None:
            model.learn(rollout_steps * lanes, reset_num_timesteps=False)

        return learn

    return beside_its_parts(
        "sb3_ppo", lanes, rollout_steps, model_over(env), Stepping(simulator_of(shop, 1), lanes, 1),
        model_over(ConstantVecEnv(env)), setting,
        {"rollout_steps": rollout_steps, "batch_size": PPO_BATCH, "epochs": PPO_EPOCHS},
        learner_steps=rollout_steps,
    )  # fmt: skip
