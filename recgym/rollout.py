"""Roll a policy out over many sessions, lanes refilled as sessions end.

Each session is a function of its (seed, session) alone, so the number of lanes changes nothing.
Where the simulator plays several sessions an episode, "session" below stands for the whole episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recgym.refill import MAX_PAGES, refilled
from recgym.simulator import CART_CREDIT, SimState
from recgym.spaces import ObservationSpec
from recgym.types import Kind, Observation, Outcome, Page, Policy, SessionStats

LANES = 4096

OnStep = Callable[[Tensor, SimState, Observation, Outcome], Any]
SUMS = ("pages", "views", "impressions", "clicks", "carts", "orders", "revenue",
        "credited_revenue", "sessions", "converted")  # fmt: skip


def rollout(
    spec: ObservationSpec,
    policy: Policy,
    seed_B: Tensor,
    session_B: Tensor,
    *,
    lanes: int = LANES,
    max_pages: int = MAX_PAGES,
    on_step: OnStep | None = None,
    progress: Callable[[int], Any] | None = None,
    mark: Callable[[Page], Page] | None = None,
) -> SessionStats:
    """Play every session (seed_B, session_B) once; row b of the statistics is session b.

    ``on_step(index_N, state, observation, outcome)`` sees each step; ``progress(n)`` hears how many
    sessions have ended since the last call; ``mark(page)`` says which slots hold an ad, if any do.
    """
    simulator, num_sessions = spec.simulator, len(seed_B)
    device = spec.catalog.category.device
    seed_B, session_B = seed_B.to(device), session_B.to(device)
    sums = {name: torch.zeros(num_sessions, dtype=simulator.dtype, device=device) for name in SUMS}
    started = min(lanes, num_sessions)
    index_N = torch.arange(started, device=device)

    def begin(index_F: Tensor) -> SimState:
        return simulator.reset(seed_B[index_F], session_B[index_F])

    state = begin(index_N)
    earlier_B = torch.zeros_like(sums["orders"])  # orders of the sessions before the running one
    while len(index_N):
        observation = spec.observe(state)
        page = simulator.page(state, policy.act(observation))
        if mark is not None:
            page = mark(page)
        after, outcome = simulator.step(state, page)
        if on_step is not None:
            on_step(index_N, state, observation, outcome)
        _add(sums, index_N, outcome)
        cut_N = after.visit.page_number >= max_pages
        _close(sums, earlier_B, index_N, outcome.left | cut_N)
        ended_N = outcome.gone | cut_N
        # a credit that nothing has settled: the potential is 0 after the last page
        open_N = CART_CREDIT * after.visit.cart_value() * (cut_N & ~outcome.gone)
        sums["credited_revenue"][index_N] -= open_N
        if progress is not None:
            progress(int(ended_N.sum()))
        state, index_N, started = refilled(after, index_N, ended_N, started, num_sessions, begin)
    return SessionStats(shopper=seed_B, **sums)


def _add(sums: dict[str, Tensor], index_N: Tensor, outcome: Outcome) -> None:
    brought = {
        "pages": torch.ones_like(outcome.revenue),
        "views": outcome.event.kind == Kind.VIEW,
        "impressions": outcome.impressions,
        "clicks": outcome.clicked,
        "carts": outcome.carted,
        "orders": outcome.bought,
        "revenue": outcome.revenue,
        "credited_revenue": outcome.credited_revenue,
    }
    for name, value_N in brought.items():
        sums[name][index_N] += value_N.to(sums[name].dtype)


def _close(sums: dict[str, Tensor], earlier_B: Tensor, index_N: Tensor, over_N: Tensor) -> None:
    """Count the sessions that are over, and those of them with an order."""
    orders_N = sums["orders"][index_N]
    sold_N = over_N & (orders_N > earlier_B[index_N])
    sums["sessions"][index_N] += over_N.to(orders_N.dtype)
    sums["converted"][index_N] += sold_N.to(orders_N.dtype)
    earlier_B[index_N] = torch.where(over_N, orders_N, earlier_B[index_N])
