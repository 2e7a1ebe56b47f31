"""The environment as tensors: what the Gymnasium shells and our own agents step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym.compiling import compiled
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.reward import Reward, reward_named
from recgym.shops import open_shop, with_encoder
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation, Outcome
from recgym.users.base import Shoppers

MAX_PAGES = 100  # pages of an episode before it is truncated
MAX_SEED = 2**62  # lane seeds are int64 and lane i takes seed + i


@dataclass(frozen=True)
class Transition(Record):
    """What one page brought each lane."""

    observation: Observation  # what to act on next: of a new episode where one ended
    final_observation: Observation  # before auto-reset, in every lane: what a target bootstraps on
    reward: Tensor  # [N] float
    terminated: Tensor  # [N] bool, the shopper left for good
    truncated: Tensor  # [N] bool, the page limit was reached (and the shopper had not left)
    outcome: Outcome
    # [N, K] of a log's page: chance of each item given those above, NaN where the log is silent
    propensity: Tensor | None = None


def lane_seeds(seed: int | Tensor, num_envs: int, device: torch.device) -> Tensor:
    """The shopper of each lane, [N] int64: seed + i, or those given."""
    if isinstance(seed, Tensor):
        return seed.to(device, torch.int64)
    if not 0 <= seed < MAX_SEED:
        raise UserError(f"seed={seed}: expected a whole number in [0, 2**62).")
    return seed + torch.arange(num_envs, device=device)


class ShopCore:
    """Shoppers of one shop, one episode a lane, auto-reset in the same step.

    An episode is one session, or, where the simulator's ``num_sessions`` is more, the sessions for
    which a shopper comes back. Lane i of ``reset(s)`` plays the sessions 0, 1, 2, ... of shopper
    s + i one after another, so what a lane meets does not depend on the other lanes; of several
    sessions, episode e begins with session ``e * num_sessions``.

    Args:
        spec: observations, and through ``spec.simulator`` the shop and ``num_sessions``.
        reward: function of the outcome, or its name in `recgym.reward.REWARDS`.
        num_envs: N, lanes.
        max_pages: pages of a session before the episode is truncated.
        compile: whether steps run through `torch.compile`: the first one takes a minute, those
            after it are several times faster with few lanes. Needs a C++ compiler.
    """

    state: SimState
    observation: Observation  # of every lane now; what the next page is chosen on

    def __init__(
        self,
        spec: ObservationSpec,
        reward: Reward | str = "revenue",
        *,
        num_envs: int = 1,
        max_pages: int = MAX_PAGES,
        compile: bool = False,
    ) -> None:
        for name, value in (("num_envs", num_envs), ("max_pages", max_pages)):
            if value < 1:
                raise UserError(f"{name}={value}: expected at least 1.")
        self.spec, self.simulator = spec, spec.simulator
        self.reward = reward_named(reward) if isinstance(reward, str) else reward
        self.num_envs, self.max_pages = num_envs, max_pages
        self.device = spec.catalog.category.device
        self._begin, self._play, self._step = self._begun, self._played, self._stepped
        if compile:
            self._begin, self._play = compiled(self._begun), compiled(self._played)
            self._step = compiled(self._stepped)

    def reset(self, seed: int | Tensor | None = None) -> Observation:
        """Begin an episode in every lane.

        Args:
            seed: of lane 0, with seed + i for lane i; or one a lane, [N] int64; sessions then
                start at 0. None: each lane goes on to its shopper's next episode.
        """
        if seed is None:
            seed_N = self.state.arrival.seed
            session_N = self.simulator.next_episode(self.state.arrival.session)
        else:
            seed_N = lane_seeds(seed, self.num_envs, self.device)
            session_N = torch.zeros_like(seed_N)
        self.state, self.observation = self._begin(seed_N, session_N)
        return self.observation

    def state_dict(self) -> dict[str, Any]:
        """All that the running lanes are, as tensors."""
        return self.state.packed()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the lanes whose state this is, of the same shop and of as many lanes."""
        self.state = self.state.unpacked(state)
        self.observation = self.spec.observe(self.state)

    def play(self, item_NK: Tensor) -> Transition:
        """Show a page in every lane, without auto-reset.

        Args:
            item_NK: items in [0, I), -1 for an empty slot; a repeated item or one that is not
                eligible leaves its slot empty.
        """
        self.state, played = self._play(self.state, self.observation.eligible, item_NK)
        self.observation = played.observation
        return played

    def step(self, item_NK: Tensor) -> Transition:
        """Show a page in every lane; a lane whose episode ends begins its next one."""
        self.state, stepped = self._step(self.state, self.observation.eligible, item_NK)
        self.observation = stepped.observation
        return stepped

    def _begun(self, seed_N: Tensor, session_N: Tensor) -> tuple[SimState, Observation]:
        """`reset` as a function, which `torch.compile` takes whole."""
        state = self.simulator.reset(seed_N, session_N)
        return state, self.spec.observe(state)

    def _played(
        self, state: SimState, eligible_NI: Tensor, item_NK: Tensor
    ) -> tuple[SimState, Transition]:
        """`play` as a function of the state."""
        eligible_NK = eligible_NI.gather(-1, item_NK.clamp(min=0))
        page = self.simulator.page(state, item_NK.masked_fill(~eligible_NK, -1))
        state, outcome = self.simulator.step(state, page)
        observation = self.spec.observe(state)
        last_N = state.visit.page_number >= self.max_pages
        return state, Transition(
            observation=observation,
            final_observation=observation,
            reward=self.reward(outcome),
            terminated=outcome.gone,
            truncated=last_N & ~outcome.gone,
            outcome=outcome,
        )

    def _stepped(
        self, state: SimState, eligible_NI: Tensor, item_NK: Tensor
    ) -> tuple[SimState, Transition]:
        """`step` as a function of the state."""
        state, played = self._played(state, eligible_NI, item_NK)
        state = self.simulator.renew(state, played.terminated | played.truncated)
        return state, dataclasses.replace(played, observation=self.spec.observe(state))


def open_core(
    shop: str | Shoppers = "world:default",
    *,
    num_envs: int = 1,
    num_slots: int = 10,
    reward: str = "revenue",
    observation: str | None = None,
    num_sessions: int = 1,
    max_pages: int = MAX_PAGES,
    device: str = "cpu",
    compile: bool = False,
    encoder: Shoppers | None = None,
) -> ShopCore:
    """A core over a shop's name, or over a shop itself.

    Args:
        shop: as in `recgym.shops.open_shop`, or an object that obeys `Shoppers`.
        num_envs: N, lanes.
        num_slots: K, slots of a page.
        reward: a name in `recgym.reward.REWARDS`.
        observation: `encoder` or `history`; None takes `encoder` where the shop has one.
        num_sessions: of an episode at most, in a shop whose shoppers come back.
        max_pages: pages of a session before the episode is truncated.
        device: of a shop given by name; an object stays where it is.
        compile: as in `ShopCore`.
        encoder: a fitted user model that reads the observations; None: the shop itself, if it can.
    """
    chosen = reward_named(reward)
    if num_slots < 1:
        raise UserError(f"num_slots={num_slots}: expected at least 1.")
    opened, own = open_shop(shop, device) if isinstance(shop, str) else with_encoder(shop)
    encoder = own if encoder is None else encoder
    kind = observation or ("encoder" if encoder is not None else "history")
    simulator = Simulator(
        opened,
        encoder=encoder if kind == "encoder" else None,
        num_slots=num_slots,
        num_sessions=num_sessions,
        expected_revenue=reward == "expected_revenue",  # it costs a pass over the catalogue
        dtype=opened.catalog.price.dtype,
    )
    return ShopCore(
        ObservationSpec(simulator, kind),
        chosen,
        num_envs=num_envs,
        max_pages=max_pages,
        compile=compile,
    )
