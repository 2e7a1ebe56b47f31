"""The shopper's choice on a page: a two-level nested logit, as pure functions of a `Response`.

Lower level, given that the shopper goes on: each item i found alone has mass P(i) (they add up to
1); slot k showing item i has mass e^{v_k}, and shares one nest with its organic twin, of mass
(P(i)^{1/d} + e^{v_k/d})^d with dissimilarity d in (0, 1] (Train 2009, "Discrete choice methods
with simulation", section 4.2). What the nest has above P(i) is what the page *adds*; the rest of
what the slot wins is *taken over* from the twin. Upper level: leave, checkout, go on, where going
on has utility 0 plus `page_weight` times log of the lower level's mass (1 without the page).

Drawing follows the same split: first whether the page adds a view; if not, the item that would be
found on an empty page, and then whether its slot takes it over. The law is the nested logit's, and
two pages give the same organic finds under the same noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recgym import organic
from recgym.lanes import Record
from recgym.rng import pick
from recgym.types import Event, Kind, Response, Rivalry, Visit

EXACT = 40.0  # beyond, log(1 + e^x) is x to the last digit


@dataclass(frozen=True)
class Law(Record):
    """The law of one page's choice: a `Response`, weighed once for all that is asked of it.

    Masses of the lower level are relative to an empty page's mass of 1.
    """

    response: Response
    upper: Tensor  # [N, 3] log-probability of leave, checkout and going on, in the order of Kind
    twin: Tensor  # [N, K] organic mass of each shown item on an empty page
    added: Tensor  # [N, K] what each slot's nest gains by being shown
    kept: Tensor  # [N, K] in [0, 1], share of the twin's mass that the page does not take over
    attraction: Tensor  # [N] log(1 + sum of added): the page's added attraction

    def taken(self) -> Tensor:
        """Organic mass that each slot takes over, [N, K]."""
        return self.twin * (1.0 - self.kept)


def nest(log_twin: Tensor, slot: Tensor, dissimilarity: Tensor) -> tuple[Tensor, Tensor]:
    """(added, kept) of a nest with these two log-masses, any shape; see `Law`."""
    d = dissimilarity
    gain = d * torch.logaddexp(log_twin / d, slot / d) - log_twin
    return log_twin.exp() * torch.expm1(gain), (gain * (1.0 - 1.0 / d)).exp()


def law(response: Response, visit: Visit) -> Law:
    """The law of the choice in this visit. An empty slot adds and takes nothing.

    A session begins with its first view, and only a filled cart can be paid.
    """
    filled_NK = response.page_item >= 0
    log_twin_NK = organic.log_prob(response.organic, response.page_item.clamp(min=0))
    # an empty slot has v = -inf: replaced before the arithmetic, since inf - inf poisons gradients
    slot_NK = response.slot.masked_fill(~filled_NK, 0.0)
    added_NK, kept_NK = nest(log_twin_NK, slot_NK, response.dissimilarity)
    if response.rivalry is not None:
        kept_NK = kept(response.rivalry, log_twin_NK, slot_NK, response.dissimilarity)
    added_NK = added_NK.masked_fill(~filled_NK, 0.0)
    attraction_N = torch.log1p(added_NK.sum(-1))
    upper_N3 = torch.stack(
        [
            response.leave.masked_fill(visit.page_number == 0, -torch.inf),
            response.checkout.masked_fill(visit.cart_count() == 0, -torch.inf),
            response.page_weight * attraction_N,
        ],
        -1,
    )
    return Law(
        response=response,
        upper=upper_N3.log_softmax(-1),
        twin=log_twin_NK.exp(),
        added=added_NK,
        kept=kept_NK.masked_fill(~filled_NK, 1.0),
        attraction=attraction_N,
    )


def kept(rivalry: Rivalry, log_twin: Tensor, slot: Tensor, dissimilarity: Tensor) -> Tensor:
    """The mean of what a page leaves of the twins, as a share of their mean masses, [N, K].

    By the two-point rule, which is exact for polynomials of degree 3.
    """
    d, middle = dissimilarity, slot + rivalry.mean - log_twin
    # `nest` of both, of which this needs one part: (1 + r^(1/d))^(d - 1) of the masses' ratio r
    less, more = (
        ((d - 1.0) * F.softplus((middle + side) / d, threshold=EXACT)).exp()
        for side in (-rivalry.sd, rivalry.sd)
    )
    return 0.5 * (less + more)


def slot_given_view(law: Law) -> Tensor:
    """P(slot k is clicked | an item is viewed), [N, K]."""
    return (law.added + law.taken()) * (-law.attraction).exp().unsqueeze(-1)


@dataclass(frozen=True)
class ChoiceProbs(Record):
    """Probabilities of all that can be chosen; they add up to 1."""

    leave: Tensor  # [N]
    checkout: Tensor  # [N]
    organic: Tensor  # [N, I]
    slot: Tensor  # [N, K]


def probabilities(law: Law) -> ChoiceProbs:
    """The whole distribution of the choice, over all of the catalogue."""
    upper_N3, taken_NK = law.upper.exp(), law.taken()
    go_on_N1 = (upper_N3[:, int(Kind.VIEW)] * (-law.attraction).exp()).unsqueeze(-1)
    found_NI = organic.probabilities(law.response.organic)
    found_NI = found_NI.scatter_add(-1, law.response.page_item.clamp(min=0), -taken_NK)
    return ChoiceProbs(
        upper_N3[:, int(Kind.LEAVE)],
        upper_N3[:, int(Kind.CHECKOUT)],
        found_NI * go_on_N1,
        (law.added + taken_NK) * go_on_N1,
    )


def log_prob(law: Law, event: Event) -> Tensor:
    """Log-likelihood of the events' choices, [N]."""
    upper_N = law.upper.gather(-1, event.kind.unsqueeze(-1)).squeeze(-1)
    return upper_N + log_prob_of_item(law, event)


def log_prob_of_item(law: Law, event: Event) -> Tensor:
    """Log-likelihood of the item viewed and its slot, given that one is viewed; else 0; [N]."""
    item_N1, page_item_NK = event.item.clamp(min=0).unsqueeze(-1), law.response.page_item
    lower_N = organic.log_prob(law.response.organic, item_N1).squeeze(-1)
    if page_item_NK.shape[-1] > 0:
        twin_shown_NK = (page_item_NK == item_N1) & (page_item_NK >= 0)
        kept_N = torch.where(twin_shown_NK, law.kept, torch.ones_like(law.kept)).prod(-1)
        # kept may be 0 to rounding where an organic twin was chosen all the same
        tiny = torch.finfo(kept_N.dtype).tiny
        mass_NK = law.added + law.taken()
        slot_N = mass_NK.gather(-1, event.slot.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        lower_N = torch.where(
            event.slot >= 0, slot_N.clamp(min=tiny).log(), lower_N + kept_N.clamp(min=tiny).log()
        )
        lower_N = lower_N - law.attraction
    return torch.where(event.kind == int(Kind.VIEW), lower_N, torch.zeros_like(lower_N))


@dataclass(frozen=True)
class Draws(Record):
    """One uniform a level, each [N] in [0, 1)."""

    upper: Tensor
    from_page: Tensor
    category: Tensor
    latent: Tensor
    item: Tensor
    take_over: Tensor
    slot: Tensor


def sample(law: Law, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Draw (kind, item, slot), each [N] int64; item and slot are -1 where there is none."""
    # order leave, checkout, go on reversed: the page moves only the edges next to "leave"
    kind_N = int(Kind.VIEW) - pick(law.upper.exp().flip(-1), draws.upper)
    not_viewed_N = kind_N != int(Kind.VIEW)
    found = law.response.organic
    item_N = organic.draw(found, draws.category, draws.latent, draws.item)
    page_item_NK = law.response.page_item
    if page_item_NK.shape[-1] == 0:
        return kind_N, item_N.masked_fill(not_viewed_N, -1), torch.full_like(item_N, -1)
    # an item stands on a page once at most: its slot may take it over
    taken_NK = (page_item_NK == item_N.unsqueeze(-1)) & (draws.take_over.unsqueeze(-1) >= law.kept)
    added_N1 = (draws.from_page < -torch.expm1(-law.attraction)).unsqueeze(-1)
    # without any weight, `pick` goes one past the last slot
    slot_N = pick(torch.where(added_N1, law.added, taken_NK.to(law.added)), draws.slot)
    none_N = (slot_N == page_item_NK.shape[-1]) | not_viewed_N
    slot_N = slot_N.masked_fill(none_N, -1)
    shown_N = page_item_NK.gather(-1, slot_N.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    item_N = torch.where(none_N, item_N.masked_fill(not_viewed_N, -1), shown_N)
    return kind_N, item_N, slot_N
