"""Whether shoppers come back, learned from a log: a head that reads what a site counts.

A mixture cure model (Boag 1949, "Maximum likelihood estimates of the proportion of patients cured
by cancer therapy"; Farewell 1982, "The use of mixture models for the analysis of survival data with
long-term survivors"): after a session with counts x a shopper comes back with probability p(x), a
logit linear in `summaries` and in fading counts of the clicks on each group of categories, and then
after log-normal days that do not depend on x. A session that another of the shopper follows t days
later brings p(x) f(t) to the likelihood; one that none follows in the c days until the log ends
brings 1 - p(x) F(c). So who has not come back *yet* is not taken for gone, and the days are not
taken for shorter than they are: a log that is shorter than most absences cannot tell the two apart,
and then the head is no better than that.

What came before the log began is not seen; a shopper's first session in it is taken for the first.
What else the model remembers is not read: it begins anew in each session, as it is fitted on
sessions that do. Clicks by category are the shopper's, and fade over sessions. A shop in which it
matters which *item* of a category was clicked is so learned on average only.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from recgym import visit
from recgym.lanes import Record
from recgym.types import DAY_MS, Arrival, Event, Page, Past, Sessions, Split, Visit
from recgym.users.base import Return
from recgym.users.states import SequenceState
from recgym.visit import CLICKS, PAGES, RECENT_PAGES

NUM_SUMMARIES = 9  # of `summaries`
RIDGE = 0.5  # of all weights, against logs in which some count never moves; tells for few sessions
DOUBT = 0.5  # sessions with a return and as many without that a constant begins with
MEMORIES = (0.5, 0.7, 0.8, 0.9, 1.0)  # of the counts of clicks: the likeliest is taken
LEAST_RETURNS = 2  # of a log: the days of a single absence have no spread
LEAST_DAYS = 1e-3  # of an absence: two sessions of one second are no minus infinity
CHUNK = 65_536  # steps whose pages are compared at once


class ReturnHead(nn.Module):
    """p(x) and the days away; its tensors are found by `fit_return_head`.

    Args:
        num_groups: J, of categories whose clicks are counted apart.
    """

    weight: Tensor  # [NUM_SUMMARIES + J]
    bias: Tensor  # [] logit
    memory: Tensor  # [] share of the counts of clicks that a page leaves
    days: Tensor  # [2] mean and standard deviation of log days away

    def __init__(self, num_groups: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(NUM_SUMMARIES + num_groups))
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("memory", torch.ones(()))
        self.register_buffer("days", torch.tensor([0.0, 1.0]))

    def forward(self, past: Past, clicks_NJ: Tensor) -> Return:
        """After sessions that ended with these counts."""
        read_NF = torch.cat([summaries(past.tally, past.before, past.sessions), clicks_NJ], -1)
        read_NF = read_NF.to(self.weight)
        return Return(
            read_NF @ self.weight + self.bias, self.days[0].expand(len(read_NF)), self.days[1]
        )

    def count(self, clicks_NJ: Tensor, group_N: Tensor, event: Event) -> Tensor:
        """The fading counts of clicks after an event on an item of these groups, [N, J]."""
        group_J = torch.arange(clicks_NJ.shape[1], device=group_N.device)
        clicked_NJ = (group_N.unsqueeze(-1) == group_J) & (event.slot >= 0).unsqueeze(-1)
        return self.memory.to(clicks_NJ) * clicks_NJ + clicked_NJ


class ComesBack:
    """The verbs of `recgym.users.base.Returning`, for a model fitted on single sessions."""

    return_head: ReturnHead | None  # None where the log was never asked

    @property
    def returns(self) -> bool:
        """Whether the log says who comes back."""
        return self.return_head is not None

    def returning(self, state: Record, visit: Visit) -> Return:
        """Who comes back, by the counts alone."""
        assert self.return_head is not None and visit.past is not None
        assert isinstance(state, SequenceState)
        law: Return = self.return_head(visit.past, state.clicks)
        return law

    def counted(self, clicks_NJ: Tensor, group_N: Tensor, event: Event) -> Tensor:
        """See `ReturnHead.count`; nothing is counted where nobody asks for it."""
        head = self.return_head
        return clicks_NJ if head is None else head.count(clicks_NJ, group_N, event)

    def again(self, state: Record, arrival: Arrival) -> Record:
        """A state from nothing, as all sessions begin that the model was fitted on, but clicks."""
        assert isinstance(state, SequenceState)
        begun: SequenceState = self.init_state(arrival)  # type: ignore[attr-defined]
        return dataclasses.replace(begun, clicks=state.clicks)


def summaries(tally_N4: Tensor, before_N4: Tensor, sessions_N: Tensor) -> Tensor:
    """What the head reads, [N, NUM_SUMMARIES], each of order 1.

    Of this session and of those before: clicks, orders and repeats a page, and log pages; whether
    there were any before.
    """
    parts = []
    for sum_N4 in (tally_N4, before_N4):
        pages_N1 = sum_N4[:, PAGES : PAGES + 1]
        parts.append(sum_N4[:, CLICKS:] / pages_N1.clamp(min=1.0))
        parts.append(pages_N1.log1p())
    parts.append((sessions_N > 0).to(tally_N4).unsqueeze(-1))
    return torch.cat(parts, -1)


def tallies_of(sessions: Sessions) -> Tensor:
    """`Past.tally` at the end of each session of a log, [B, 4]; see `recgym.visit`."""
    event, page, offset = sessions.event, sessions.page, sessions.offset
    owner_S = torch.repeat_interleave(torch.arange(len(offset) - 1), offset.diff())
    repeated_S = torch.zeros(len(owner_S))
    back_R = torch.arange(1, RECENT_PAGES + 1)
    for step_n in torch.arange(len(owner_S)).split(CHUNK):
        row_nR = step_n.unsqueeze(-1) - back_R
        known_nR1 = (row_nR >= offset[owner_S[step_n]].unsqueeze(-1)).unsqueeze(-1)
        recent_nRK = page.item[row_nR.clamp(min=0)].masked_fill(~known_nR1, -1)
        shown = Page(page.item[step_n], page.price[step_n])
        repeated_S[step_n] = visit.repeated(shown, recent_nRK.flatten(1)).float()
    one_S = torch.ones_like(repeated_S)
    columns = [one_S, (event.slot >= 0).float(), visit.ordered(event).float(), repeated_S]
    return torch.zeros(len(offset) - 1, 4).index_add(0, owner_S, torch.stack(columns, -1))


def followed(sessions: Sessions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the head is fitted to, of the training sessions in the order of shoppers and time.

    What `summaries` says [B, NUM_SUMMARIES]; whether another session of the shopper follows in the
    training period [B] bool; days until then, or until that period ends, [B]; its row [B].
    """
    first_B, last_B = sessions.offset[:-1], sessions.offset[1:] - 1
    start_B, end_B = sessions.time_ms[first_B], sessions.time_ms[last_B]
    row_B = (sessions.split == int(Split.TRAIN)).nonzero().squeeze(-1)
    row_B = row_B[start_B[row_B].argsort(stable=True)]
    row_B = row_B[sessions.shopper[row_B].argsort(stable=True)]
    number_B, tally_B4 = _numbers(sessions.shopper[row_B]), tallies_of(sessions)[row_B]
    same_B = torch.zeros(len(row_B), dtype=torch.bool)
    same_B[:-1] = number_B[1:] > 0
    until_B = torch.full_like(start_B[row_B], int(end_B[row_B].max()))
    until_B[:-1] = torch.where(same_B[:-1], start_B[row_B][1:], until_B[:-1])
    days_B = (until_B - end_B[row_B]).double() / DAY_MS
    # sums of all sessions of the shopper before this one
    running_B4 = tally_B4.double().cumsum(0) - tally_B4
    before_B4 = (running_B4 - running_B4[torch.arange(len(row_B)) - number_B]).float()
    return summaries(tally_B4, before_B4, number_B), same_B, days_B, row_B


def _numbers(who_B: Tensor) -> Tensor:
    """How many sessions of the same shopper stand before each one, [B] int64."""
    index_B, begun_B = torch.arange(len(who_B)), torch.ones(len(who_B), dtype=torch.bool)
    begun_B[1:] = who_B[1:] != who_B[:-1]
    return index_B - torch.where(begun_B, index_B, 0).cummax(0).values


def clicks_of(
    sessions: Sessions, row_B: Tensor, group_I: Tensor, num_groups: int, memory: float
) -> Tensor:
    """What `ReturnHead.count` comes to at the end of each session of a log, [B, J].

    Args:
        sessions: of the log.
        row_B: which ones, in the order of `followed`.
        group_I: of each item, in [0, J).
        num_groups: J.
        memory: see `ReturnHead`.
    """
    event, length_B = sessions.event, sessions.offset.diff()
    owner_S = torch.repeat_interleave(torch.arange(len(length_B)), length_B)
    later_S = sessions.offset[owner_S + 1] - 1 - torch.arange(len(owner_S))  # pages after it
    (clicked_X,) = (event.slot >= 0).nonzero(as_tuple=True)
    flat = torch.zeros(len(length_B) * num_groups)
    cell_X = owner_S[clicked_X] * num_groups + group_I[event.item[clicked_X]]
    flat.index_add_(0, cell_X, memory ** later_S[clicked_X].float())
    clicks_BJ, number_B = flat.view(-1, num_groups)[row_B], _numbers(sessions.shopper[row_B])
    (next_X,) = (number_B == 1).nonzero(as_tuple=True)
    while len(next_X):  # second sessions, then third ones, ...: what the one before has left
        left_X1 = (memory ** length_B[row_B[next_X]].float()).unsqueeze(-1)
        clicks_BJ[next_X] += left_X1 * clicks_BJ[next_X - 1]
        next_X = next_X[next_X + 1 < len(number_B)] + 1
        next_X = next_X[number_B[next_X] > 0]
    return clicks_BJ


def log_likelihood(law: Return, back_B: Tensor, days_B: Tensor) -> Tensor:
    """Of each session in nats, [B], but for -log days, which no parameter moves."""
    z_B = (days_B.clamp(min=LEAST_DAYS).log() - law.mean) / law.std
    came_B = F.logsigmoid(law.logit) - 0.5 * z_B.square() - law.std.log()
    came_B = came_B - 0.5 * math.log(2.0 * math.pi)
    not_yet_B = torch.log1p(-torch.sigmoid(law.logit) * torch.special.ndtr(z_B).clamp(max=1 - 1e-9))
    return torch.where(back_B, came_B, not_yet_B)


def num_returns(sessions: Sessions) -> int:
    """How many training sessions of a log another one of the same shopper follows."""
    who_B = sessions.shopper[sessions.split == int(Split.TRAIN)]
    return len(who_B) - len(who_B.unique())


def fit_return_head(sessions: Sessions, group_I: Tensor, num_groups: int) -> ReturnHead | None:
    """The head of greatest likelihood; None where hardly a shopper of the log comes back.

    Args:
        sessions: of the log.
        group_I: of each item, the group of categories that its clicks are counted for, in [0, J).
        num_groups: J.
    """
    if num_returns(sessions) < LEAST_RETURNS:
        return None
    read_BF, back_B, days_B, row_B = followed(sessions)
    found = []
    for memory in MEMORIES:
        clicks_BJ = clicks_of(sessions, row_B, group_I, num_groups, memory)
        head, loss = likeliest(torch.cat([read_BF, clicks_BJ], -1), back_B, days_B)
        head.memory.fill_(memory)
        found.append((loss, head))
    return min(found, key=lambda pair: pair[0])[1]


def likeliest(read_BF: Tensor, back_B: Tensor, days_B: Tensor) -> tuple[ReturnHead, float]:
    """The head of greatest likelihood and its loss, in nats a session.

    Args:
        read_BF: what it reads of each session, [B, NUM_SUMMARIES + J].
        back_B: whether another one followed, [B] bool.
        days_B: until then, or until nobody watched any more, [B].
    """
    count = read_BF.shape[1]
    read_BF, days_B, head = read_BF.double(), days_B.double(), ReturnHead(count - NUM_SUMMARIES)
    seen_B = days_B[back_B].clamp(min=LEAST_DAYS).log()
    share = (int(back_B.sum()) + DOUBT) / (len(back_B) + 2.0 * DOUBT)
    free = [
        torch.zeros(count, dtype=torch.float64),
        torch.tensor(math.log(share / (1.0 - share)), dtype=torch.float64),
        seen_B.mean(),
        seen_B.std().clamp(min=0.1).log(),
    ]
    for value in free:
        value.requires_grad_(True)
    search = torch.optim.LBFGS(free, max_iter=200, line_search_fn="strong_wolfe")

    def value_of() -> Tensor:
        weight_F, bias, mean, log_std = free
        law = Return(read_BF @ weight_F + bias, mean.expand(len(read_BF)), log_std.exp())
        penalty = RIDGE * weight_F.square().sum()
        return (penalty - log_likelihood(law, back_B, days_B).sum()) / len(read_BF)

    def loss() -> Tensor:
        search.zero_grad()
        value = value_of()
        value.backward()
        return value

    search.step(loss)
    with torch.no_grad():
        weight_F, bias, mean, log_std = (value.detach() for value in free)
        head.weight, head.bias = weight_F.float(), bias.float()
        head.days = torch.stack([mean, log_std.exp()]).float()
        return head, float(value_of())
