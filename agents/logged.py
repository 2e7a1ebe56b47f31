"""A log played again: what agents learn from that never step the learned shop.

Lanes play the sessions of the training period one after another: the pages that were shown, what
the shoppers did with them and what they paid. The user model reads along, so that an agent gets the
observations that it will get in a shop, and `agents.loop` serves both.

A log knows no expectations: every reward of money is the revenue that was paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym import visit
from recgym.build import target_of
from recgym.envs.core import Transition
from recgym.errors import UserError
from recgym.lanes import Record, where
from recgym.logs.log import Log
from recgym.reward import Reward
from recgym.simulator import SimState
from recgym.spaces import ObservationSpec
from recgym.types import After, Arrival, Kind, Observation, Outcome, Sessions, Split
from recgym.users.sessions import rows_of


def learns_from_log(agent: Mapping[str, Any]) -> bool:
    """Whether the agent of a ``conf/agent`` entry learns from the log's own pages."""
    return bool(getattr(target_of(agent), "from_log", False))


def check_pages(sessions: Sessions, source: str, agent: str) -> None:
    """Stop where an agent would learn from pages that the log does not hold."""
    if sessions.page.item.shape[1] == 0:
        raise UserError(
            f"agent={agent} learns from the pages that a log says were shown, and {source} does "
            "not say: choose an agent that learns in the learned shop, as agent=dqn, ppo or linucb."
        )


@dataclass(frozen=True)
class Replayed(Record):
    """Where each lane is."""

    turn: Tensor  # [N] int64, sessions that the lane has begun before this one
    step: Tensor  # [N] int64, row of the log's steps
    sim: SimState  # its shopper and its encoder are the user model's one state


class LoggedCore:
    """The training sessions of a log in lock-step lanes, in place of a shop's.

    Lane i plays the sessions i, i + N, i + 2N, ... of one random order, over and over.

    Args:
        spec: observations by the user model that was fitted on the log.
        sessions: of the log.
        paid_S: currency units paid in each step.
        reward: function of the outcome.
        num_envs: N, lanes.
        propensity_SK: as in `Transition`, of each step's page, where the log tells any.
        row_R: sessions that are played; None for those of the training period.
    """

    state: Replayed
    observation: Observation

    def __init__(
        self,
        spec: ObservationSpec,
        sessions: Sessions,
        paid_S: Tensor,
        reward: Reward,
        *,
        num_envs: int,
        propensity_SK: Tensor | None = None,
        row_R: Tensor | None = None,
    ) -> None:
        encoder = spec.simulator.encoder
        assert encoder is not None
        if spec.simulator.num_sessions > 1:
            raise UserError(
                f"num_sessions={spec.simulator.num_sessions} has no effect on a log's own pages, "
                "which are played session by session: use num_sessions=1."
            )
        self.spec, self.encoder, self.reward, self.num_envs = spec, encoder, reward, num_envs
        self.device = spec.catalog.category.device
        row_R = rows_of(sessions, Split.TRAIN) if row_R is None else row_R
        self.row_R = row_R.to(self.device)
        self.known_S, self.gap_S = (x.to(self.device) for x in gaps(sessions))
        self.sessions, self.paid_S = sessions.to(self.device), paid_S.to(self.device).float()
        if propensity_SK is not None:
            propensity_SK = propensity_SK.to(self.device)
        self.propensity_SK = propensity_SK

    # ---- lanes ----------------------------------------------------------------------------------

    def reset(self, seed: int | Tensor) -> Observation:
        """Begin a session in every lane; ``seed`` is of their order, a single one."""
        generator = torch.Generator().manual_seed(int(seed))
        self.order_R = torch.randperm(len(self.row_R), generator=generator).to(self.device)
        self.state = self._begin(torch.zeros(self.num_envs, dtype=torch.int64, device=self.device))
        self.observation = self.spec.observe(self.state.sim)
        return self.observation

    def state_dict(self) -> dict[str, Any]:
        """Where the lanes are, as tensors."""
        return self.state.packed()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the lanes whose state this is, of the same log, seed and number of lanes."""
        self.state = self.state.unpacked(state)
        self.observation = self.spec.observe(self.state.sim)

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """The pages that the log holds next, [N, K]: it is the policy that is learned from."""
        return self.sessions.page.item[self.state.step]

    @torch.no_grad()
    def step(self, item_NK: Tensor) -> Transition:
        """What followed the logged page; ``item_NK``, which is that page, changes nothing."""
        now, step_N = self.state.sim, self.state.step
        event, page = self.sessions.event.lanes(step_N), self.sessions.page.lanes(step_N)
        left_N = event.kind == int(Kind.LEAVE)
        user = self.encoder.observe(self.encoder.read(now.user), page, event, now.visit)
        after_N = step_N + ~left_N
        expected_N = self.encoder.gap(user)[0].exp()
        gap_N = torch.where(self.known_S[after_N], self.gap_S[after_N], expected_N)
        moved = visit.advance(now.visit, page, event, gap_N)
        played = Replayed(
            self.state.turn, after_N, SimState(now.arrival, now.noise, moved, user, user)
        )
        self.state = where(left_N, self._begin(played.turn + 1), played)
        self.observation = self.spec.observe(self.state.sim)
        outcome = self._outcome(step_N)
        return Transition(
            observation=self.observation,
            final_observation=self.spec.observe(played.sim),
            reward=self.reward(outcome),
            terminated=left_N,
            truncated=torch.zeros_like(left_N),
            outcome=outcome,
            propensity=None if self.propensity_SK is None else self.propensity_SK[step_N],
        )

    # ---- records --------------------------------------------------------------------------------

    @torch.no_grad()
    def _begin(self, turn_N: Tensor) -> Replayed:
        """Each lane's next session, before its first page."""
        lane_N = torch.arange(self.num_envs, device=self.device)
        place_N = (lane_N + self.num_envs * turn_N) % len(self.row_R)
        row_N = self.row_R[self.order_R[place_N]]
        sessions = self.sessions
        step_N = sessions.offset[row_N]
        start_N, profile_NP = sessions.time_ms[step_N], sessions.profile[row_N]
        arrival = Arrival(sessions.shopper[row_N], row_N, profile_NP, start_N)
        user = self.encoder.init_state(arrival)
        begun = visit.begin(start_N, sessions.page.item.shape[1], self.spec.simulator.dtype)
        # no shopper is drawn here, so that the noise of drawing is none
        sim = SimState(arrival, torch.zeros_like(row_N), begun, user, user)
        return Replayed(turn_N, step_N, sim)

    def _outcome(self, step_N: Tensor) -> Outcome:
        event, page = self.sessions.event.lanes(step_N), self.sessions.page.lanes(step_N)
        ordered_N = (event.after == int(After.BUY)) | (event.kind == int(Kind.CHECKOUT))
        paid_N = self.paid_S[step_N]
        return Outcome(
            event=event,
            page=page,
            impressions=(page.item >= 0).sum(-1),
            clicked=event.slot >= 0,
            carted=event.after == int(After.CART),
            bought=ordered_N.to(paid_N.dtype),
            revenue=paid_N,
            chosen_revenue=paid_N,
            expected_revenue=paid_N,
            credited_revenue=paid_N,
            left=event.kind == int(Kind.LEAVE),
            gone=event.kind == int(Kind.LEAVE),
            doubt=torch.zeros_like(paid_N),
        )


def logged_core(
    spec: ObservationSpec,
    log: Log,
    reward: Reward,
    *,
    num_envs: int,
    row_R: Tensor | None = None,
) -> LoggedCore:
    """The lanes of a log, with all that it tells of its pages."""
    paid_S, propensity_SK = torch.from_numpy(log.steps.paid), log.propensities()
    return LoggedCore(
        spec,
        log.sessions(),
        paid_S,
        reward,
        num_envs=num_envs,
        propensity_SK=propensity_SK,
        row_R=row_R,
    )


def gaps(sessions: Sessions) -> tuple[Tensor, Tensor]:
    """Whether the time before each step is known, [S] bool, and the seconds since the step before.

    Of a leave step the log's own gap is 0, which would tell an agent who is about to leave: taken
    is the time of its page, which is known where one was shown.
    """
    seconds_S = torch.zeros(len(sessions.time_ms), dtype=torch.float64)
    seconds_S[1:] = sessions.time_ms.diff().double() / 1000.0
    leaves_S = sessions.event.kind == int(Kind.LEAVE)
    known_S = ~leaves_S | (sessions.page.item >= 0).any(-1)
    return known_S, torch.where(leaves_S, seconds_S, sessions.event.gap.double()).float()
