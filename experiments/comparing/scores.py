"""How well shoppers of the true shop are foreseen: by a user model, and by the shop itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from experiments.predicting.ranks import figures
from recgym import choice
from recgym.lanes import Record
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Kind, Observation, Outcome, Policy
from recgym.users.base import Shoppers, by_segment, follow
from recgym.users.report import Figures, item_given_view, mid_rank
from recgym.users.sequence import SequenceModel
from recgym.worlds.base import TrueShop

LANES = 512  # of which each scores the whole catalogue


class Tally:
    """What was said of the steps of a roll-out before they were taken."""

    def __init__(self) -> None:
        self.nll: list[Tensor] = []  # of each step
        self.next_nll: list[Tensor] = []  # of each view but a session's first
        self.rank: list[Tensor] = []  # of the item viewed

    def ranked(self, share_mI: Tensor, item_m: Tensor) -> None:
        """Take in the chances of all items and those that were viewed."""
        own_m = share_mI.gather(-1, item_m.unsqueeze(-1)).squeeze(-1)
        self.next_nll.append(-own_m.clamp(min=torch.finfo(own_m.dtype).tiny).log())
        self.rank.append(mid_rank(share_mI, item_m))

    def figures(self) -> Figures:
        """Nats a step, and of the next view nats and its place among all items."""
        of_next = figures(torch.cat(self.rank), -torch.cat(self.next_nll))
        return {"nll": float(torch.cat(self.nll).double().mean()), **of_next}


class Scores(Tally):
    """What some shoppers say of each step of a roll-out.

    Args:
        shoppers: who foresee.
        state_of: their state before a step.
    """

    def __init__(self, shoppers: Shoppers, state_of: Callable[[SimState], Any]) -> None:
        super().__init__()
        self.shoppers, self.state_of = shoppers, state_of

    @torch.no_grad()
    def __call__(
        self, index_N: Tensor, state: SimState, observation: Observation, outcome: Outcome
    ) -> None:
        """One step of all lanes."""
        now, event, page = state.visit, outcome.event, outcome.page
        known: Record = self.state_of(state)
        viewed_N = event.kind == Kind.VIEW
        chance_N = torch.zeros_like(event.gap)
        for share_N1, supposed in by_segment(self.shoppers, self.shoppers.read(known), page, now):
            law = choice.law(self.shoppers.respond(supposed, page, now), now)
            after_N4 = follow(self.shoppers, supposed, event.item, event.price, event.slot)
            after_N = after_N4.gather(-1, event.after.unsqueeze(-1)).squeeze(-1)
            both_N = choice.log_prob(law, event) + torch.where(viewed_N, after_N, 0.0)
            chance_N = chance_N + share_N1.squeeze(-1) * both_N.exp()
        mean_N, std = self.shoppers.gap(known)
        # as a fit counts it: not before the first step, nor of leaving, which has no time
        timed_N = (now.page_number > 0) & (event.kind != Kind.LEAVE)
        gap_N = torch.distributions.Normal(mean_N, std).log_prob(event.gap.clamp(min=1.0).log())
        self.nll.append(-(chance_N.log() + torch.where(timed_N, gap_N, 0.0)))
        again_N = viewed_N & (now.page_number > 0)
        if bool(again_N.any()):
            share_mI = item_given_view(
                self.shoppers, known.lanes(again_N), page.lanes(again_N), now.lanes(again_N)
            )
            self.ranked(share_mI, event.item[again_N])


def scored(
    model: SequenceModel,
    world: TrueShop,
    policy: Policy,
    *,
    num_slots: int,
    num_sessions: int,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[Figures, Figures]:
    """The model's figures, and the true shop's own, on fresh shoppers of the true shop.

    The shop knows what each of its shoppers is, which no site sees: what can be foreseen from what
    one sees is said by `floor.foreseen`. Every model meets the same shoppers and the same pages.
    """
    simulator = Simulator(
        world, encoder=model, num_slots=num_slots, expected_revenue=False, dtype=dtype
    )
    of_model = Scores(model, lambda state: state.encoder)
    of_world = Scores(world, lambda state: state.user)

    def both(*step: Any) -> None:
        of_model(*step)
        of_world(*step)

    seed_B = torch.arange(num_sessions) + seed
    spec = ObservationSpec(simulator, "history")
    lanes = min(LANES, num_sessions)
    rollout(spec, policy, seed_B, torch.zeros_like(seed_B), lanes=lanes, on_step=both)
    return of_model.figures(), of_world.figures()
