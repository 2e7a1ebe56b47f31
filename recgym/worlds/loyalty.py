"""Whether shoppers of a true shop come back: contentment that pages move.

A page is *like* -1 to 1: better for a click and for an order, worse for items that stood on the
last pages; some categories please those who click there more than others, whatever they sell. That
users learn from the quality of what they viewed and clicked, so that what earns most now may cost
later, is the finding of Hohnhold, O'Brien and Tang 2015, "Focusing on the long-term: it's good for
users and business"; that what pages were like decides about the next session is what Zou et al.
2019, "Reinforcement learning to optimize long-term user engagement in recommender systems", train
for. The form is ours, the simplest that fades and is bounded: contentment c goes a share of the way
to what a page was like, c' = c + rate (x - c), belongs to the shopper, and moves the logit of
coming back after a session. The days away are log-normal and do not depend on it. No weight has a
source.
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
