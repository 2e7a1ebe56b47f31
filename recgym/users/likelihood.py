"""Log-likelihood of whole sessions, built from the verbs that the simulator calls."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recgym.lanes import Record, joined, where
from recgym.types import After, Arrival, Event, Kind, Page, Sessions, Visit
from recgym.users import tastes
from recgym.users.memory import Nothing
from recgym.users.pointers import remembered
from recgym.users.products import times
from recgym.users.segments import Prospect, along_sessions
from recgym.users.sequence import SequenceModel
from recgym.users.states import Reading, SequenceState
from recgym.users.surprises import Expectation, tallies
from recgym.users.tastes import Belief, Lesson
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
    # where these are parts of sessions (see `recgym.users.spans`):
    skipped: Tensor | None = None  # [B] int64, steps of the session before the first of these
    carried: SequenceState | None = None  # [B] the state then; of no matter where none was skipped

    def session(self) -> Tensor:
        """Which of the batch's sessions each step is of, [n] int64."""
        return torch.cat([torch.arange(n, device=self.step.device) for n in self.active])


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


def gather_steps(
    sessions: Sessions,
    cart_S: Tensor,
    index_B: Tensor,
    within: tuple[Tensor, Tensor] | None = None,
) -> Steps:
    """The steps of these sessions, with what the site knew before each, in lock-step order.

    The longest session comes first, and step t of all sessions comes before step t + 1 of any.
    ``within`` are numbers of the first step that is wanted and of the first that no longer is, [B].
    """
    length_B = sessions.offset[index_B + 1] - sessions.offset[index_B]
    if within is not None:
        length_B = within[1] - within[0]
    length_B, order_B = length_B.sort(descending=True, stable=True)
    index_B = index_B[order_B]
    first_B = sessions.offset[index_B]
    number_T = torch.arange(int(length_B[0]), device=first_B.device)
    number_n, row_n = (number_T.unsqueeze(-1) < length_B).nonzero(as_tuple=True)
    active_T = (number_T.unsqueeze(-1) < length_B).sum(-1)
    skipped_B = None if within is None else within[0][order_B]
    if skipped_B is not None:
        number_n = number_n + skipped_B[row_n]
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
    return Steps(event, page, visit, arrival, step_n, number_n, active_T.tolist(), skipped_B)


def beginning(model: SequenceModel, steps: Steps) -> SequenceState:
    """The state before the first of each session's steps, [B]."""
    begun = model.init_state(steps.arrival)
    if steps.skipped is None or steps.carried is None:
        return begun
    # the profile does not move, and so its weights are fitted by every part
    carried = where(steps.skipped > 0, steps.carried, begun)
    return dataclasses.replace(carried, context=begun.context)


@dataclass(frozen=True)
class Moment:
    """One step of the sessions that reach it, with all that the model says before its event."""

    steps: Steps
    reading: Reading
    found: Prospect


def walk(model: SequenceModel, steps: Steps) -> Iterator[Moment]:
    """Run the model along the sessions, step by step."""
    state, first = beginning(model, steps), 0
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
        reading = model.read(state)
        found = model.prospect(reading, now.page, now.event, now.visit)
        yield Moment(now, reading, found)
        state = model.advance(reading, found, now.page, now.event, now.visit)


@torch.no_grad()
def expectations(
    model: SequenceModel, steps: Steps, met: Callable[[int, Moment], None] | None = None
) -> Expectation:
    """What the model expected of each step's page, [n], found step by step.

    ``met`` is told of each moment, and which one it is.
    """
    parts = []
    for place, moment in enumerate(walk(model, steps)):
        expected = model.senses.expect(
            model.tables, moment.reading, moment.found, moment.steps.page, moment.steps.event
        )
        parts.append(expected)
        if met is not None:
            met(place, moment)
    return joined(parts)


class Run(NamedTuple):
    """All n steps of B sessions at once."""

    reading: Reading  # [n] of the state before each step
    found: Prospect  # [n]


@torch.no_grad()
def walked(model: SequenceModel, steps: Steps) -> Run:
    """All that `walk` meets; but what the memory holds, which no other step goes on from."""
    readings, prospects = [], []
    for moment in walk(model, steps):
        state = dataclasses.replace(moment.reading.state, memory=Nothing())
        readings.append(dataclasses.replace(moment.reading, state=state))
        prospects.append(moment.found)
    return Run(joined(readings), joined(prospects))


def run(
    model: SequenceModel, steps: Steps, expected: Expectation, read_n: Tensor | None = None
) -> Run:
    """The same as `walked`, in one run of the memory, and with gradients.

    ``read_n`` are the events that the memory reads, [n] bool; None: all.
    """
    step_nF = tallies(expected, steps.event)
    found_nX = model.senses.found_surprise(model.tables, expected, steps.event)
    inputs_nX = torch.cat(
        model.senses.inputs(model.tables, expected, step_nF, found_nX, steps.event, steps.visit), -1
    )
    if read_n is not None:
        inputs_nX = inputs_nX * read_n.unsqueeze(-1)
    begin, going = beginning(model, steps), steps.carried is not None
    h_nH = model.memory.unroll(begin.h, begin.memory, inputs_nX, steps.active, going=going)
    row_n = steps.session()
    tally_nF = along_sessions(begin.tally, step_nF, steps.active)
    read = model.senses.as_read(steps.event)
    lesson = tastes.lesson(model.tables.loads, expected, found_nX, steps.page, read)
    viewed_nD, sated_nJ, last_n2L = _seen(model, begin, steps)
    even_BG = torch.full_like(begin.evidence, -math.log(model.num_segments))
    state = SequenceState(
        h_nH,
        Nothing(),  # no step goes on from here
        begin.context[row_n],
        tally_nF,
        viewed_nD,
        beliefs(begin.belief, lesson, steps.active),
        even_BG[row_n],
        sated_nJ,
        begin.clicks[row_n],  # which move no likelihood of a step
        last_n2L,
        begin.fold[row_n],
    )
    reading = model.read(state, expected.usual)
    found = model.prospect(reading, steps.page, steps.event, steps.visit)
    # what all segments make alike of a step would cost a long session's sum its digits
    step_nG = tastes.over_nodes(found.evidence()).log_softmax(-1)
    evidence_nG = along_sessions(begin.evidence, step_nG, steps.active)
    reading = dataclasses.replace(
        reading,
        state=dataclasses.replace(state, evidence=evidence_nG.log_softmax(-1)),
        # before any evidence its share is that of the gate alone
        share=(evidence_nG + reading.share).log_softmax(-1),
    )
    return Run(reading, found)


def beliefs(begin: Belief, lesson: Lesson, active: list[int]) -> Belief:
    """Before each step, [n], from sums along the sessions: `tastes.learn`, step by step."""
    total_nX = along_sessions(begin.precision.flatten(1), lesson.information.flatten(1), active)
    precision_nVV = total_nX.view_as(lesson.information)
    covariance_nVV = tastes.inverse(precision_nVV)

    def moved(begin_BV: Tensor, told_nV: Tensor) -> Tensor:
        # by what the event before told: none before the first step
        before = [torch.zeros_like(begin_BV[: active[0]]), *told_nV.split(active)]
        last_nV = torch.cat([part[:n] for part, n in zip(before, active, strict=False)])
        step_nV = times(covariance_nVV, last_nV)
        return along_sessions(begin_BV, step_nV, active) + step_nV

    return Belief(
        mean=moved(begin.mean, lesson.score),
        passed=moved(begin.passed, lesson.passed),
        precision=precision_nVV,
        covariance=covariance_nVV,
    )


def _seen(model: SequenceModel, begin: SequenceState, steps: Steps) -> tuple[Tensor, ...]:
    """Of what was viewed before each step: fading means, counts, the last items; see the state."""
    viewed, sated, last, before, first = begin.viewed, begin.sated, begin.last, [], 0
    for active in steps.active:
        viewed, sated, last = viewed[:active], sated[:active], last[:active]
        before.append((viewed, sated, last))
        event = steps.event.lanes(slice(first, first + active))
        viewed = model.senses.fade(model.tables, viewed, event)
        sated = model.senses.tire(model.tables, sated, event)
        last = remembered(last, event)
        first += active
    return tuple(torch.cat(parts) for parts in zip(*before, strict=True))


def log_prob(
    model: SequenceModel,
    steps: Steps,
    expected: Expectation | None = None,
    read_n: Tensor | None = None,
) -> LogProb:
    """Log-likelihood of each step given all before it, [n].

    A fit passes the expectations that it found at the start of the epoch; without them they are
    the model's own of this moment. Of ``read_n`` see `run`.
    """
    if expected is None:
        expected = expectations(model, steps)
    return log_prob_of(model, *run(model, steps, expected, read_n), steps)


def log_prob_of(model: SequenceModel, reading: Reading, found: Prospect, steps: Steps) -> LogProb:
    """`log_prob`, given the readings before the steps and what was made of these."""
    chosen_nM = tastes.at_nodes(reading.share) + found.kind + found.item
    choice_n = chosen_nM.logsumexp(-1)
    # a gap is observed before every step but the first and the leave step, which has no time
    timed_n = (steps.number > 0) & (steps.event.kind != Kind.LEAVE)
    mean_n, std = model.gap(reading.state)
    # unchecked, so that a fit which explodes can say so itself, and a GPU is not waited for
    normal = torch.distributions.Normal(mean_n, std, validate_args=False)
    gap_n = normal.log_prob(steps.event.gap.clamp(min=1.0).log())
    return LogProb(
        choice=choice_n,
        after=(chosen_nM + found.after).logsumexp(-1) - choice_n,
        gap=torch.where(timed_n, gap_n, torch.zeros_like(gap_n)),
    )
