"""One columnar record of sessions, whether a log holds them or a shop has just played them.

Both sides of the scorecard are such records, so that one line of code counts both.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recgym import progress
from recgym.lanes import joined
from recgym.logs.log import Log
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import After, Event, Kind, Observation, Outcome, Page, Policy, Sessions, Split
from recgym.users.base import Shoppers

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SEED_BASE = 1 << 53  # of the scorecard's shoppers, apart from all others
STRANGERS = 1 << 54  # between the shoppers of the learned shop and those of the true one
MAX_PAGES = 200  # as in `recgym.rollout`: the step number of a session stays below
MIN_GAP_S = 1.0  # as in a fit: events within a second count as one second apart


@dataclass(frozen=True)
class Trace:
    """Sessions with what was paid in each step. S steps of B sessions."""

    sessions: Sessions
    paid: Floats  # [S] currency units

    @property
    def num_sessions(self) -> int:
        """B."""
        return len(self.sessions.shopper)

    @cached_property
    def offset(self) -> Ints:
        """First step of each session, and the number of steps, [B + 1]."""
        return np.asarray(self.sessions.offset.numpy())

    @cached_property
    def owner(self) -> Ints:
        """Session of each step, [S]."""
        return np.repeat(np.arange(self.num_sessions), np.diff(self.offset))

    @cached_property
    def number(self) -> Ints:
        """Number of each step within its session, from 0, [S]."""
        return np.arange(len(self.owner)) - self.offset[self.owner]

    @cached_property
    def kind(self) -> Ints:
        """A `Kind`, [S]."""
        return np.asarray(self.sessions.event.kind.numpy())

    @cached_property
    def item(self) -> Ints:
        """The item viewed, -1 on checkout and leave, [S]."""
        return np.asarray(self.sessions.event.item.numpy())

    @cached_property
    def after(self) -> Ints:
        """An `After`, [S]."""
        return np.asarray(self.sessions.event.after.numpy())

    @cached_property
    def clicked(self) -> Bools:
        """Whether the item viewed was chosen on the page, [S]."""
        return np.asarray(self.sessions.event.slot.numpy() >= 0)

    @cached_property
    def viewed(self) -> Bools:
        """Whether the step views an item, [S]."""
        return np.asarray(self.kind == int(Kind.VIEW))

    @cached_property
    def ordered(self) -> Bools:
        """Whether the step pays for something, [S]."""
        bought: Bools = self.after == int(After.BUY)
        return np.asarray(bought | (self.kind == int(Kind.CHECKOUT)))

    @cached_property
    def price(self) -> Floats:
        """Price of the item viewed, currency units, [S]."""
        return np.asarray(self.sessions.event.price.numpy().astype(np.float64))

    @cached_property
    def worth(self) -> Floats:
        """Price x quantity of what is carted or bought at once, currency units, [S]."""
        return np.asarray(self.price * self.sessions.event.quantity.numpy())

    @cached_property
    def log_gap(self) -> Floats:
        """Log seconds since the step before; NaN on the first step and on leave, [S]."""
        gap = np.maximum(self.sessions.event.gap.numpy().astype(np.float64), MIN_GAP_S)
        timed = (self.number > 0) & (self.kind != int(Kind.LEAVE))
        return np.where(timed, np.log(gap), np.nan)

    @property
    def num_slots(self) -> int:
        """K; 0 where nothing is known of pages."""
        return self.sessions.page.item.shape[1]

    def take(self, row_B: Ints) -> Trace:
        """These sessions, in this order."""
        length = np.diff(self.offset)[row_B]
        end = np.cumsum(length)
        step = np.arange(int(length.sum())) + np.repeat(self.offset[row_B] - (end - length), length)
        row, index = torch.from_numpy(np.asarray(row_B)), torch.from_numpy(step)
        held = self.sessions
        sessions = Sessions(
            event=held.event.lanes(index),
            page=held.page.lanes(index),
            time_ms=held.time_ms[index],
            offset=torch.from_numpy(np.concatenate([[0], end])),
            shopper=held.shopper[row],
            profile=held.profile[row],
            split=held.split[row],
        )
        return Trace(sessions, self.paid[step])

    def without_pages(self) -> Trace:
        """The same sessions as a log without impressions would hold them."""
        event, page = self.sessions.event, self.sessions.page
        alone = dataclasses.replace(event, slot=torch.full_like(event.slot, -1))
        none = Page(page.item[:, :0], page.price[:, :0])
        return Trace(dataclasses.replace(self.sessions, event=alone, page=none), self.paid)

    def rounded(self) -> Trace:
        """The same with gaps of whole seconds, as a site with such a clock would write them."""
        event = dataclasses.replace(self.sessions.event, gap=self.sessions.event.gap.round())
        return Trace(dataclasses.replace(self.sessions, event=event), self.paid)


def of_log(log: Log, row_B: Tensor) -> Trace:
    """Sessions of a log."""
    return Trace(log.sessions(), log.steps.paid).take(row_B.numpy())


class _Recorder:
    """Collects the steps of a roll-out."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Any]] = {}

    def step(
        self, index_N: Tensor, state: SimState, observation: Observation, outcome: Outcome
    ) -> None:
        row: dict[str, Any] = {
            "place": index_N * MAX_PAGES + state.visit.page_number,
            "time_ms": state.visit.time_ms,
            "paid": outcome.revenue,
            "event": outcome.event,
            "page": outcome.page,
            "profile": state.arrival.profile,
            "seed": state.arrival.seed,
        }
        for name, value in row.items():
            self.parts.setdefault(name, []).append(value.to("cpu"))

    def trace(self, num_sessions: int) -> Trace:
        """All steps in the order of sessions and pages."""
        place_S = torch.cat(self.parts["place"])
        order_S = place_S.argsort()
        length_B = torch.bincount(place_S // MAX_PAGES, minlength=num_sessions)
        offset = torch.cat([torch.zeros(1, dtype=torch.int64), length_B.cumsum(0)])

        def in_order(name: str) -> Tensor:
            return torch.cat(self.parts[name])[order_S]

        event: Event = joined(self.parts["event"]).lanes(order_S)
        leaves_S = event.kind == int(Kind.LEAVE)  # a log does not say when a shopper left
        page: Page = joined(self.parts["page"]).lanes(order_S)
        sessions = Sessions(
            event=dataclasses.replace(event, gap=event.gap.masked_fill(leaves_S, 0.0)),
            page=page,
            time_ms=in_order("time_ms"),
            offset=offset,
            shopper=in_order("seed")[offset[:-1]],
            profile=in_order("profile")[offset[:-1]],
            split=torch.full((num_sessions,), int(Split.TEST)),
        )
        return Trace(sessions, in_order("paid").double().numpy())


def of_shop(
    shop: Shoppers, policy: Policy, num_slots: int, num_sessions: int, first_seed: int
) -> Trace:
    """Sessions of fresh shoppers under a policy, one each."""
    simulator = Simulator(shop, num_slots=num_slots, dtype=shop.catalog.price.dtype)
    seed_B = first_seed + torch.arange(num_sessions)
    recorder = _Recorder()
    rollout(
        ObservationSpec(simulator, "history"),
        policy,
        seed_B,
        torch.zeros_like(seed_B),
        max_pages=MAX_PAGES,
        on_step=recorder.step,
        progress=progress.advance,
    )
    return recorder.trace(num_sessions)
