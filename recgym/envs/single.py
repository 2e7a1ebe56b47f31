"""One shopper at a time, as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from torch import Tensor

from recgym.envs.core import MAX_PAGES
from recgym.envs.shell import Shell
from recgym.envs.translator import Array, Translator, array
from recgym.errors import UserError
from recgym.users.base import Shoppers


class OneLane(gym.Env[Array, Any]):
    """A core of one lane behind Gymnasium's verbs.

    Args:
        shell: translates spaces and records.
        render_mode: `ansi`, or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(self, shell: Translator, render_mode: str | None) -> None:
        self.shell = shell
        self.action_space = self.shell.single_action_space
        self.observation_space = self.shell.single_observation_space
        self.render_mode = render_mode
        self._seeded = False
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begin an episode; ``options`` are not used."""
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**62))
        self._seeded, self._running, self.shell.shown = True, True, None
        observation = self.shell.core.reset(seed)
        info = {name: value.item() for name, value in self.shell.begun_info().items()}
        return array(observation.feature[0], np.float32), {**info, **self._mask()}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Show one page."""
        if not self._running:
            raise UserError("step() needs a running episode: call reset() first.")
        played = self.shell.core.play(self.shell.decoded(np.asarray(action)[None]))
        self.shell.shown = played
        terminated, truncated = bool(played.terminated), bool(played.truncated)
        self._running = not (terminated or truncated)
        info = {name: _of_lane(value) for name, value in self.shell.page_info(played).items()}
        observation = array(played.observation.feature[0], np.float32)
        return observation, played.reward.item(), terminated, truncated, {**info, **self._mask()}

    def _mask(self) -> dict[str, Array]:
        mask = self.shell.mask(self.shell.core.observation)
        return {} if mask is None else {"action_mask": mask[0].copy()}

    def action_masks(self) -> Array:
        """The mask as sb3-contrib's MaskablePPO reads it, bool: slot after slot."""
        masks: Array = self.shell.action_masks()[0]
        return masks

    def render(self) -> str | None:
        """The last page, the shopper's answer and the money, as text."""
        return self.shell.text(0) if self.render_mode == "ansi" else None


class RecEnv(OneLane):
    """A shop in which an agent fills one page after another for one shopper.

    **Observation**: Box float32 [O], unbounded; what a site can know, no hidden state. The
    shopper's profile; items and value of the cart, whether this is the first page, page number,
    hour of arrival, seconds since the last page (each scaled to order 1); where an episode has
    several sessions, what `recgym.types.Past` counts; then `encoder`: the output of the fitted user
    model, or `history`: the last views as features.

    **Action**: `RecGym/Slate-v0` MultiDiscrete int64 [K], the item in each slot from the top;
    `RecGym/Item-v0` Discrete, the item in the only slot. Values 0 to I - 1 are items; where
    ``allow_empty``, I means an empty slot. An item that stands higher on the page already, or is
    not eligible now, leaves its slot empty.

    **Reward**: float, by name from `recgym.reward.REWARDS`; `revenue` in currency units paid.

    **Episode end**: ``terminated``: the shopper left and, with several sessions, will not come back
    or had the last one. ``truncated``: ``max_pages`` were shown in a session and the shopper had
    not left. Between two sessions of an episode there is no step: what is observed after the page
    that a shopper left on is the next session's first page. ``reset()`` goes on to the shopper's
    next episode, ``reset(seed=s)`` to session 0 of shopper s.

    **State**: `recgym.simulator.SimState` of one lane: the shopper's own state, the site's record
    of the visit (clock in ms UTC, cart, last views, items shown), the encoder's state.

    **Info**: ``action_mask`` int8 [n], 1 where a slot may hold the value, the same for every slot:
    ``action_space.sample(mask=mask)`` for an item, ``sample(mask=(mask,) * num_slots)`` for a
    slate (`action_masks` is the bool form that sb3-contrib's MaskablePPO calls). After a reset
    ``shopper`` and ``session``; after a step ``impressions``, ``clicked``, ``carted``, ``orders``,
    ``revenue`` (currency units) of this page.

    Args:
        shop: `world:default`, `world:NAME`, `model:DIR` (the folder of a fit), or a shop object.
        action: `slate` or `item`; the registered ids set it.
        num_slots: K, slots of a page.
        reward: a name in `recgym.reward.REWARDS`.
        observation: `encoder` or `history`; None takes `encoder` for a fitted model.
        num_sessions: of an episode at most, in a shop whose shoppers come back, such as
            `world:loyal`.
        max_pages: pages of a session before the episode is truncated.
        allow_empty: whether action I leaves a slot empty.
        device: `cpu`, `cuda` or `auto`.
        compile: whether steps run through `torch.compile`: the first one takes up to a minute,
            those after it are several times faster with few lanes. Needs a C++ compiler.
        encoder: a fitted user model that reads the observations of a true shop; None: the shop
            itself, if it is a fitted one.
        render_mode: `ansi`, or None.
    """

    def __init__(
        self,
        shop: str | Shoppers = "world:default",
        *,
        action: str = "slate",
        num_slots: int = 10,
        reward: str = "revenue",
        observation: str | None = None,
        num_sessions: int = 1,
        max_pages: int = MAX_PAGES,
        allow_empty: bool = False,
        device: str = "cpu",
        compile: bool = False,
        encoder: Shoppers | None = None,
        render_mode: str | None = None,
    ) -> None:
        shell = Shell(
            shop=shop, action=action, num_slots=num_slots, reward=reward,
            observation=observation, num_sessions=num_sessions, max_pages=max_pages,
            allow_empty=allow_empty, device=device, compile=compile, num_envs=1, encoder=encoder,
        )  # fmt: skip
        super().__init__(shell, render_mode)


def _of_lane(value: Tensor) -> Any:
    """The only lane's value as a plain number, or as an array where it has several."""
    return value.item() if value.dim() == 1 else array(value[0])
