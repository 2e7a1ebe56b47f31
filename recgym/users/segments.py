"""Segments of shoppers who differ in patience, taste and eagerness to buy.

They are told apart by Bayes' rule: a latent-class model (Kamakura and Russell 1989, "A
probabilistic choice model for market segmentation and elasticity structure", equation 4; for
durations Heckman and Singer 1984, "A method for minimizing the impact of distributional assumptions
in econometric models for duration data"). Two things that a fit without segments gets wrong, and
that a policy would exploit: who is still there is more patient than who left, the less so the
better the pages were; and a page of items that one segment likes fills up with the clicks of that
segment, where those of one average shopper would go on rising.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import choice
from recgym.lanes import Record
from recgym.types import Event, Kind
from recgym.users.base import AfterLogits, after_log_probs
from recgym.users.surprises import Expectation
from recgym.users.tastes import averaged


@dataclass(frozen=True)
class Prospect(Record):
    """What each segment makes of a page and of the event that followed, in nats.

    G counts whatever is still open about a shopper: segments, or those at each node of taste.
    """

    kind: Tensor  # [N, G] log-likelihood of the event's kind
    item: Tensor  # [N, G] of its item and slot, given a view; else 0
    after: Tensor  # [N, G] of what followed, given a view; else 0
    leave: Tensor  # [N, G] probability of leaving
    view: Tensor  # [N, G] of viewing an item
    slot: Tensor  # [N, G, K] of each slot, given a view
    follow: Tensor  # [N, G, 4] of what would follow viewing the event's item, as in `After`
    logits: Tensor  # [N, G, 3] of buy, cart, favourite, were the shopper's own taste as believed
    spread: Tensor  # [N, G, 3] their variance, of which `follow` is the mean
    taken: Tensor  # [N, G, K] share of the finds that each slot takes over
    attraction: Tensor  # [N, G] of the page, see `recgym.choice.Law`

    def evidence(self) -> Tensor:
        """Log-likelihood of the event in each segment, [N, G]."""
        return self.kind + self.item + self.after


def prospect(
    law: choice.Law, logits_M3: Tensor, spread_M3: Tensor, event: Event, num_segments: int
) -> Prospect:
    """From the laws of M = N · G lanes; logits and their variances are of their event's item."""
    follow_M4 = after_log_probs(mean_logits(logits_M3, spread_M3))
    kind_M = law.upper.gather(-1, event.kind.unsqueeze(-1)).squeeze(-1)
    after_M = follow_M4.gather(-1, event.after.unsqueeze(-1)).squeeze(-1)
    whole = Prospect(
        kind=kind_M,
        item=choice.log_prob_of_item(law, event),
        after=torch.where(event.kind == int(Kind.VIEW), after_M, 0.0),
        leave=law.upper[:, int(Kind.LEAVE)].exp(),
        view=law.upper[:, int(Kind.VIEW)].exp(),
        slot=choice.slot_given_view(law),
        follow=follow_M4.exp(),
        logits=logits_M3,
        spread=spread_M3,
        taken=law.taken(),
        attraction=law.attraction,
    )
    return whole._map(lambda value: value.unflatten(0, (-1, num_segments)))


def mean_logits(logits_X3: Tensor, spread_X3: Tensor) -> AfterLogits:
    """Logits of the mean chances of buy, cart and favourite over the shopper's own taste."""
    return AfterLogits(*averaged(logits_X3, spread_X3).unbind(-1))


def expect(
    log_share_NG: Tensor, found: Prospect, mean_NX: Tensor, page_NKX: Tensor, searched_N: Tensor
) -> Expectation:
    """What is expected of the page over all segments.

    To a fit's gradient they are constants: it takes them from `likelihood.expectations`.

    Args:
        log_share_NG: log-probability of each segment.
        found: what each makes of the page.
        mean_NX: mean input of what would be found on an empty page, the same in all segments.
        page_NKX: inputs of the page's items, which slots that take them over leave less to find.
        searched_N: see `Expectation`.
    """
    share_NG = log_share_NG.softmax(-1)
    viewing_NG = share_NG * found.view
    viewing_NG = viewing_NG / viewing_NG.sum(-1, keepdim=True)
    chosen_NG = (log_share_NG + found.kind + found.item).softmax(-1)
    return Expectation(
        leave=(share_NG * found.leave).sum(-1),
        slot=(viewing_NG.unsqueeze(-1) * found.slot).sum(1),
        after=(chosen_NG.unsqueeze(-1) * found.follow).sum(1),
        found=_left_to_find(share_NG, found, mean_NX, page_NKX),
        usual=mean_NX,
        searched=searched_N,
    )


def _left_to_find(share_NG: Tensor, found: Prospect, mean_NX: Tensor, page_NKX: Tensor) -> Tensor:
    """Mean input of what is found alone beside the page, [N, X]."""
    weight_NG = share_NG * found.view * (-found.attraction).exp()
    taken_NK = (weight_NG.unsqueeze(-1) * found.taken).sum(1)
    taken_NX = (taken_NK.unsqueeze(-1) * page_NKX).sum(1)
    weight_N1 = weight_NG.sum(-1, keepdim=True)
    left_N1 = weight_N1 - taken_NK.sum(-1, keepdim=True)
    tiny = torch.finfo(left_N1.dtype).tiny
    return (mean_NX * weight_N1 - taken_NX) / left_N1.clamp(min=tiny)


def along_sessions(start_BF: Tensor, step_nF: Tensor, active: list[int]) -> Tensor:
    """Sums before each step, [n, F].

    Args:
        start_BF: before the first step.
        step_nF: what each step adds, in lock-step order (`likelihood.Steps`).
        active: sessions that reach each step.
    """
    # no table of sessions by steps: a batch's longest session may be twenty times its mean
    sum_BF, before = start_BF, []
    for part in step_nF.split(active):
        if len(part) < len(sum_BF):
            sum_BF = sum_BF[: len(part)]
        before.append(sum_BF)
        sum_BF = sum_BF + part
    return torch.cat(before)
