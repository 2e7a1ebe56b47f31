"""The spaces of a shop without ads: items in, one mask for all slots."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from recgym.envs.core import ShopCore, open_core
from recgym.envs.translator import Array, Translator, array
from recgym.errors import UserError
from recgym.types import Observation
from recgym.users.base import Shoppers


class Shell(Translator):
    """Translates between Gymnasium's spaces and the records of a `ShopCore`.

    Its keywords are those of `recgym.envs.single.RecEnv`.
    """

    core: ShopCore

    def __init__(
        self,
        *,
        shop: str | Shoppers,
        action: str,
        num_slots: int,
        reward: str,
        observation: str | None,
        num_sessions: int,
        max_pages: int,
        allow_empty: bool,
        device: str,
        compile: bool,
        num_envs: int,
        encoder: Shoppers | None,
    ) -> None:
        if action not in ("slate", "item"):
            raise UserError(f"action={action!r} is unknown: expected 'slate' or 'item'.")
        if action == "item" and num_slots != 1:
            raise UserError(
                f"num_slots={num_slots} with action='item': an item action fills one slot; use "
                "RecGym/Slate-v0 for more."
            )
        core = open_core(
            shop, num_envs=num_envs, num_slots=num_slots, reward=reward,
            observation=observation, num_sessions=num_sessions, max_pages=max_pages,
            device=device, compile=compile, encoder=encoder,
        )  # fmt: skip
        self.shop_name = shop if isinstance(shop, str) else type(shop).__name__
        self.allow_empty = allow_empty
        self.num_items = core.spec.catalog.num_items
        self.num_values = self.num_items + allow_empty  # of each slot's action
        action_space: spaces.Space[Any] = (
            spaces.Discrete(self.num_values)
            if action == "item"
            else spaces.MultiDiscrete([self.num_values] * num_slots)
        )
        super().__init__(core, core.spec.num_features, num_slots, action_space)

    def decoded(self, action: Any) -> Tensor:
        """A batch of actions as items [N, K], -1 for an empty slot."""
        action_N = np.asarray(action)
        expected = (self.core.num_envs, *(self.single_action_space.shape or ()))
        if action_N.shape != expected or not np.issubdtype(action_N.dtype, np.integer):
            raise UserError(
                f"action has shape {action_N.shape} and dtype {action_N.dtype}: expected whole "
                f"numbers of shape {expected}, one for each slot."
            )
        wrong = (action_N < 0) | (action_N >= self.num_values)
        if wrong.any():
            raise UserError(
                f"slate has item {action_N[wrong][0]}, but the catalogue holds {self.num_items} "
                f"items (shop={self.shop_name}): items must be in [0, {self.num_items})"
                + (f", or {self.num_items} for an empty slot" if self.allow_empty else "")
            )
        item_NK = action_N.reshape(self.core.num_envs, self.num_slots).astype(np.int64)
        item_NK[item_NK == self.num_items] = -1
        return torch.from_numpy(item_NK).to(self.core.device)

    def mask(self, observation: Observation) -> Array:
        """What any one slot of a lane may hold, [N, n] int8; all its slots share it.

        Where all lanes may be shown the same, it is one row seen N times, which cannot be written.
        """
        eligible_NI = observation.eligible
        lanes, shared = len(eligible_NI), eligible_NI.stride(0) == 0
        mask_Nn = array(eligible_NI[:1] if shared else eligible_NI, np.int8)
        if self.allow_empty:
            mask_Nn = np.pad(mask_Nn, ((0, 0), (0, 1)), constant_values=1)
        return np.broadcast_to(mask_Nn, (lanes, self.num_values)) if shared else mask_Nn

    def action_masks(self) -> Array:
        """One mask after another for the K slots, [N, K * n] bool, as MaskablePPO reads them."""
        return np.tile(self.mask(self.core.observation).astype(np.bool_), (1, self.num_slots))

    def _base(self, observation: Observation) -> Observation:
        return observation
