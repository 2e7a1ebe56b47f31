"""Many shoppers side by side, as a Gymnasium vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from recgym.envs.core import MAX_PAGES
from recgym.envs.shell import Shell
from recgym.envs.translator import Array, Stepped, Translator, array
from recgym.errors import UserError
from recgym.users.base import Shoppers


class ManyLanes(gym.vector.VectorEnv[Array, Array, Array]):
    """A core of N lanes behind Gymnasium's verbs.

    Args:
        shell: translates spaces and records.
        render_mode: `ansi`, or None.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "render_fps": 1,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(self, shell: Translator, render_mode: str | None) -> None:
        self.shell = shell
        self.num_envs, self.render_mode = shell.core.num_envs, render_mode
        self.single_action_space = self.shell.single_action_space
        self.single_observation_space = self.shell.single_observation_space
        self.action_space, self.observation_space = (
            self.shell.action_space,
            self.shell.observation_space,
        )
        self._seeded = False

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Begin an episode in every lane.

        Args:
            seed: of lane 0, with seed + i for lane i, or one a lane; None goes on to each shopper's
                next episode.
            options: not used.
        """
        first = seed if seed is None or isinstance(seed, int) else None
        super().reset(seed=first)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**62 - self.num_envs))
        self._seeded, self.shell.shown = True, None
        observation = self.shell.core.reset(self._lane_seeds(seed))
        everyone = np.ones(self.num_envs, dtype=np.bool_)
        info = {**_masked(self.shell.begun_info(), everyone), **self._mask(observation, everyone)}
        return array(observation.feature, np.float32), info

    def _lane_seeds(self, seed: int | Sequence[int] | None) -> int | Tensor | None:
        if seed is None or isinstance(seed, int):
            return seed
        if len(seed) != self.num_envs:
            raise UserError(f"seed has {len(seed)} numbers: expected num_envs={self.num_envs}.")
        return torch.tensor(list(seed), dtype=torch.int64)

    def step(self, actions: Any) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Show one page in every lane."""
        if not self._seeded:
            raise UserError("step() needs a running episode: call reset() first.")
        stepped = self.shell.core.step(self.shell.decoded(actions))
        self.shell.shown = stepped
        terminated, truncated = array(stepped.terminated), array(stepped.truncated)
        return (
            array(stepped.observation.feature, np.float32),
            array(stepped.reward, np.float64),
            terminated,
            truncated,
            self._info(stepped, terminated | truncated),
        )

    def _info(self, stepped: Stepped, ended: Array) -> dict[str, Any]:
        page = self.shell.page_info(stepped)
        everyone = np.ones_like(ended)
        info = {**_masked(page, ~ended), **self._mask(stepped.observation, everyone)}
        if ended.any():
            info.update(_masked(self.shell.begun_info(), ended))
            info["final_obs"] = array(stepped.final_observation.feature, np.float32)
            mask = self._mask(stepped.final_observation, ended)
            info["final_info"] = {**_masked(page, ended), **mask}
            info["_final_obs"], info["_final_info"] = ended.copy(), ended.copy()
        return info

    def _mask(self, observation: Any, present: Array) -> dict[str, Array]:
        # not zeroed where absent: most often one row stands for all lanes
        mask = self.shell.mask(observation)
        return {} if mask is None else {"action_mask": mask, "_action_mask": present.copy()}

    def action_masks(self) -> Array:
        """The masks as sb3-contrib's MaskablePPO reads them, bool: slot after slot."""
        return self.shell.action_masks()

    def render(self) -> tuple[str, ...] | None:
        """The last page of each lane, the shopper's answer and the money, as text."""
        if self.render_mode != "ansi":
            return None
        return tuple(self.shell.text(lane) for lane in range(self.num_envs))


class RecVectorEnv(ManyLanes):
    """N shoppers that step together; lane i replays `RecEnv` with seed + i.

    Observation, action, reward, episode end and state are those of `RecEnv`, with a leading axis
    of N: observations float32 [N, O], actions int64 [N, K] (slate) or [N] (item), rewards float64
    [N], ``terminated`` and ``truncated`` bool [N].

    **Auto-reset** in the same step (`AutoresetMode.SAME_STEP`): a lane whose episode ends returns
    the first observation of its shopper's next episode. When any lane ended, ``info["final_obs"]``
    holds the last observations as one dense float32 [N, O] array (row i equals the observation
    where lane i goes on) and ``info["final_info"]`` the last infos, with the masks ``_final_obs``
    and ``_final_info``.

    **Info**: the keys of `RecEnv`, each an array over the lanes with its ``_`` mask: what a page
    brought where the lane goes on, ``shopper`` and ``session`` where an episode began.
    ``action_mask`` int8 [N, n]: ``action_space.sample(mask=tuple(mask))`` for items; for slates
    ``single_action_space.sample(mask=(row,) * num_slots)`` lane by lane, since Gymnasium batches
    them into a Box, which takes no mask.

    Args:
        num_envs: N.
        max_episode_steps: what `gymnasium.make_vec` calls the limit; the smaller one of this and
            ``max_pages`` holds.
        shop, action, num_slots, reward, observation, num_sessions, max_pages, allow_empty, device,
            compile, encoder, render_mode: as in `RecEnv`.
    """

    def __init__(
        self,
        shop: str | Shoppers = "world:default",
        *,
        num_envs: int = 1,
        action: str = "slate",
        num_slots: int = 10,
        reward: str = "revenue",
        observation: str | None = None,
        num_sessions: int = 1,
        max_pages: int = MAX_PAGES,
        max_episode_steps: int | None = None,
        allow_empty: bool = False,
        device: str = "cpu",
        compile: bool = False,
        encoder: Shoppers | None = None,
        render_mode: str | None = None,
    ) -> None:
        shell = Shell(
            shop=shop, action=action, num_slots=num_slots, reward=reward,
            observation=observation, num_sessions=num_sessions,
            max_pages=min(max_pages, max_episode_steps or max_pages), allow_empty=allow_empty,
            device=device, compile=compile, num_envs=num_envs, encoder=encoder,
        )  # fmt: skip
        super().__init__(shell, render_mode)


def _masked(values: dict[str, Tensor], present: Array) -> dict[str, Any]:
    """Gymnasium's vector infos: zero where absent, beside a mask; nothing where all are absent."""
    if not present.any():
        return {}
    info: dict[str, Any] = {}
    for name, value_N in values.items():
        value = array(value_N)
        there = present.reshape(-1, *[1] * (value.ndim - 1))
        info[name] = np.where(there, value, np.zeros_like(value))
        info[f"_{name}"] = present.copy()
    return info
