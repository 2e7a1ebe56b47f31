"""Coming back to an item that was viewed before: which share of finds it is, and which items.

A mixture of a pointer into what the session viewed and of the search, whose one softmax holds both
(Merity, Xiong, Bradbury and Socher 2017, "Pointer sentinel mixture models", equations 3 to 6;
of shoppers Ren et al. 2019, "RepeatNet"): place l, the l-th last view, has a logit of its own, one
for what followed that view, and one for all places that is linear in what the memory says; the
search's is 0. Repeat consumption falls with the time since (Anderson et al. 2014, "The dynamics of
repeat consumption", section 4.2), as the places' own logits can.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recgym.types import After, Event, Kind, Organic, Repeat, Sessions

SELDOM = -6.0  # logit of a place that nobody came back to, about


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

    def repeat(self, h_NH: Tensor, last_N2L: Tensor) -> Repeat:
        """What is come back to, given the last views and what followed them."""
        item_NL, after_NL = last_N2L.unbind(1)
        logit_NL = self.place + self.after[after_NL.clamp(min=0)]
        logit_NL = logit_NL + (h_NH @ self.of_memory).unsqueeze(-1)
        logit_NL = logit_NL.masked_fill(item_NL < 0, -torch.inf)
        share_NX = torch.cat([torch.zeros_like(logit_NL[:, :1]), logit_NL], -1).softmax(-1)
        return Repeat(item_NL, share_NX[:, 1:], share_NX[:, 0])

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


def came_back(found: Organic, item_NJ: Tensor | None, clicked_NJ: Tensor | bool) -> Tensor:
    """Whether these items (None: all), viewed alone, were viewed before, [N, J].

    Who comes back to an item by themselves is keener on it than who is shown it once more, so that
    a click on such an item is a click like others.
    """
    repeat = found.repeat
    assert repeat is not None
    if item_NJ is None:
        num_items = len(found.table.category)
        none_NI = repeat.share.new_zeros(len(repeat.item), num_items)
        known_NL = (repeat.item >= 0).to(none_NI.dtype)
        back_NJ = none_NI.scatter_reduce(-1, repeat.item.clamp(min=0), known_NL, "amax")
    else:
        same_NJL = item_NJ.unsqueeze(-1) == repeat.item.unsqueeze(1)
        back_NJ = same_NJL.any(-1).to(repeat.share.dtype)
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
