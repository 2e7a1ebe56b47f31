"""What all Gymnasium classes share: spaces, NumPy out, and the page as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from recgym.ads.records import AdTransition
from recgym.envs.ads import AdCore
from recgym.envs.core import ShopCore, Transition
from recgym.types import After, Kind, Observation, Outcome

Array = NDArray[Any]
AFTER_TEXT = ("", ", made it a favourite", ", put it into the cart", ", bought it")


class Translator:
    """Translates between Gymnasium's spaces and the records of a core.

    Args:
        core: what is stepped.
        num_features: O, of its flat observation.
        num_slots: K, slots of a page.
        action_space: of one lane.
    """

    core: Any  # a `ShopCore` or an `AdCore`
    shown: Any  # the last page's transition, for `text`

    def __init__(
        self,
        core: ShopCore | AdCore,
        num_features: int,
        num_slots: int,
        action_space: spaces.Space[Any],
    ) -> None:
        self.core, self.num_slots, self.shown = core, num_slots, None
        self.single_action_space = action_space
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (num_features,), np.float32)
        self.action_space = batch_space(action_space, core.num_envs)
        self.observation_space = batch_space(self.single_observation_space, core.num_envs)

    def decoded(self, action: Any) -> Any:
        """A batch of actions as the core takes them."""
        raise NotImplementedError

    def mask(self, observation: Any) -> Array | None:
        """What an action may be, one row a lane, int8; None where the actions are not finite."""
        raise NotImplementedError

    def action_masks(self) -> Array:
        """The masks as MaskablePPO reads them, bool."""
        raise NotImplementedError

    def page_info(self, transition: Any) -> dict[str, Tensor]:
        """What the last page brought, [N] or [N, ...] each; money in currency units."""
        outcome = transition.outcome
        return {
            "impressions": outcome.impressions,
            "clicked": outcome.clicked,
            "carted": outcome.carted,
            "orders": outcome.bought.double(),
            "revenue": outcome.revenue.double(),
        }

    def begun_info(self) -> dict[str, Tensor]:
        """Who stands in each lane, [N] each."""
        arrival = self._base(self.core.observation).arrival
        return {"shopper": arrival.seed, "session": arrival.session}

    def text(self, lane: int) -> str:
        """The last page of a lane, the shopper's answer and the money."""
        if self.shown is None:
            return "No page has been shown yet."
        one = slice(lane, lane + 1)
        seen: Observation = self._base(self.shown.final_observation)
        visit, who = seen.visit.lanes(one), seen.arrival.lanes(one)
        outcome: Outcome = self.shown.outcome.lanes(one)
        event, slot = outcome.event, int(outcome.event.slot)
        started = datetime.fromtimestamp(int(who.start_ms) / 1000, UTC)
        lines = [
            f"Shopper {int(who.seed)}, session {int(who.session)} ({started:%Y-%m-%d %H:%M} UTC), "
            f"page {int(visit.page_number)}"
        ]
        for k in range(self.num_slots):
            item, price = int(outcome.page.item[0, k]), float(outcome.page.price[0, k])
            row = f"item {item:>6}  {price:>10.2f}" if item >= 0 else "(empty)"
            row += self._beside(lane, k)
            lines.append(f"{k + 1:>3}. {row}{'  <- clicked' if k == slot else ''}")
        lines.append(_answer(Kind(int(event.kind)), int(event.item), slot, After(int(event.after))))
        lines.append(f"Paid {float(outcome.revenue):.2f}; cart {float(visit.cart_value()):.2f}.")
        return "\n".join([*lines, *self._below(lane)])

    def _base(self, observation: Any) -> Observation:
        """What a recommender sees of an observation."""
        raise NotImplementedError

    def _beside(self, lane: int, slot: int) -> str:
        """What the text says behind a slot."""
        return ""

    def _below(self, lane: int) -> list[str]:
        """Lines under the text."""
        return []


Stepped = Transition | AdTransition


def array(tensor: Tensor, dtype: Any = None) -> Array:
    """A NumPy copy: what a caller does to it never reaches the environment."""
    return np.array(tensor.cpu().numpy(), dtype=dtype, copy=True)


def _answer(kind: Kind, item: int, slot: int, after: After) -> str:
    if kind == Kind.LEAVE:
        return "The shopper left."
    if kind == Kind.CHECKOUT:
        return "The shopper paid for the cart."
    source = f"clicked item {item} at position {slot + 1}" if slot >= 0 else f"found item {item}"
    return f"The shopper {source}{AFTER_TEXT[after]}."
