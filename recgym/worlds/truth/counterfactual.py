"""What the same shoppers would have done: other pages, the same noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.lanes import Record
from recgym.rollout import rollout
from recgym.simulator import SimState
from recgym.spaces import ObservationSpec
from recgym.types import Observation, Outcome, Policy, SessionStats

EVENTS = ("kind", "item", "slot", "after")


@dataclass(frozen=True)
class Path(Record):
    """Sessions page by page, row b and column t is page t of session b; T is the longest's."""

    stats: SessionStats  # [B]
    kind: Tensor  # [B, T] int64, a Kind; -1 where the session is over
    item: Tensor  # [B, T] int64
    slot: Tensor  # [B, T] int64
    after: Tensor  # [B, T] int64, an After
    revenue: Tensor  # [B, T] currency units paid
    credited_revenue: Tensor  # [B, T] currency units, see `recgym.simulator`


def play_out(
    spec: ObservationSpec, policy: Policy, seed_B: Tensor, session_B: Tensor | None = None
) -> Path:
    """All pages of these sessions under a policy."""
    steps: list[dict[str, Tensor]] = []

    def on_step(index_N: Tensor, state: SimState, _: Observation, outcome: Outcome) -> None:
        step = {"row": index_N, "page": state.visit.page_number}
        step |= {name: getattr(outcome.event, name) for name in EVENTS}
        steps.append(
            {
                **step,
                "revenue": outcome.revenue,
                "credited_revenue": outcome.credited_revenue,
            }
        )

    session_B = torch.zeros_like(seed_B) if session_B is None else session_B
    stats = rollout(spec, policy, seed_B, session_B, on_step=on_step)
    joined = {name: torch.cat([step[name] for step in steps]) for name in steps[0]}
    where = joined.pop("row"), joined.pop("page")
    shape = len(seed_B), int(where[1].max()) + 1
    pages = {}
    for name, value in joined.items():
        empty = value.new_full(shape, -1 if name in EVENTS else 0)
        pages[name] = empty.index_put(where, value)
    return Path(stats=stats, **pages)


def paired(
    first: tuple[ObservationSpec, Policy],
    second: tuple[ObservationSpec, Policy],
    seed_B: Tensor,
    session_B: Tensor | None = None,
) -> tuple[Path, Path]:
    """The same sessions twice, under the same noise: each policy over what it may see.

    A page that both show alike in a state alike is answered alike, to the bit; differences are of
    pages alone. `recgym.metrics.difference` of the two ``stats`` gives their interval.
    """
    return play_out(*first, seed_B, session_B), play_out(*second, seed_B, session_B)


class Swap:
    """A policy, except for one page of each session, which another one fills.

    Args:
        policy: of all other pages.
        other: of the page numbered ``step``, from 0.
    """

    def __init__(self, policy: Policy, other: Policy, step: int) -> None:
        self.policy, self.other, self.step = policy, other, step

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K]."""
        own_NK, other_NK = self.policy.act(observation), self.other.act(observation)
        now_N1 = (observation.visit.page_number == self.step).unsqueeze(-1)
        return torch.where(now_N1, other_NK, own_NK)


def swapped(
    spec: ObservationSpec,
    policy: Policy,
    other: Policy,
    *,
    step: int,
    seed_B: Tensor,
    session_B: Tensor | None = None,
) -> tuple[Path, Path]:
    """Sessions under a policy, and the same ones with one page swapped: what one page changes."""
    return paired((spec, policy), (spec, Swap(policy, other, step)), seed_B, session_B)
