"""Log-likelihood of whole sessions, built from the verbs that the simulator calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym import choice
from recgym.types import After, Arrival, Event, Kind, Page, Record, Sessions, Visit
from recgym.users.base import follow
from recgym.users.lstm import LSTMState, LSTMUserModel, Reading
from recgym.users.surprises import Expectation, expect, tallies
from recgym.visit import CART_PLACES, HISTORY, RECENT_PAGES


@dataclass(frozen=True)
class Steps(Record):
    """The steps of a batch of sessions in lock-step order: step 0 of all, then step 1, ..."""

    event: Event  # [n]
    page: Page  # [n, K]
    visit: Visit  # [n]
    arrival: Arrival  # [B]
    step: Tensor  # [n] int64, row of the log's steps
    number: Tensor  # [n] int64, step within the session
    active: list[int]  # [T] sessions that reach each step; they are the batch's first ones


@dataclass(frozen=True)
class LogProb(Record):
    """Log-likelihood of each step, by factor, each [n] in nats."""

    choice: Tensor
    after: Tensor
    gap: Tensor

    def total(self) -> Tensor:
        """All factors together, [n]."""
        return self.choice + self.after + self.gap


def cart_counts(sessions: Sessions) -> Tensor:
    """Items in the cart before each step, [S] int64: carted since the session's last checkout."""
    event, offset = sessions.event, sessions.offset
    carted_S = (event.after == After.CART).long()
    before_S = carted_S.cumsum(0) - carted_S
    # the count starts anew at each session's first step and after each checkout
    base_S = torch.full_like(before_S, -1)
    base_S[offset[:-1]] = before_S[offset[:-1]]
    paid_S = (event.kind == Kind.CHECKOUT).nonzero().squeeze(-1) + 1
    paid_S = paid_S[paid_S < len(base_S)]
    base_S[paid_S] = before_S[paid_S]
    return (before_S - base_S.cummax(0).values).clamp(max=CART_PLACES)


def gather_steps(sessions: Sessions, cart_S: Tensor, index_B: Tensor) -> Steps:
    """The steps of these sessions, with what the site knew before each, in lock-step order.

    The longest session comes first, and step t of all sessions comes before step t + 1 of any.
    """
    length_B = sessions.offset[index_B + 1] - sessions.offset[index_B]
    length_B, order_B = length_B.sort(descending=True, stable=True)
    index_B = index_B[order_B]
    first_B = sessions.offset[index_B]
    number_T = torch.arange(int(length_B[0]), device=first_B.device)
    number_n, row_n = (number_T.unsqueeze(-1) < length_B).nonzero(as_tuple=True)
    active_T = (number_T.unsqueeze(-1) < length_B).sum(-1)
    step_n = first_B[row_n] + number_n
    event, page = sessions.event.lanes(step_n), sessions.page.lanes(step_n)
    back_R = torch.arange(1, RECENT_PAGES + 1, device=step_n.device)
    shown_nRK = sessions.page.item[(step_n.unsqueeze(-1) - back_R).clamp(min=0)]
    known_nR1 = (number_n.unsqueeze(-1) >= back_R).unsqueeze(-1)
    shown_nRK = torch.where(known_nR1, shown_nRK, torch.full_like(shown_nRK, -1))
    place_M = torch.arange(CART_PLACES, device=step_n.device)
    filled_nM = place_M < cart_S[step_n].unsqueeze(-1)
    none_nL = torch.full((len(step_n), HISTORY), -1, device=step_n.device)
    visit = Visit(
        time_ms=sessions.time_ms[step_n],
        gap=event.gap,
        page_number=number_n,
        cart_item=filled_nM.long() - 1,  # which items lie there, no user model reads
        cart_price=torch.zeros_like(filled_nM, dtype=event.price.dtype),
        recent_item=shown_nRK.flatten(1),
        history=none_nL.unsqueeze(1).expand(-1, 3, -1),
        history_gap=torch.zeros_like(none_nL, dtype=event.price.dtype),
    )
    arrival = Arrival(
        sessions.shopper[index_B], index_B, sessions.profile[index_B], sessions.time_ms[first_B]
    )
    return Steps(event, page, visit, arrival, step_n, number_n, active_T.tolist())


@dataclass(frozen=True)
class Moment:
    """One step of the sessions that reach it, with all that the model says before its event."""

    steps: Steps
    state: LSTMState
    reading: Reading
    law: choice.Law
    after: Tensor  # [n, 4] log-probabilities of what follows the view


def walk(model: LSTMUserModel, steps: Steps) -> Iterator[Moment]:
    """Run the model along the sessions, step by step."""
    state, first = model.init_state(steps.arrival), 0
    for active in steps.active:
        rows = slice(first, first + active)
        first += active
        now = Steps(
            steps.event.lanes(rows),
            steps.page.lanes(rows),
            steps.visit.lanes(rows),
            steps.arrival,
            steps.step[rows],
            steps.number[rows],
            [active],
        )
        state = state.lanes(slice(0, active))
        moment = _moment(model, now, state)
        yield moment
        state = model.observe(
            moment.reading, moment.law, moment.after.exp(), now.page, now.event, now.visit
        )


def _moment(model: LSTMUserModel, steps: Steps, state: LSTMState) -> Moment:
    event, reading = steps.event, model.read(state)
    law = choice.law(model.respond(reading, steps.page, steps.visit), steps.visit)
    shop: Any = model
    after_n4 = follow(shop, reading, event.item, event.price, event.slot)
    return Moment(steps, state, reading, law, after_n4)


@torch.no_grad()
def expectations(model: LSTMUserModel, steps: Steps) -> Expectation:
    """What the model expected of each step's page, [n], found step by step."""
    parts = [expect(moment.law, moment.after.exp()) for moment in walk(model, steps)]
    return Expectation(
        leave=torch.cat([part.leave for part in parts]),
        slot=torch.cat([part.slot for part in parts]),
        after=torch.cat([part.after for part in parts]),
    )


def states_before(model: LSTMUserModel, steps: Steps, expected: Expectation) -> LSTMState:
    """The model's state before each step, [n]: those of `walk`, in one run of the LSTM."""
    step_nF = tallies(expected, steps.event)
    inputs_nX = torch.cat(model.inputs(expected, step_nF, steps.page, steps.event, steps.visit), -1)
    begin = model.init_state(steps.arrival)
    h_nH = model.unroll(begin, inputs_nX, steps.active)
    row_n = torch.cat([torch.arange(active, device=h_nH.device) for active in steps.active])
    tally_nF, running, first = [], begin.tally, 0
    for active in steps.active:
        tally_nF.append(running[:active])
        running = running[:active] + step_nF[first : first + active]
        first += active
    return LSTMState(h_nH, h_nH, begin.context[row_n], torch.cat(tally_nF))


def log_prob(model: LSTMUserModel, steps: Steps, expected: Expectation | None = None) -> LogProb:
    """Log-likelihood of each step given all before it, [n].

    A fit passes the expectations that it found at the start of the epoch; without them they are
    the model's own of this moment.
    """
    if expected is None:
        expected = expectations(model, steps)
    event = steps.event
    moment = _moment(model, steps, states_before(model, steps, expected))
    choice_n = choice.log_prob(moment.law, event)
    zero_n = torch.zeros_like(choice_n)
    after_n = moment.after.gather(-1, event.after.unsqueeze(-1)).squeeze(-1)
    # a gap is observed before every step but the first and the leave step, which has no time
    timed_n = (steps.number > 0) & (event.kind != Kind.LEAVE)
    mean_n, std = model.gap(moment.state)
    # unchecked, so that a fit which explodes can say so itself, and a GPU is not waited for
    normal = torch.distributions.Normal(mean_n, std, validate_args=False)
    gap_n = normal.log_prob(event.gap.clamp(min=1.0).log())
    return LogProb(
        choice=choice_n,
        after=torch.where(event.kind == Kind.VIEW, after_n, zero_n),
        gap=torch.where(timed_n, gap_n, zero_n),
    )
