"""What the true shop itself would foresee if it saw no more of a shopper than the site does.

The true law of a step is the mean over all that the shopper may be, weighted by what has been seen:
no model can be better on average, whatever it is fitted on. It is computed from many shoppers drawn
by the shop, each weighted by how likely it makes the profile and what happened so far (sequential
importance sampling: Doucet, Godsill and Andrieu 2000, "On sequential Monte Carlo sampling methods
for Bayesian filtering", equation 4; hidden tastes do not move at random, so that nothing is
resampled). With few draws it is too high, the more so the longer a session.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experiments.comparing.scores import Tally
from recgym import choice
from recgym.lanes import put
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Arrival, Event, Kind, Observation, Outcome, Page, Policy, Visit
from recgym.users.base import follow
from recgym.users.report import Figures
from recgym.worlds.arrivals import segment_of
from recgym.worlds.taste import TasteShop

DRAWN_FROM = 1 << 40  # seeds of the shoppers drawn, which no log and no evaluation has
AT_ONCE = 128  # sessions, whose drawn shoppers are held together
MOST_CELLS = 1 << 24  # shoppers drawn times items, of which one pass scores the whole catalogue


class Foresight:
    """Hears the steps of a roll-out of sessions, each in a lane of its own from its start.

    Args:
        world: who answers.
        arrival: of all B sessions.
        draws: M, shoppers drawn for each session.
        heard: where the figures are gathered.
    """

    def __init__(self, world: TasteShop, arrival: Arrival, draws: int, heard: Tally) -> None:
        count, device = len(arrival.seed), arrival.seed.device
        self.world, self.draws, self.heard = world, draws, heard
        lane_L = torch.arange(count, device=device).repeat_interleave(draws)
        seed_L = DRAWN_FROM + torch.arange(count * draws, device=device)
        every = arrival.lanes(lane_L)
        self.state = world.init_state(Arrival(seed_L, every.session, every.profile, every.start_ms))
        self.weight_BM = of_profile(world, seed_L, every.profile).view(count, draws)

    @torch.no_grad()
    def __call__(
        self, index_N: Tensor, state: SimState, observation: Observation, outcome: Outcome
    ) -> None:
        """One step of the sessions ``index_N``."""
        most = max(1, MOST_CELLS // (self.draws * self.world.catalog.num_items))
        for some in torch.arange(len(index_N), device=index_N.device).split(most):
            self._step(
                index_N[some], outcome.page.lanes(some), outcome.event.lanes(some),
                state.visit.lanes(some),
            )  # fmt: skip

    def _step(self, index_N: Tensor, page: Page, event: Event, visit: Visit) -> None:
        world, draws = self.world, self.draws
        draw_M = torch.arange(draws, device=index_N.device)
        row_L = (index_N.unsqueeze(-1) * draws + draw_M).flatten()
        lane_L = torch.arange(len(index_N), device=index_N.device).repeat_interleave(draws)
        known, page_L = self.state.lanes(row_L), page.lanes(lane_L)
        event_L, visit_L = event.lanes(lane_L), visit.lanes(lane_L)
        law = choice.law(world.respond(known, page_L, visit_L), visit_L)
        after_L4 = follow(world, known, event_L.item, event_L.price, event_L.slot)
        after_L = after_L4.gather(-1, event_L.after.unsqueeze(-1)).squeeze(-1)
        viewed_L = event_L.kind == Kind.VIEW
        said_L = choice.log_prob(law, event_L) + torch.where(viewed_L, after_L, 0.0)
        mean_L, std = world.gap(known)
        timed_L = (visit_L.page_number > 0) & (event_L.kind != Kind.LEAVE)
        gap_L = torch.distributions.Normal(mean_L, std).log_prob(event_L.gap.clamp(min=1.0).log())
        said_NM = (said_L + torch.where(timed_L, gap_L, 0.0)).view(-1, draws)

        share_NM = self.weight_BM[index_N].log_softmax(-1)
        self.heard.nll.append(-(share_NM + said_NM).logsumexp(-1))
        self._rank(law, share_NM.exp(), page_L, event, visit)
        self.weight_BM[index_N] += said_NM
        self.state = put(self.state, row_L, world.observe(known, page_L, event_L, visit_L))

    def _rank(
        self, law: choice.Law, share_NM: Tensor, page_L: Page, event: Event, visit: Visit
    ) -> None:
        """How likely the next view was, and its place among all items."""
        again_N = (event.kind == Kind.VIEW) & (visit.page_number > 0)
        if not bool(again_N.any()):
            return
        chance = choice.probabilities(law)
        either_LI = chance.organic.scatter_add(-1, page_L.item.clamp(min=0), chance.slot)
        either_NMI = either_LI.view(*share_NM.shape, -1)
        total_NI = (share_NM.unsqueeze(1) @ either_NMI).squeeze(1)
        share_mI = (total_NI / total_NI.sum(-1, keepdim=True))[again_N]
        self.heard.ranked(share_mI, event.item[again_N])


def foreseen(
    world: TasteShop,
    policy: Policy,
    *,
    num_slots: int,
    num_sessions: int,
    seed: int,
    draws: int,
    progress: Callable[[int], Any] | None = None,
) -> Figures:
    """The figures of `Foresight` on the shoppers of `scores.scored`.

    ``progress(n)`` hears how many sessions have ended since the last call.
    """
    simulator = Simulator(world, num_slots=num_slots, expected_revenue=False)
    spec, heard = ObservationSpec(simulator, "history"), Tally()
    for seed_B in (torch.arange(num_sessions) + seed).split(AT_ONCE):
        session_B = torch.zeros_like(seed_B)
        hears = Foresight(world, world.arrive(seed_B, session_B), draws, heard)
        rollout(spec, policy, seed_B, session_B, lanes=len(seed_B), on_step=hears)
        if progress is not None:
            progress(len(seed_B))
    return heard.figures()


def of_profile(world: TasteShop, seed_L: Tensor, profile_LP: Tensor) -> Tensor:
    """Log-density of these profiles, up to a constant, of the shoppers drawn, [L].

    The channel is the segment's or a random one; affluence is thrift and a standard normal, see
    `recgym.worlds.arrivals`.
    """
    knobs, dtype = world.knobs, profile_LP.dtype
    segment_L, thrift_L = segment_of(seed_L, knobs, dtype)
    right_L = profile_LP.gather(-1, segment_L.unsqueeze(-1)).squeeze(-1)
    by_chance = (1.0 - knobs.channel_accuracy) / knobs.num_segments
    channel_L = (knobs.channel_accuracy * right_L + by_chance).log()
    off_L = profile_LP[:, knobs.num_segments] - thrift_L
    return channel_L - 0.5 * off_L.square() - 0.5 * math.log(2.0 * math.pi)
