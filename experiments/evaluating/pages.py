"""A log of a true shop, page by page, with what the site knew before each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.soft import SoftRanking
from recgym import ope, visit
from recgym.rollout import rollout
from recgym.simulator import SimState
from recgym.spaces import ObservationSpec
from recgym.types import Observation, Outcome

REWARDS = ("clicks", "conversion", "revenue")  # of a page; the second is the session's first order


@dataclass(frozen=True)
class Pages:
    """S logged pages in parts, each of many sessions' pages, and the order that puts them right."""

    seen: list[Observation]  # without the flat features; together S lanes
    item: list[Tensor]  # [N, K] of each part
    order_S: Tensor  # places of the pages in all parts, session after session
    session_S: Tensor  # of each page in that order, int64, from 0
    step_S: Tensor  # its number in the session
    reward_SR: Tensor  # float64, see REWARDS
    clicked_SK: Tensor  # float64, 1 in the slot that was clicked
    ordered_S: Tensor  # float64, 1 where the session has had an order before this page
    views_I: Tensor  # views of each item, clicked or found alone
    num_sessions: int

    def joined(self, parts: list[Tensor]) -> Tensor:
        """What was computed part by part, session after session."""
        return torch.cat(parts)[self.order_S]

    def padded(self, value_S: Tensor) -> Tensor:
        """As [B, T, ...]."""
        return ope.pad(value_S, self.session_S, self.step_S, self.num_sessions)

    def ends(self) -> Tensor:
        """Pages that are their session's last, bool."""
        ends_S = torch.ones_like(self.session_S, dtype=torch.bool)
        ends_S[:-1] = self.session_S[1:] != self.session_S[:-1]
        return ends_S


def write_pages(spec: ObservationSpec, policy: SoftRanking, seed_B: Tensor) -> Pages:
    """One session of each shopper under the logging policy."""
    seen: list[Observation] = []
    rows: dict[str, list[Tensor]] = {}

    def on_step(index_N: Tensor, state: SimState, now: Observation, outcome: Outcome) -> None:
        seen.append(dataclasses.replace(now, feature=now.feature[:, :0]))
        slot_K = torch.arange(outcome.page.item.shape[1])
        row = {
            "session": index_N,
            "step": state.visit.page_number,
            "item": outcome.page.item,
            "clicked": (outcome.event.slot.unsqueeze(-1) == slot_K).double(),
            "ordered": visit.ordered(outcome.event).double(),
            "revenue": outcome.revenue.double(),
            "viewed": outcome.event.item,
        }
        for name, value in row.items():
            rows.setdefault(name, []).append(value)

    rollout(spec, policy, seed_B, torch.zeros_like(seed_B), on_step=on_step)
    whole = {name: torch.cat(parts) for name, parts in rows.items() if name != "item"}
    order_S = (whole["session"] * (1 + int(whole["step"].max())) + whole["step"]).argsort()
    whole = {name: value[order_S] for name, value in whole.items()}
    before_S = _orders_before(whole["ordered"], whole["session"])
    first_S = whole["ordered"] * (before_S == 0)
    clicks_S = whole["clicked"].sum(-1)
    return Pages(
        seen=seen,
        item=rows["item"],
        order_S=order_S,
        session_S=whole["session"],
        step_S=whole["step"],
        reward_SR=torch.stack([clicks_S, first_S, whole["revenue"]], -1),
        clicked_SK=whole["clicked"],
        ordered_S=before_S.clamp(max=1.0),
        views_I=torch.bincount(
            whole["viewed"][whole["viewed"] >= 0], minlength=spec.catalog.num_items
        ),
        num_sessions=len(seed_B),
    )


def _orders_before(ordered_S: Tensor, session_S: Tensor) -> Tensor:
    """Orders of the same session before each page, [S]; pages are in order."""
    earlier_S = ordered_S.cumsum(0) - ordered_S
    begins_S = torch.ones_like(session_S, dtype=torch.bool)
    begins_S[1:] = session_S[1:] != session_S[:-1]
    start_B = earlier_S[begins_S]
    return earlier_S - start_B[session_S]
