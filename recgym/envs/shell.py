"""What both Gymnasium classes share: spaces, actions in, NumPy out, and the page as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from recgym.envs.core import ShopCore, Transition, open_core
from recgym.errors import UserError
from recgym.types import After, Kind, Observation
from recgym.users.base import Shoppers

Array = NDArray[Any]
AFTER_TEXT = ("", ", made it a favourite", ", put it into the cart", ", bought it")


class Shell:
    """Translates between Gymnasium's spaces and the records of a `ShopCore`.

    Its keywords are those of `recgym.envs.single.RecEnv`.
    """

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
        self.core: ShopCore = open_core(
            shop, num_envs=num_envs, num_slots=num_slots, reward=reward,
            observation=observation, num_sessions=num_sessions, max_pages=max_pages,
            device=device, compile=compile, encoder=encoder,
        )  # fmt: skip
        self.shop_name = shop if isinstance(shop, str) else type(shop).__name__
        self.num_slots, self.allow_empty = num_slots, allow_empty
        self.num_items = self.core.spec.catalog.num_items
        self.num_values = self.num_items + allow_empty  # of each slot's action
        self.single_action_space: spaces.Space[Any] = (
            spaces.Discrete(self.num_values)
            if action == "item"
            else spaces.MultiDiscrete([self.num_values] * num_slots)
        )
        shape = (self.core.spec.num_features,)
        self.single_observation_space = spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.shown: Transition | None = None  # the last page, for `text`

    def items(self, action: Any) -> Tensor:
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

    def begun_info(self) -> dict[str, Tensor]:
        """Who stands in each lane, [N] each."""
        arrival = self.core.observation.arrival
        return {"shopper": arrival.seed, "session": arrival.session}

    def page_info(self, transition: Transition) -> dict[str, Tensor]:
        """What the last page brought, [N] each; money in currency units."""
        outcome = transition.outcome
        return {
            "impressions": outcome.impressions,
            "clicked": outcome.clicked,
            "carted": outcome.carted,
            "orders": outcome.bought.double(),
            "revenue": outcome.revenue.double(),
        }

    def text(self, lane: int) -> str:
        """The last page of a lane, the shopper's answer and the money."""
        if self.shown is None:
            return "No page has been shown yet."
        visit = self.shown.final_observation.visit.lanes(slice(lane, lane + 1))
        who = self.shown.final_observation.arrival.lanes(slice(lane, lane + 1))
        outcome = self.shown.outcome.lanes(slice(lane, lane + 1))
        event, slot = outcome.event, int(outcome.event.slot)
        started = datetime.fromtimestamp(int(who.start_ms) / 1000, UTC)
        lines = [
            f"Shopper {int(who.seed)}, session {int(who.session)} ({started:%Y-%m-%d %H:%M} UTC), "
            f"page {int(visit.page_number)}"
        ]
        for k in range(self.num_slots):
            item, price = int(outcome.page.item[0, k]), float(outcome.page.price[0, k])
            row = f"item {item:>6}  {price:>10.2f}" if item >= 0 else "(empty)"
            lines.append(f"{k + 1:>3}. {row}{'  <- clicked' if k == slot else ''}")
        lines.append(_answer(Kind(int(event.kind)), int(event.item), slot, After(int(event.after))))
        lines.append(f"Paid {float(outcome.revenue):.2f}; cart {float(visit.cart_value()):.2f}.")
        return "\n".join(lines)


def _answer(kind: Kind, item: int, slot: int, after: After) -> str:
    if kind == Kind.LEAVE:
        return "The shopper left."
    if kind == Kind.CHECKOUT:
        return "The shopper paid for the cart."
    source = f"clicked item {item} at position {slot + 1}" if slot >= 0 else f"found item {item}"
    return f"The shopper {source}{AFTER_TEXT[after]}."


def array(tensor: Tensor, dtype: Any = None) -> Array:
    """A NumPy copy: what a caller does to it never reaches the environment."""
    return np.array(tensor.cpu().numpy(), dtype=dtype, copy=True)
