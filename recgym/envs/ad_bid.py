"""One campaign's day as a Gymnasium environment: the advertiser's side of the ads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from recgym.ads.bidding import BidState, BidStream, PidPacing, PidState
from recgym.ads.records import MICROS, Campaigns
from recgym.envs.ad_settings import campaigns_from, keywords_for
from recgym.envs.translator import Array
from recgym.errors import UserError
from recgym.settings import Count, Positive, check
from recgym.shops import open_shop
from recgym.users.base import Shoppers

RECENT = 0.2  # weight of the newest step in what is remembered of steps
REWARDS = ("value", "profit")
ACTIONS = ("multiplier", "level")
FASTEST = 100.0  # times the even pace that spending is said to be at most


class AdBidEnv(gym.Env[Array, Any]):
    """An advertiser who bids on the requests of a day, with a budget for it.

    On each request the campaign bids its value of a click times the multiplier that was chosen;
    rivals bid what they have booked, and an auction fills the slots (`recgym.ads.bidding`). A step
    is ``requests_per_step`` requests. A bid above what is left of the budget takes no part.

    **Observation**: Box float32 [5]: shares of the day and of the budget that are left; of the
    last steps, the newest weighing most, the share of requests that won a slot, the spending beside
    an even pace, and what a click cost as a share of its value (0 before the first click).

    **Action**: `multiplier`: Box float32 [1] from 0 to ``most``; `level`: Discrete, of
    ``num_levels`` multipliers evenly from 0 to ``most``.

    **Reward**: float, currency units: `value` of the clicks, or `profit`, that less their cost.

    **Episode end**: ``terminated``: the day is over; never ``truncated``.

    **State**: `recgym.ads.bidding.BidState` of one lane. ``reset()`` goes on to the next day,
    ``reset(seed=s)`` to day 0 of seed s.

    **Info**: after a step ``won`` (requests), ``clicks``, ``spent`` and ``value`` (currency units)
    of the step, and ``multiplier``; after a reset ``day`` and ``budget`` (currency units).

    Args:
        shop: `world:default`, `world:NAME`, `model:DIR`, or a shop object: whose items are
            advertised.
        campaigns: keywords of `recgym.ads.campaigns.draw_campaigns`, or a list of campaigns.
        auction: keywords of `recgym.ads.bidding.BidStream`, such as ``own``, ``num_requests``,
            ``pricing`` and ``reaction``.
        requests_per_step: between two decisions.
        action: `multiplier` or `level`.
        most: largest multiplier.
        num_levels: of `level`, at least 2.
        reward: `value` or `profit`.
        render_mode: `ansi`, or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        shop: str | Shoppers = "world:default",
        *,
        campaigns: Mapping[str, Any] | Sequence[Mapping[str, Any]] | Campaigns | None = None,
        auction: Mapping[str, Any] | None = None,
        requests_per_step: Count = 5,
        action: str = "multiplier",
        most: Positive = 2.0,
        num_levels: Count = 11,
        reward: str = "value",
        render_mode: str | None = None,
    ) -> None:
        given = {"requests_per_step": requests_per_step, "most": most, "num_levels": num_levels}
        check("env", given, AdBidEnv)
        _named("action", action, ACTIONS)
        _named("reward", reward, REWARDS)
        if num_levels < 2:
            raise UserError(f"env.num_levels={num_levels}: expected at least 2, 0 and most.")
        catalog = (open_shop(shop, "cpu")[0] if isinstance(shop, str) else shop).catalog
        keywords = keywords_for("auction", auction or {}, BidStream)
        self.stream = BidStream(campaigns_from(campaigns, catalog), **keywords)
        self.num_steps, rest = divmod(self.stream.num_requests, requests_per_step)
        if rest:
            raise UserError(
                f"env.requests_per_step={requests_per_step}: expected a divisor of "
                f"auction.num_requests={self.stream.num_requests}."
            )
        self.requests_per_step, self.reward, self.render_mode = (
            requests_per_step,
            reward,
            render_mode,
        )
        self.level_L = np.linspace(0.0, most, num_levels) if action == "level" else None
        self.action_space = (
            spaces.Box(0.0, most, (1,), np.float32)
            if self.level_L is None
            else spaces.Discrete(num_levels)
        )
        high = np.array([1.0, 1.0, 1.0, FASTEST, FASTEST], np.float32)
        self.observation_space = spaces.Box(np.zeros(5, np.float32), high)
        self.state: BidState | None = None  # None where no day is running
        self._next = (0, 0)  # seed and day of the next reset
        self._seeded, self._said = False, ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begin a day; ``options`` are not used."""
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**62))
        lane, day = self._next if seed is None else (seed, 0)
        self._seeded, self._next, self._said = True, (lane, day + 1), ""
        self.state = self.stream.begin(torch.tensor([lane]), torch.tensor([day]))
        self._recent = np.zeros(3)  # won, pace, cost of a click
        return self._observed(), {"day": day, "budget": float(self.stream.budget) / MICROS}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Bid on the next requests."""
        if self.state is None:
            raise UserError("step() needs a running episode: call reset() first.")
        multiplier = self._decoded(action)
        bid_N = torch.tensor([multiplier], dtype=torch.float64)
        won, clicks, value, state = 0, 0, 0.0, self.state
        for _ in range(self.requests_per_step):
            state, outcome = self.stream.step(state, bid_N)
            won, clicks = won + int(outcome.slot >= 0), clicks + int(outcome.clicked)
            value += float(outcome.value)
        spent = float(state.spent - self.state.spent) / MICROS
        self.state = state
        self._remember(won, clicks, spent)
        info = {"won": won, "clicks": clicks, "spent": spent, "value": value,
                "multiplier": multiplier}  # fmt: skip
        self._said = (
            f"Bid {multiplier:.3f} of a click's value on {self.requests_per_step} requests: won "
            f"{won}, {clicks} clicks worth {value:.4f} for {spent:.4f}."
        )
        observation, ended = self._observed(), bool(outcome.ended)
        if ended:
            self.state = None
        return observation, value - spent * (self.reward == "profit"), ended, False, info

    def render(self) -> str | None:
        """The last step as text."""
        return self._said if self.render_mode == "ansi" else None

    def _decoded(self, action: Any) -> float:
        """The multiplier of an action."""
        given, space = np.asarray(action), self.action_space
        kind = np.number if self.level_L is None else np.integer
        if given.shape != space.shape or not np.issubdtype(given.dtype, kind):
            raise UserError(
                f"action has shape {given.shape} and dtype {given.dtype}: expected "
                f"{'numbers' if self.level_L is None else 'a whole number'} of shape "
                f"{space.shape}, of {space}."
            )
        if not space.contains(given.astype(space.dtype)):
            raise UserError(f"action has {given.ravel()[0]}: expected a value of {space}.")
        return float(given[0] if self.level_L is None else self.level_L[int(given)])

    def _remember(self, won: int, clicks: int, spent: float) -> None:
        even = float(self.stream.budget) / MICROS / self.num_steps
        worth = float(self.stream.campaigns.value[self.stream.own])
        now = np.array([won / self.requests_per_step, spent / even, 0.0])
        self._recent[:2] += RECENT * (now - self._recent)[:2]
        if clicks:
            self._recent[2] += RECENT * (spent / clicks / worth - self._recent[2])

    def _observed(self) -> Array:
        assert self.state is not None
        left = [float(share_N) for share_N in self.stream.share_left(self.state)]
        return np.array([*left, *self._recent.clip(0.0, FASTEST)], np.float32)


class PidBidder:
    """The baseline: `recgym.ads.bidding.PidPacing` on what the environment shows, for one day.

    Args:
        env: whose actions it takes.
        pacing: the controller; None: its defaults.
    """

    def __init__(self, env: AdBidEnv, pacing: PidPacing | None = None) -> None:
        self.env, self.pacing = env, pacing or PidPacing()
        nought_N = torch.zeros(1, dtype=torch.float64)
        self.memory = PidState(nought_N, nought_N)

    def act(self, observation: Array) -> Any:
        """The action, of the environment's space; of levels the nearest."""
        day_N, budget_N = (torch.tensor([float(x)], dtype=torch.float64) for x in observation[:2])
        multiplier_N: Tensor
        multiplier_N, self.memory = self.pacing.paced(
            day_N, budget_N, self.memory, self.env.num_steps
        )
        if self.env.level_L is not None:
            return int(np.abs(self.env.level_L - float(multiplier_N)).argmin())
        return multiplier_N.numpy().astype(np.float32)


def _named(name: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise UserError(f"env.{name}={given!r} is unknown: expected one of {', '.join(known)}.")
