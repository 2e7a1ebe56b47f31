"""What lies beyond the class of a user model: reference prices, context, segments, drift, boredom.

Each part is a pure function of tensors, and is called only where its knob is on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.lanes import Shared
from recgym.types import DAY_MS, Event, Kind, Page
from recgym.worlds.catalogue import START_MS, generator_of, normal
from recgym.worlds.knobs import Knobs

WEEK_MS = 7 * DAY_MS
MOST_SLOTS = 64
VIEW_WEIGHT = 5.0  # impressions whose prices impress as much as that of one item viewed


@dataclass(frozen=True)
class PageLaw(Shared):
    """How each segment answers pages; one row a segment, or a single one that is all alike."""

    slot: Tensor  # [G, MOST_SLOTS] log-mass of an ordinary item in each slot
    shown_pull: Tensor  # [G] weight of the taste for shown items
    dissimilarity: Tensor  # [G]
    page_weight: Tensor  # [G]


def page_laws(knobs: Knobs, device: torch.device, dtype: torch.dtype) -> PageLaw:
    """Of each segment its own law of the page, drawn around that of the knobs.

    A latent-class model (Kamakura and Russell 1989, "A probabilistic choice model for market
    segmentation and elasticity structure"): the classes differ in how steeply attention falls, how
    much a page draws, how far a shown item competes with its twin, and what taste counts.
    """
    z_5G = knobs.heterogeneity * normal(generator_of(knobs.seed, 3), 5, knobs.num_segments)
    if knobs.heterogeneity == 0.0:
        z_5G = z_5G[:, :1]
    slot_G1, steep_G1 = (knobs.slot + z_5G[0]).unsqueeze(-1), z_5G[1].exp().unsqueeze(-1)
    doublings_J = torch.arange(1, MOST_SLOTS + 1).double().log2()
    return PageLaw(
        slot=(slot_G1 - knobs.position * steep_G1 * doublings_J).to(device, dtype),
        shown_pull=(knobs.shown_pull * z_5G[2].exp()).to(device, dtype),
        dissimilarity=_odds_moved(knobs.dissimilarity, z_5G[3]).to(device, dtype),
        page_weight=_odds_moved(knobs.page_weight, z_5G[4]).to(device, dtype),
    )


def _odds_moved(share: float, by_G: Tensor) -> Tensor:
    """A share whose odds are multiplied by e^by, [G]; unmoved it stays what it was to the bit."""
    odds_G = share * by_G.exp()
    return odds_G / (odds_G + (1.0 - share))


def walk(knobs: Knobs, start_J: Tensor, purpose: int) -> Tensor:
    """A random walk by weeks that begins at ``start_J``: [W, J]."""
    num_weeks = -(-knobs.num_days // 7)
    step_WJ = knobs.drift * normal(generator_of(knobs.seed, purpose), num_weeks, len(start_J))
    step_WJ[0] = 0.0
    return start_J + step_WJ.cumsum(0).to(start_J)


def week_of(time_ms_N: Tensor, num_days: int) -> Tensor:
    """Row of a walk for each lane's time, [N] int64."""
    week_N = torch.div(time_ms_N - START_MS, WEEK_MS, rounding_mode="floor")
    return week_N.clamp(0, -(-num_days // 7) - 1)


def against_reference(log_price: Tensor, reference: Tensor, loss_aversion: float) -> Tensor:
    """Log price above the reference, losses counted more than gains; falls in utility.

    "Sticker shock" with loss aversion (Kalyanaram and Winer 1995, "Empirical generalizations from
    reference price research"; Hardie, Johnson and Fader 1993, equation 4).
    """
    dear = log_price - reference
    return dear.clamp(max=0.0) + loss_aversion * dear.clamp(min=0.0)


def next_reference(reference_N: Tensor, page: Page, event: Event, memory: float) -> Tensor:
    """The reference log price after a page: a fading mean of what was seen, [N]."""
    shown_NK = (page.item >= 0).to(reference_N)
    viewed_N = VIEW_WEIGHT * (event.kind == int(Kind.VIEW)).to(reference_N)
    seen_N = (page.price.clamp(min=1e-6).log() * shown_NK).sum(-1)
    seen_N = seen_N + event.price.clamp(min=1e-6).log() * viewed_N
    weight_N = shown_NK.sum(-1) + viewed_N
    moved_N = memory * reference_N + (1.0 - memory) * seen_N / weight_N.clamp(min=1.0)
    return torch.where(weight_N > 0, moved_N, reference_N)


def context(
    knobs: Knobs,
    page: Page,
    factor_NKF: Tensor,
    category_NK: Tensor,
    worth_NK: Tensor,
) -> Tensor:
    """What the rest of the page adds to the log-mass of each slot, [N, K].

    Similarity: items alike take from each other. Attraction: an item gains beside one of its
    category that is dearer and no better (Rooderkerk, Van Heerde and Bijmolt 2011, "Incorporating
    context effects into a choice model"; Huber, Payne and Puto 1982).
    """
    filled_NK = page.item >= 0
    count = page.item.shape[1]
    other_KK = ~torch.eye(count, dtype=torch.bool, device=page.item.device)
    other_NKK = filled_NK.unsqueeze(1) & other_KK
    unit_NKF = torch.nn.functional.normalize(factor_NKF, dim=-1)
    alike_NKK = (unit_NKF @ unit_NKF.transpose(1, 2)).clamp(min=0.0) * other_NKK
    same_NKK = category_NK.unsqueeze(-1) == category_NK.unsqueeze(-2)
    dearer_NKK = page.price.unsqueeze(1) > page.price.unsqueeze(2)  # slot j than slot k
    worse_NKK = worth_NK.unsqueeze(1) <= worth_NK.unsqueeze(2)
    dominates_NK = (same_NKK & dearer_NKK & worse_NKK & other_NKK).any(-1).to(factor_NKF.dtype)
    return knobs.decoy * dominates_NK - knobs.similarity * alike_NKK.mean(-1)


def next_sated(sated_NC: Tensor, category_N: Tensor, viewed_N1: Tensor, memory: float) -> Tensor:
    """How often each category was viewed of late, fading view by view, [N, C].

    The inventories of attributes in a dynamic satiation model (McAlister 1982, "A dynamic attribute
    satiation model of variety-seeking behavior").
    """
    one_NC = torch.nn.functional.one_hot(category_N, sated_NC.shape[1]).to(sated_NC.dtype)
    return torch.where(viewed_N1, memory * sated_NC + one_NC, sated_NC)
