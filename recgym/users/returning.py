"""Whether shoppers come back, learned from a log: a head that reads what a site counts.

A mixture cure model (Boag 1949, "Maximum likelihood estimates of the proportion of patients cured
by cancer therapy"; Farewell 1982, "The use of mixture models for the analysis of survival data with
long-term survivors"): after a session with counts x a shopper comes back with
probability p(x), a logit linear in `summaries`, and then after log-normal days that do not depend
on x. A session that another of the shopper follows t days later brings p(x) f(t) to the likelihood;
one that none follows in the c days until the log ends brings 1 - p(x) F(c). So who has not come
back *yet* is not taken for gone, and the days are not taken for shorter than they are: a log that
is shorter than most absences cannot tell the two apart, and then the head is no better than that.

What came before the log began is not seen; a shopper's first session in it is taken for the first.
The counts alone are read: not which items were clicked, and none of the model's own state, which
begins anew in each session (it is fitted on sessions that do). A shop in which it matters *what*
was clicked is so learned on average only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from recgym import visit
from recgym.lanes import Record
from recgym.types import DAY_MS, Arrival, Page, Past, Sessions, Split, Visit
from recgym.users.base import Return
from recgym.visit import CLICKS, PAGES, RECENT_PAGES

NUM_SUMMARIES = 9  # of `summaries`
RIDGE = 0.5  # of all weights, against logs in which some count never moves; tells for few sessions
DOUBT = 0.5  # sessions with a return and as many without that a constant begins with
LEAST_DAYS = 1e-3  # of an absence: two sessions of one second are no minus infinity
CHUNK = 65_536  # steps whose pages are compared at once


class ReturnHead(nn.Module):
    """p(x) and the days away; its tensors are found by `fit_return_head`."""

    weight: Tensor  # [NUM_SUMMARIES]
    bias: Tensor  # [] logit
    days: Tensor  # [2] mean and standard deviation of log days away

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(NUM_SUMMARIES))
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("days", torch.tensor([0.0, 1.0]))

    def forward(self, past: Past) -> Return:
        """After sessions that ended with these counts."""
        read_NF = summaries(past.tally, past.before, past.sessions).to(self.weight)
        return Return(
            read_NF @ self.weight + self.bias, self.days[0].expand(len(read_NF)), self.days[1]
        )


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
        law: Return = self.return_head(visit.past)
        return law

    def again(self, state: Record, arrival: Arrival) -> Record:
        """A state from nothing, as all sessions begin that the model was fitted on."""
        begun: Record = self.init_state(arrival)  # type: ignore[attr-defined]
        return begun


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

    What it reads [B, NUM_SUMMARIES]; whether another session of the shopper follows in the training
    period [B] bool; days until then, or until that period ends, [B]; the session's row [B].
    """
    first_B, last_B = sessions.offset[:-1], sessions.offset[1:] - 1
    start_B, end_B = sessions.time_ms[first_B], sessions.time_ms[last_B]
    row_B = (sessions.split == int(Split.TRAIN)).nonzero().squeeze(-1)
    row_B = row_B[start_B[row_B].argsort(stable=True)]
    row_B = row_B[sessions.shopper[row_B].argsort(stable=True)]
    who_B, tally_B4 = sessions.shopper[row_B], tallies_of(sessions)[row_B]
    same_B = torch.zeros(len(row_B), dtype=torch.bool)
    same_B[:-1] = who_B[1:] == who_B[:-1]
    until_B = torch.full_like(start_B[row_B], int(end_B[row_B].max()))
    until_B[:-1] = torch.where(same_B[:-1], start_B[row_B][1:], until_B[:-1])
    days_B = (until_B - end_B[row_B]).double() / DAY_MS
    # sums of all sessions of the shopper before this one
    index_B = torch.arange(len(row_B))
    begun_B = torch.ones_like(same_B)
    begun_B[1:] = ~same_B[:-1]
    first_of_B = torch.where(begun_B, index_B, 0).cummax(0).values
    running_B4 = tally_B4.double().cumsum(0) - tally_B4
    before_B4 = (running_B4 - running_B4[first_of_B]).float()
    read_BF = summaries(tally_B4, before_B4, index_B - first_of_B)
    return read_BF, same_B, days_B, row_B


def log_likelihood(law: Return, back_B: Tensor, days_B: Tensor) -> Tensor:
    """Of each session in nats, [B], but for -log days, which no parameter moves."""
    z_B = (days_B.clamp(min=LEAST_DAYS).log() - law.mean) / law.std
    came_B = F.logsigmoid(law.logit) - 0.5 * z_B.square() - law.std.log()
    came_B = came_B - 0.5 * math.log(2.0 * math.pi)
    not_yet_B = torch.log1p(-torch.sigmoid(law.logit) * torch.special.ndtr(z_B).clamp(max=1 - 1e-9))
    return torch.where(back_B, came_B, not_yet_B)


def fit_return_head(sessions: Sessions) -> ReturnHead | None:
    """The head of greatest likelihood; None where hardly a shopper of the log comes back."""
    read_BF, back_B, days_B, _ = followed(sessions)
    if int(back_B.sum()) < 2:  # days away have no spread
        return None
    return likeliest(read_BF, back_B, days_B)


def likeliest(read_BF: Tensor, back_B: Tensor, days_B: Tensor) -> ReturnHead:
    """The head of greatest likelihood, given what `followed` gives."""
    read_BF, days_B, head = read_BF.double(), days_B.double(), ReturnHead()
    seen_B = days_B[back_B].clamp(min=LEAST_DAYS).log()
    share = (int(back_B.sum()) + DOUBT) / (len(back_B) + 2.0 * DOUBT)
    free = [
        torch.zeros(NUM_SUMMARIES, dtype=torch.float64),
        torch.tensor(math.log(share / (1.0 - share)), dtype=torch.float64),
        seen_B.mean(),
        seen_B.std().clamp(min=0.1).log(),
    ]
    for value in free:
        value.requires_grad_(True)
    search = torch.optim.LBFGS(free, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        weight_F, bias, mean, log_std = free
        law = Return(read_BF @ weight_F + bias, mean.expand(len(read_BF)), log_std.exp())
        penalty = RIDGE * weight_F.square().sum()
        value = (penalty - log_likelihood(law, back_B, days_B).sum()) / len(read_BF)
        value.backward()
        return value

    search.step(loss)
    weight_F, bias, mean, log_std = (value.detach() for value in free)
    head.weight, head.bias = weight_F.float(), bias.float()
    head.days = torch.stack([mean, log_std.exp()]).float()
    return head
