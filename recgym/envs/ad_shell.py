"""The spaces of pages with ads: one form of action for each task."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from recgym.ads.records import AdObservation, AdTransition, Plan
from recgym.envs.ads import AdCore, open_ad_core
from recgym.envs.translator import Array, Translator, array
from recgym.errors import UserError
from recgym.types import Observation


class AdShell(Translator):
    """Translates between Gymnasium's spaces and the records of an `AdCore`.

    Args:
        task: as in `recgym.envs.ads.open_ad_core`, like the settings.
        settings: other keywords of it.
    """

    core: AdCore

    def __init__(self, *, task: str, **settings: Any) -> None:
        core = open_ad_core(task=task, **settings)
        self.platform, self.task = core.platform, core.platform.task
        num_slots, num_items = self.task.num_slots, core.spec.catalog.num_items
        self.num_items = num_items
        pattern_JK = self.task.pattern_JK
        # a slot that no set of ads may take; which ads there are is known on each page
        self._may_K = array(pattern_JK.any(0), np.int8)
        action_space: dict[str, spaces.Space[Any]] = {
            "allocate": spaces.MultiBinary(num_slots),
            "insert": spaces.Discrete(self.task.num_options),
            "joint": spaces.MultiDiscrete([num_items] * num_slots + [2] * num_slots),
            "price": spaces.Box(0.0, 1.0, (3,), np.float32),
        }
        super().__init__(core, core.platform.num_features, num_slots, action_space[task])

    def decoded(self, action: Any) -> Plan:
        """A batch of actions as the plans of each lane's page."""
        action_N = np.asarray(action)
        space, count = self.single_action_space, self.core.num_envs
        shape, name = (count, *(space.shape or ())), self.task.name
        finite = name != "price"
        if action_N.shape != shape or not np.issubdtype(
            action_N.dtype, np.integer if finite else np.number
        ):
            raise UserError(
                f"action has shape {action_N.shape} and dtype {action_N.dtype}: expected "
                f"{'whole numbers' if finite else 'numbers'} of shape {shape}, of {space}."
            )
        low, high = self._bounds()
        wrong = ~((action_N >= low) & (action_N <= high))
        if wrong.any():
            raise UserError(
                f"action has {action_N[wrong][0]}: expected a value of {space}, task={name!r}."
            )
        kept = action_N.astype(np.int64 if finite else np.float64)
        seen = self.core.observation
        action_t = torch.from_numpy(kept).to(self.core.device)
        return self.task.decoded(seen.request, seen.market, action_t)

    def _bounds(self) -> tuple[Any, Any]:
        space = self.single_action_space
        if isinstance(space, spaces.Discrete):
            return 0, int(space.n) - 1
        if isinstance(space, spaces.MultiDiscrete):
            return 0, space.nvec - 1
        return 0, 1

    def mask(self, observation: AdObservation) -> Array | None:
        """What an action may be, int8.

        Of each option (insert), each slot (allocate), each item and then each slot (joint); None
        for prices.
        """
        name, options = self.task.name, observation.options
        if name == "price" or options is None:
            return None
        if name == "insert":
            return array(options.allowed, np.int8)
        there_N1 = array(options.num_ads.amax(-1, keepdim=True) > 0, np.int8)
        may_NK = there_N1 * self._may_K
        if name == "allocate":
            return np.asarray(may_NK)
        return np.concatenate([array(observation.base.eligible, np.int8), may_NK], -1)

    def action_masks(self) -> Array:
        """The masks as MaskablePPO reads them, bool: of each value of each part of an action."""
        mask = self.mask(self.core.observation)
        if mask is None:
            raise UserError("task='price' has no masks: its actions are numbers in [0, 1].")
        if self.task.name == "insert":
            return mask.astype(np.bool_)
        item_NI, may_NK = np.split(mask, [-self.num_slots], -1)
        pair_NK2 = np.stack([np.ones_like(may_NK), may_NK], -1).reshape(len(mask), -1)
        whole = np.concatenate([np.tile(item_NI, (1, self.num_slots)), pair_NK2], -1)
        return np.asarray(whole.astype(np.bool_))

    def page_info(self, transition: AdTransition) -> dict[str, Tensor]:
        """What the last page brought, [N] each, and the reward's parts [N, W]."""
        ads = transition.ads
        return {
            **super().page_info(transition),
            "ads": (ads.campaign >= 0).sum(-1),
            "ad_clicked": ads.clicked_campaign >= 0,
            "ad_revenue": ads.ad_revenue(),
            "sponsored_sales": ads.sponsored_sales.double(),
            "reward_parts": ads.parts.double(),
        }

    def _base(self, observation: AdObservation) -> Observation:
        return observation.base

    def _beside(self, lane: int, slot: int) -> str:
        shown: AdTransition = self.shown
        campaign = int(shown.ads.campaign[lane, slot])
        return "" if campaign < 0 else f"  [ad of campaign {campaign}]"

    def _below(self, lane: int) -> list[str]:
        shown: AdTransition = self.shown
        paid = float(shown.ads.ad_revenue()[lane])
        event = self.platform.market.event
        return [f"Campaigns paid {paid:.4f}, for each {event}."]
