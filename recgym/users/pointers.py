"""Single items that are found beside the search: come back to, or next to what was viewed last.

A mixture of pointers at single items and of the search, whose one softmax holds all (Merity, Xiong,
Bradbury and Socher 2017, "Pointer sentinel mixture models", equations 3 to 6; of shoppers Ren et
al. 2019, "RepeatNet"). Each place has a logit; the search's is 0.

*Repeats*: the l-th last view has a logit of its own, one for what followed that view, and one for
all views that is linear in what the memory says. Repeat consumption falls with the time since
(Anderson et al. 2014, "The dynamics of repeat consumption", section 4.2), as these logits can.

*Successors*: a shop's own links lead from item to item, and no taste says which. What follows the
last view most often has a logit linear in the log of its share of all that follows, in the log of
how often that was counted, and in what the memory says. Pairs count by one over the views between,
plus one (sequential rules: Kamehkhosh, Jannach and Ludewig 2017, "A comparison of frequent pattern
techniques and a deep learning method for session-based recommendation"). There are several tables
of counts, each without some of the sessions, and a session is foreseen by the one that has not met
it: with the very find among them that is foreseen, a fit would trust counts more than a shopper of
tomorrow bears out (cross-fitting: Stone 1974, "Cross-validatory choice and assessment of
statistical predictions").
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recgym.types import After, Event, Kind, Organic, Pointers, Sessions

FOLDS = 4  # tables of what follows what
LAGS = 4  # views before a find that it follows
SELDOM = -6.0  # logit of a place that nobody came back to, about


class Places(NamedTuple):
    """Places of single items."""

    item: Tensor  # [N, J] int64, -1 for none
    logit: Tensor  # [N, J], -inf for none
    viewed: bool  # whether they are earlier views


class Repeats(nn.Module):
    """How often a find is one of the last L items viewed.

    Args:
        hidden: H, columns of the memory's output.
        places: L.
    """

    def __init__(self, hidden: int, places: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.full((places,), SELDOM))
        self.after = nn.Parameter(torch.zeros(len(After)))
        # zeros, that is, and no random numbers: a fit without repeats begins as it did
        self.of_memory = nn.Parameter(torch.zeros(hidden))

    def places(self, h_NH: Tensor, last_N2L: Tensor, fold_N: Tensor) -> Places:
        """What may be come back to, given the last views and what followed them."""
        item_NL, after_NL = last_N2L[..., : len(self.place)].unbind(1)
        logit_NL = self.place + self.after[after_NL.clamp(min=0)]
        logit_NL = logit_NL + (h_NH @ self.of_memory).unsqueeze(-1)
        return Places(item_NL, logit_NL.masked_fill(item_NL < 0, -torch.inf), viewed=True)

    @torch.no_grad()
    def start_from(self, sessions: Sessions, in_train_S: Tensor) -> None:
        """Set the places' logits to the log's rates, each find counted at the nearest place."""
        seen_SL = last_views(sessions, len(self.place))
        event = sessions.event
        found_S = in_train_S & (event.kind == Kind.VIEW) & (event.slot < 0)
        same_SL = (seen_SL == event.item.unsqueeze(-1)) & found_S.unsqueeze(-1)
        first_SL = same_SL & (same_SL.cumsum(-1) == 1)
        could_SL = (seen_SL >= 0) & found_S.unsqueeze(-1)
        hits_L, could_L = first_SL.double().sum(0), could_SL.double().sum(0)
        rate_L = (hits_L + 0.5) / (could_L + 0.5 / torch.tensor(SELDOM).exp())
        rest = (1.0 - rate_L.sum()).clamp(min=0.05)
        self.place.copy_((rate_L / rest).log())


class Successors(nn.Module):
    """How often a find is one of the M that follow the last view most often.

    Args:
        hidden: H, columns of the memory's output.
        num_items: I.
        places: M.
    """

    next_XM: Tensor  # [F · I, M] int64, -1 for none: of the last view, in each table
    log_share_XM: Tensor  # of all that follows it; -inf for none
    log_count_X: Tensor  # of all that follows it, and one more

    def __init__(self, hidden: int, num_items: int, places: int) -> None:
        super().__init__()
        self.num_items = num_items
        rows = FOLDS * num_items
        self.register_buffer("next_XM", torch.full((rows, places), -1))
        self.register_buffer("log_share_XM", torch.full((rows, places), -torch.inf))
        self.register_buffer("log_count_X", torch.zeros(rows))
        self.level = nn.Parameter(torch.zeros(()))
        self.of_share = nn.Parameter(torch.ones(()))
        self.of_count = nn.Parameter(torch.zeros(()))
        self.of_memory = nn.Parameter(torch.zeros(hidden))

    def places(self, h_NH: Tensor, last_N2L: Tensor, fold_N: Tensor) -> Places:
        """What may follow the last view, by the table of each lane."""
        last_N, known_N1 = last_N2L[:, 0, 0].clamp(min=0), last_N2L[:, 0, :1] >= 0
        row_N = fold_N * self.num_items + last_N
        item_NM = torch.where(known_N1, self.next_XM[row_N], -1)
        level_N = self.level + self.of_count * self.log_count_X[row_N] + h_NH @ self.of_memory
        none_NM = item_NM < 0
        share_NM = self.log_share_XM[row_N].masked_fill(none_NM, 0.0)  # infinity has no gradient
        logit_NM = level_N.unsqueeze(-1) + self.of_share * share_NM
        return Places(item_NM, logit_NM.masked_fill(none_NM, -torch.inf), viewed=False)

    @torch.no_grad()
    def start_from(self, sessions: Sessions, in_train_S: Tensor) -> None:
        """Count what follows what in the sessions in training, each in all tables but its own."""
        event, offset = sessions.event, sessions.offset
        session_S = torch.repeat_interleave(torch.arange(len(offset) - 1), offset.diff())
        seen_SL = last_views(sessions, LAGS)
        found_S1 = (in_train_S & (event.kind == Kind.VIEW) & (event.slot < 0)).unsqueeze(-1)
        step_n, lag_n = (found_S1 & (seen_SL >= 0)).nonzero(as_tuple=True)
        from_n, next_n = seen_SL[step_n, lag_n], event.item[step_n]
        weight_n = 1.0 / (lag_n.double() + 1.0)
        for fold in range(FOLDS):
            among_n = fold_of(session_S[step_n]) != fold
            self._count(fold, from_n[among_n], next_n[among_n], weight_n[among_n])

    def _count(self, fold: int, from_n: Tensor, next_n: Tensor, weight_n: Tensor) -> None:
        """One of the tables, from its pairs."""
        num_items, places = self.num_items, self.next_XM.shape[1]
        pair_p, which_n = (from_n * num_items + next_n).unique(return_inverse=True)
        count_p = weight_n.new_zeros(len(pair_p)).index_add(0, which_n, weight_n)
        all_I = weight_n.new_zeros(num_items).index_add(0, from_n, weight_n)
        from_p, next_p = pair_p // num_items, pair_p % num_items
        order_p = count_p.argsort(descending=True, stable=True)  # of equal ones the first item
        order_p = order_p[from_p[order_p].argsort(stable=True)]
        from_p, next_p, count_p = from_p[order_p], next_p[order_p], count_p[order_p]
        rank_p = torch.arange(len(from_p)) - torch.searchsorted(from_p, from_p)
        kept_p = rank_p < places
        table = slice(fold * num_items, (fold + 1) * num_items)
        at = from_p[kept_p], rank_p[kept_p]
        self.next_XM[table].fill_(-1)[at] = next_p[kept_p].to(self.next_XM)
        share_p = count_p[kept_p] / all_I[from_p[kept_p]]
        self.log_share_XM[table].fill_(-torch.inf)[at] = share_p.log().to(self.log_share_XM)
        self.log_count_X[table] = all_I.log1p().to(self.log_count_X)


def fold_of(session_N: Tensor) -> Tensor:
    """Which table foresees these sessions, [N] int64."""
    return session_N % FOLDS


def mixture(parts: list[Places]) -> Pointers:
    """One softmax of all these places and of the search."""
    item_NJ = torch.cat([part.item for part in parts], -1)
    logit_NJ = torch.cat([part.logit for part in parts], -1)
    share_NX = torch.cat([torch.zeros_like(logit_NJ[:, :1]), logit_NJ], -1).softmax(-1)
    viewed = [torch.full_like(part.item, part.viewed, dtype=torch.bool) for part in parts]
    return Pointers(item_NJ, share_NX[:, 1:], share_NX[:, 0], torch.cat(viewed, -1))


def came_back(found: Organic, item_NJ: Tensor | None, clicked_NJ: Tensor | bool) -> Tensor:
    """Whether these items (None: all), viewed alone, were viewed before, [N, J].

    Who comes back to an item by themselves is keener on it than who is shown it once more, so that
    a click on such an item is a click like others.
    """
    assert found.pointers is not None
    item_NL = found.pointers.item.masked_fill(~found.pointers.viewed, -1)
    dtype = found.pointers.share.dtype
    if item_NJ is None:
        none_NI = found.pointers.share.new_zeros(len(item_NL), len(found.table.category))
        known_NL = (item_NL >= 0).to(dtype)
        back_NJ = none_NI.scatter_reduce(-1, item_NL.clamp(min=0), known_NL, "amax")
    else:
        same_NJL = item_NJ.unsqueeze(-1) == item_NL.unsqueeze(1)
        back_NJ = same_NJL.any(-1).to(dtype)
    return back_NJ * ~clicked_NJ if isinstance(clicked_NJ, Tensor) else back_NJ * (not clicked_NJ)


def remembered(last_N2L: Tensor, event: Event) -> Tensor:
    """The last views after an event, [N, 2, L]."""
    if not last_N2L.shape[-1]:
        return last_N2L
    now_N21 = torch.stack([event.item, event.after], -1).unsqueeze(-1)
    moved_N2L = torch.cat([now_N21, last_N2L], -1)[..., : last_N2L.shape[-1]]
    return torch.where((event.kind == int(Kind.VIEW)).view(-1, 1, 1), moved_N2L, last_N2L)


def last_views(sessions: Sessions, places: int) -> Tensor:
    """Items viewed in the session before each step, newest first, -1 for none, [S, L] int64."""
    event, offset = sessions.event, sessions.offset
    owner_S = torch.repeat_interleave(torch.arange(len(offset) - 1), offset.diff())
    viewed_S = event.kind == Kind.VIEW
    # the number of views of the whole log before each step, and those views one after another
    before_S = viewed_S.long().cumsum(0) - viewed_S.long()
    item_V, owner_V = event.item[viewed_S], owner_S[viewed_S]
    row_SL = before_S.unsqueeze(-1) - torch.arange(1, places + 1)
    at_SL = row_SL.clamp(min=0, max=max(0, len(item_V) - 1))
    known_SL = (row_SL >= 0) & (owner_V[at_SL] == owner_S.unsqueeze(-1))
    return torch.where(known_SL, item_V[at_SL], -1)
