"""The best policy of a shop with few states, by backward induction over all slates.

V_t(s) = max over slates A of r(s, A) + sum over s' of P(s' | s, A) V_{t+1}(s') (Bellman 1957,
"Dynamic programming", chapter III; Puterman 1994, "Markov decision processes", section 4.5).
Values are undiscounted revenue a session. The law is that of `recgym.worlds.tree`, which reads it
from the verbs as the simulator does; nothing here may reach a learner.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import visit
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Arrival, Observation, Policy
from recgym.worlds.tree import begin, branches, first_of_each, options, worth

MAX_STATES = 1_000  # on one page; more are no table


@dataclass(frozen=True)
class Stage:
    """All states that sessions can be in before one page; A slates, S states."""

    state: SimState  # [S], one session each that leads there
    revenue_SA: Tensor  # expected on this page, currency units
    orders_SA: Tensor
    next_SAS: Tensor  # probability of each state of the next stage; the rest has left


@dataclass(frozen=True)
class Plan:
    """A policy of an `ExactShop`, and what it brings a session in expectation."""

    slate: list[Tensor]  # of each stage, [S] int64, row of ``ExactShop.slate_AK``
    revenue: float  # currency units
    orders: float


class ExactShop:
    """A true shop laid out as states, slates and probabilities.

    States are alike where all tensors of the shopper's own state are; so the shop must have
    finitely many, and of the visit it may read the page number alone: no carts, no fatigue, no gap.

    Args:
        simulator: of the shop, in float64 for values that are exact to rounding.
        arrival: one shopper of each kind.
        share_N: of each, adding up to 1.
        max_pages: pages of a session; exact where every shopper leaves on the last one at latest.
    """

    def __init__(
        self, simulator: Simulator, arrival: Arrival, share_N: Tensor, *, max_pages: int
    ) -> None:
        self.simulator, self.share_N = simulator, share_N
        self.slate_AK = slates(simulator.catalog.num_items, simulator.num_slots)
        self.slate_AK = self.slate_AK.to(share_N.device)
        self.stages: list[Stage] = []
        state = begin(simulator, arrival)
        for _ in range(max_pages):
            stage, state = self._lay_out(state)
            self.stages.append(stage)
            if len(state.noise) == 0:
                break

    @torch.no_grad()
    def _lay_out(self, state: SimState) -> tuple[Stage, SimState]:
        """One stage, and the states that follow it."""
        num_states, num_slates = len(state.noise), len(self.slate_AK)
        if num_states > MAX_STATES:
            raise UserError(
                f"the shop has {num_states} states on page {len(self.stages)}: expected at most "
                f"{MAX_STATES} for an exact solution; use shop='world:tiny'."
            )
        shop, row = self.simulator.shop, torch.arange(num_states, device=state.noise.device)
        every = state.lanes(row.repeat_interleave(num_slates))
        page = self.simulator.page(every, self.slate_AK.repeat(num_states, 1))
        reading, now = shop.read(every.user), every.visit
        on_page = options(shop, reading, page, now)
        revenue, orders = worth(shop, on_page, now)
        branch = branches(shop, on_page, now, torch.zeros_like(revenue))
        parent_M, page_M = branch.parent, page.lanes(branch.parent)
        user = shop.observe(reading.lanes(parent_M), page_M, branch.event, now.lanes(parent_M))
        first_S, kind_M = first_of_each(_rows(user))
        chance = torch.zeros(len(revenue), len(first_S)).to(branch.chance)
        chance.index_put_((parent_M, kind_M), branch.chance, accumulate=True)
        before = every.lanes(parent_M[first_S])
        gap_S = torch.ones_like(before.visit.gap)
        seen = visit.advance(
            before.visit, page_M.lanes(first_S), branch.event.lanes(first_S), gap_S
        )
        following = SimState(before.arrival, before.noise, seen, user.lanes(first_S), None)
        shape = (num_states, num_slates)
        stage = Stage(state, revenue.view(shape), orders.view(shape), chance.view(*shape, -1))
        return stage, following

    def best(self) -> Plan:
        """The policy of highest revenue a session."""
        return self._plan(1.0)

    def myopic(self) -> Plan:
        """The policy of highest revenue a page, whatever it does to the rest of the session."""
        return self._plan(0.0)

    def _plan(self, gamma: float) -> Plan:
        following = torch.zeros(0).to(self.share_N)
        chosen: list[Tensor] = []
        for stage in reversed(self.stages):
            value_SA = stage.revenue_SA
            if len(following):
                value_SA = value_SA + gamma * stage.next_SAS @ following
            following, slate_S = value_SA.max(-1)
            chosen.insert(0, slate_S)
        return self.plan(chosen)

    def plan(self, slate: list[Tensor]) -> Plan:
        """What these slates are worth, row by row of ``slate_AK`` for the states of each stage."""
        reached_S = self.share_N
        sums = {"revenue": 0.0, "orders": 0.0}
        for stage, slate_S in zip(self.stages, slate, strict=True):
            row_S = torch.arange(len(slate_S), device=slate_S.device)
            sums["revenue"] += float(reached_S @ stage.revenue_SA[row_S, slate_S])
            sums["orders"] += float(reached_S @ stage.orders_SA[row_S, slate_S])
            reached_S = reached_S @ stage.next_SAS[row_S, slate_S]
        return Plan(slate, **sums)

    def of(self, policy: Policy) -> Plan:
        """What a policy does in every state, which must be all of the history that it heeds."""
        spec = ObservationSpec(self.simulator, "history")
        chosen = []
        for stage in self.stages:
            item_SK = policy.act(spec.observe(stage.state))
            item_SK = self.simulator.page(stage.state, item_SK).item
            same_SA = (item_SK.unsqueeze(1) == self.slate_AK).all(-1)
            chosen.append(same_SA.int().argmax(-1))
        return self.plan(chosen)


class Planned:
    """A plan as a policy for roll-outs, on observations whose ``encoder`` is the shop's own state.

    Args:
        exact: the shop, whose plan it is.
        plan: as `ExactShop.best` gives it.
    """

    def __init__(self, exact: ExactShop, plan: Plan) -> None:
        self.exact, self.plan = exact, plan

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """The plan's slate in each lane's state, [N, K]."""
        assert observation.encoder is not None
        here_NF, number_N = _rows(observation.encoder), observation.visit.page_number
        item_NK = self.exact.slate_AK[torch.zeros_like(number_N)]
        for number, stage in enumerate(self.exact.stages):
            same_NS = (here_NF.unsqueeze(1) == _rows(stage.state.user)).all(-1)
            found_NK = self.exact.slate_AK[self.plan.slate[number][same_NS.int().argmax(-1)]]
            item_NK = torch.where((number_N == number).unsqueeze(-1), found_NK, item_NK)
        return item_NK


def slates(num_items: int, num_slots: int) -> Tensor:
    """All ordered slates [A, K] of different items, the empty page first, empty slots (-1) last."""
    rows: list[tuple[int, ...]] = []
    for filled in range(num_slots + 1):
        empty = (-1,) * (num_slots - filled)
        rows += [some + empty for some in itertools.permutations(range(num_items), filled)]
    return torch.tensor(rows, dtype=torch.int64).view(-1, num_slots)


def _rows(state: Record) -> Tensor:
    """All tensors of a record side by side, [M, .] float64."""
    return torch.cat(_parts(state), -1)


def _parts(state: Record) -> list[Tensor]:
    found: list[Tensor] = []
    for value in vars(state).values():
        inner = isinstance(value, Record)
        found += _parts(value) if inner else [value.double().unsqueeze(-1).flatten(1)]
    return found
