"""Whether shoppers of a true shop come back: contentment that pages move.

A page is *like* -1 to 1: better for a click and for an order, worse for items that stood on the
last pages; some categories please those who click there more than others, whatever they sell.
Contentment c goes a share of the way there at each page, c' = c + rate (x - c): the
learning curve U(t) ~ 1 - exp(-beta t) by which users come to expect what they met (Hohnhold,
O'Brien and Tang 2015, "Focusing on the long-term: it's good for users and business", section 4),
which is bounded and fades. It belongs to the shopper, and moves the logit of coming back after a
session; the days away are log-normal and do not depend on it. That a whole session's pages decide
about the next one is what Zou et al. 2019, "Reinforcement learning to optimize long-term user
engagement in recommender systems", train for. All weights are ours and have no source.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recgym import visit
from recgym.types import Event, Kind, Page
from recgym.users.base import Return
from recgym.worlds.catalogue import generator_of, normal
from recgym.worlds.knobs import Knobs


def kinds(knobs: Knobs, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What a click on an item of each category is like, [C]."""
    z_C = normal(generator_of(knobs.seed, 6), knobs.num_categories)
    return (knobs.content_click + knobs.content_kind * z_C).to(device, dtype)


def page_like(
    knobs: Knobs, clicked_N: Tensor, page: Page, event: Event, recent_NR: Tensor
) -> Tensor:
    """What the page that an event answered was like, [N] in [-1, 1].

    ``clicked_N`` is what a click on the item viewed is like.
    """
    like_N = (
        clicked_N * (event.slot >= 0)
        + knobs.content_order * visit.ordered(event)
        - knobs.content_repeat * visit.repeated(page, recent_NR)
    )
    return like_N.clamp(-1.0, 1.0)


def next_content(knobs: Knobs, content_N: Tensor, like_N: Tensor, event: Event) -> Tensor:
    """Contentment after an event, [N]; a page that was left on was not looked at."""
    looked_N = event.kind != int(Kind.LEAVE)
    return content_N + knobs.content_rate * (like_N.to(content_N) - content_N) * looked_N


def return_law(knobs: Knobs, content_N: Tensor) -> Return:
    """Who comes back, and the log of the days until then."""
    return Return(
        logit=knobs.return_base + knobs.return_weight * content_N,
        mean=torch.full_like(content_N, math.log(knobs.return_days)),
        std=content_N.new_full((), knobs.return_spread),
    )
