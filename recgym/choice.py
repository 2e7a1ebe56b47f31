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

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.rng import pick
from recgym.types import Event, Kind, Record, Response


@dataclass(frozen=True)
class Shares(Record):
    """Masses of the lower level, relative to an empty page's mass of 1."""

    twin: Tensor  # [N, K] organic mass of each shown item on an empty page
    added: Tensor  # [N, K] what each slot's nest gains by being shown
    kept: Tensor  # [N, K] in [0, 1], share of the twin's mass that the page does not take over
    attraction: Tensor  # [N] log(1 + sum of added): the page's added attraction


def nest(log_twin: Tensor, slot: Tensor, dissimilarity: Tensor) -> tuple[Tensor, Tensor]:
    """(added, kept) of a nest with these two log-masses, any shape; see `Shares`."""
    d = dissimilarity
    gain = d * torch.logaddexp(log_twin / d, slot / d) - log_twin
    return log_twin.exp() * torch.expm1(gain), (gain * (1.0 - 1.0 / d)).exp()


def shares(response: Response) -> Shares:
    """What the page adds and takes over. An empty slot adds and takes nothing."""
    filled_NK = response.page_item >= 0
    log_twin_NK = response.organic.gather(-1, response.page_item.clamp(min=0))
    # an empty slot has v = -inf: replaced before the arithmetic, since inf - inf poisons gradients
    slot_NK = torch.where(filled_NK, response.slot, torch.zeros_like(response.slot))
    added_NK, kept_NK = nest(log_twin_NK, slot_NK, response.dissimilarity)
    added_NK = torch.where(filled_NK, added_NK, torch.zeros_like(added_NK))
    kept_NK = torch.where(filled_NK, kept_NK, torch.ones_like(kept_NK))
    return Shares(log_twin_NK.exp(), added_NK, kept_NK, torch.log1p(added_NK.sum(-1)))


def admissible(response: Response, page_number_N: Tensor, cart_count_N: Tensor) -> Response:
    """A session begins with its first view, and only a filled cart can be paid."""
    never = torch.full_like(response.leave, -torch.inf)
    first_N, filled_N = page_number_N == 0, cart_count_N > 0
    return dataclasses.replace(
        response,
        leave=torch.where(first_N, never, response.leave),
        checkout=torch.where(filled_N, response.checkout, never),
    )


def upper_log_prob(response: Response, attraction_N: Tensor) -> Tensor:
    """Log-probabilities of leave, checkout and going on, [N, 3] in the order of `Kind`."""
    go_on_N = response.page_weight * attraction_N
    return torch.stack([response.leave, response.checkout, go_on_N], -1).log_softmax(-1)


def upper(response: Response) -> Tensor:
    """Probabilities of leave, checkout and going on, [N, 3]."""
    return upper_log_prob(response, shares(response).attraction).exp()


def slot_given_view(response: Response) -> Tensor:
    """P(slot k is clicked | an item is viewed), [N, K]."""
    part = shares(response)
    mass_NK = part.added + part.twin * (1.0 - part.kept)
    return mass_NK * (-part.attraction).exp().unsqueeze(-1)


@dataclass(frozen=True)
class ChoiceProbs(Record):
    """Probabilities of all that can be chosen; they add up to 1."""

    leave: Tensor  # [N]
    checkout: Tensor  # [N]
    organic: Tensor  # [N, I]
    slot: Tensor  # [N, K]


def probabilities(response: Response) -> ChoiceProbs:
    """The whole distribution of the choice."""
    part = shares(response)
    upper_N3 = upper_log_prob(response, part.attraction).exp()
    go_on_N1 = (upper_N3[:, Kind.VIEW] * (-part.attraction).exp()).unsqueeze(-1)
    slot_NK = part.added + part.twin * (1.0 - part.kept)
    taken_NK = part.twin * (1.0 - part.kept)
    organic_NI = response.organic.exp()
    organic_NI = organic_NI.scatter_add(-1, response.page_item.clamp(min=0), -taken_NK)
    return ChoiceProbs(
        upper_N3[:, Kind.LEAVE],
        upper_N3[:, Kind.CHECKOUT],
        organic_NI * go_on_N1,
        slot_NK * go_on_N1,
    )


def log_prob(response: Response, event: Event) -> Tensor:
    """Log-likelihood of the events' choices, [N]."""
    part = shares(response)
    upper_N3 = upper_log_prob(response, part.attraction)
    upper_N = upper_N3.gather(-1, event.kind.unsqueeze(-1)).squeeze(-1)
    item_N1 = event.item.clamp(min=0).unsqueeze(-1)
    found_N = response.organic.gather(-1, item_N1).squeeze(-1)
    if response.page_item.shape[-1] > 0:
        twin_shown_NK = (response.page_item == item_N1) & (response.page_item >= 0)
        kept_N = torch.where(twin_shown_NK, part.kept, torch.ones_like(part.kept)).prod(-1)
        # kept may be 0 to rounding where an organic twin was chosen all the same
        tiny = torch.finfo(kept_N.dtype).tiny
        mass_NK = part.added + part.twin * (1.0 - part.kept)
        slot_N = mass_NK.gather(-1, event.slot.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        lower_N = torch.where(
            event.slot >= 0, slot_N.clamp(min=tiny).log(), found_N + kept_N.clamp(min=tiny).log()
        )
        lower_N = lower_N - part.attraction
    else:
        lower_N = found_N
    return upper_N + torch.where(event.kind == int(Kind.VIEW), lower_N, torch.zeros_like(lower_N))


@dataclass(frozen=True)
class Draws(Record):
    """One uniform a level, each [N] in [0, 1)."""

    upper: Tensor
    from_page: Tensor
    organic: Tensor
    take_over: Tensor
    slot: Tensor


def sample(response: Response, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Draw (kind, item, slot), each [N] int64; item and slot are -1 where there is none."""
    part = shares(response)
    upper_N3 = upper_log_prob(response, part.attraction).exp()
    # order leave, checkout, go on reversed: the page moves only the edges next to "leave"
    kind_N = int(Kind.VIEW) - pick(upper_N3.flip(-1), draws.upper)
    item_N = pick(response.organic.exp(), draws.organic)
    slot_N = torch.full_like(item_N, -1)
    if response.page_item.shape[-1] > 0:
        match_NK = response.page_item == item_N.unsqueeze(-1)
        kept_N = torch.where(match_NK, part.kept, torch.ones_like(part.kept)).prod(-1)
        taken_N = draws.take_over >= kept_N
        slot_N = torch.where(taken_N, match_NK.int().argmax(-1), slot_N)
        added_N = draws.from_page < -torch.expm1(-part.attraction)
        picked_N = pick(part.added, draws.slot)
        slot_N = torch.where(added_N, picked_N, slot_N)
        shown_N = response.page_item.gather(-1, slot_N.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        item_N = torch.where(slot_N >= 0, shown_N, item_N)
    viewed_N = kind_N == int(Kind.VIEW)
    none_N = torch.full_like(item_N, -1)
    return kind_N, torch.where(viewed_N, item_N, none_N), torch.where(viewed_N, slot_N, none_N)
