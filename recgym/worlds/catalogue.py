"""What a true shop draws from its seed before anyone comes: items, prices, segments, search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import organic
from recgym.lanes import Shared
from recgym.types import Catalog, ItemTable
from recgym.worlds.knobs import Knobs

START_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC, a Monday
OWN_STREAM = 1 << 32  # seeds of draws that came later: the first ones must not move
# log-share of an item that only pages show: 4e-18, below the 2^-24 of a draw, so it is never found;
# not -inf, since the nest of such an item must keep its own mass in float32
NEVER_FOUND = -40.0


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normals in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def generator_of(seed: int, purpose: int) -> torch.Generator:
    """A generator of its own for each purpose, 1 or more."""
    return torch.Generator().manual_seed(seed + purpose * OWN_STREAM)


@dataclass(frozen=True)
class Catalogue(Shared):
    """Items and segments of a true shop; everything that was drawn once."""

    site: Catalog  # what the site itself knows
    brand: Tensor  # [I] int64
    factor: Tensor  # [I, F]
    fame: Tensor  # [I] log of attention, as the site knew it before the log began
    appeal: Tensor  # [I] what catches the eye, added to the mass of a slot
    worth: Tensor  # [I] quality, added to the logits of buying
    category_factor: Tensor  # [C, F] mean over the category's items
    category_fame: Tensor  # [C] log of the attention that its items get together
    mood: Tensor  # [Z, F] taste prototypes
    mood_bias: Tensor  # [Z]
    table: ItemTable  # P(item | category, mood)
    organic_centre: Tensor  # [G, F] mean taste of each segment when searching
    own_centre: Tensor  # [G, F] mean taste of its own for what is shown
    mean_log_price: float


@dataclass(frozen=True)
class _Drawn:
    """The first draws of a seed, float64 on the CPU; their order is part of the law."""

    category_I: Tensor
    factor_IF: Tensor
    fame_I: Tensor
    quality_I: Tensor
    log_price_I: Tensor
    appeal_I: Tensor
    organic_centre_GF: Tensor
    own_centre_GF: Tensor
    price_DI: Tensor
    brand_I: Tensor


def _draw(knobs: Knobs) -> _Drawn:
    g = torch.Generator().manual_seed(knobs.seed)
    num_items, num_categories, num_factors = (
        knobs.num_items,
        knobs.num_categories,
        knobs.num_factors,
    )
    category_I = torch.randint(num_categories, (num_items,), generator=g)
    centre_CF = 0.8 * normal(g, num_categories, num_factors)
    factor_IF = centre_CF[category_I] + 0.5 * normal(g, num_items, num_factors)
    factor_IF = factor_IF / num_factors**0.5
    rank_I = torch.randperm(num_items, generator=g) + 1
    fame_I = -knobs.attention * rank_I.double().log()
    quality_I = normal(g, num_items)
    log_price_I = (
        3.2
        + 0.35 * normal(g, num_categories)[category_I]
        + knobs.price_quality * quality_I
        + knobs.price_noise * normal(g, num_items)
    )
    fame_z_I = (fame_I - fame_I.mean()) / fame_I.std()
    # what catches the eye when shown agrees with fame only as far as rho says
    appeal_I = 0.6 * (knobs.rho * fame_z_I + (1 - knobs.rho**2) ** 0.5 * normal(g, num_items))
    organic_centre_GF = 1.2 * normal(g, knobs.num_segments, num_factors)
    own_centre_GF = 1.2 * normal(g, knobs.num_segments, num_factors)
    price_DI = _price_path(g, log_price_I, knobs)
    brand_I = torch.randint(20, (num_items,), generator=g)
    return _Drawn(
        category_I, factor_IF, fame_I, quality_I, log_price_I, appeal_I,
        organic_centre_GF, own_centre_GF, price_DI, brand_I,
    )  # fmt: skip


def draw_catalogue(knobs: Knobs, device: torch.device, dtype: torch.dtype) -> Catalogue:
    """The catalogue of these knobs."""
    drawn = _draw(knobs)

    def tensor(x: Tensor) -> Tensor:
        return x.to(device, dtype)

    category_I, factor_IF = drawn.category_I, drawn.factor_IF
    found_I = drawn.fame_I + NEVER_FOUND * _page_only(knobs, category_I)
    category_factor_CF, category_fame_C = _categories(factor_IF, found_I, category_I, knobs)
    # spread as tastes are
    mood_ZF = 1.34 * normal(generator_of(knobs.seed, 1), knobs.num_moods, knobs.num_factors)
    table = organic.item_table(
        tensor(factor_IF @ mood_ZF.T + found_I.unsqueeze(-1)),
        category_I.to(device),
        knobs.num_categories,
    )
    return Catalogue(
        site=_site(drawn, knobs, device, dtype),
        brand=drawn.brand_I,
        factor=tensor(factor_IF),
        fame=tensor(drawn.fame_I),
        appeal=tensor(drawn.appeal_I),
        worth=tensor(knobs.quality * drawn.quality_I),
        category_factor=tensor(category_factor_CF),
        category_fame=tensor(category_fame_C),
        mood=tensor(mood_ZF),
        mood_bias=tensor(-0.5 * mood_ZF.square().sum(-1)),
        table=table,
        organic_centre=tensor(drawn.organic_centre_GF),
        own_centre=tensor(drawn.own_centre_GF),
        mean_log_price=float(drawn.log_price_I.mean()),
    )


def _site(drawn: _Drawn, knobs: Knobs, device: torch.device, dtype: torch.dtype) -> Catalog:
    one_hot_IC = torch.nn.functional.one_hot(drawn.category_I, knobs.num_categories)
    log_price_I = drawn.log_price_I
    relative_I = (log_price_I - log_price_I.mean()) / log_price_I.std()
    return Catalog(
        price=drawn.price_DI.to(device, dtype),
        category=drawn.category_I.to(device),
        feature=torch.cat([one_hot_IC.double(), relative_I.unsqueeze(-1)], -1).to(device, dtype),
        start_ms=START_MS,
        num_categories=knobs.num_categories,
    )


def _page_only(knobs: Knobs, category_I: Tensor) -> Tensor:
    """Which items nobody finds alone, [I] bool; one of each category can always be found."""
    if knobs.page_only == 0.0:
        return torch.zeros_like(category_I, dtype=torch.bool)
    u_I = torch.rand(len(category_I), generator=generator_of(knobs.seed, 2), dtype=torch.float64)
    least_C = u_I.new_full((knobs.num_categories,), torch.inf)
    least_C = least_C.scatter_reduce(0, category_I, 1 - u_I, "amin")
    return (u_I < knobs.page_only) & (1 - u_I > least_C[category_I])


def _categories(
    factor_IF: Tensor, fame_I: Tensor, category_I: Tensor, knobs: Knobs
) -> tuple[Tensor, Tensor]:
    """Mean factors [C, F] and log of the summed attention [C] of each category."""
    num_categories = knobs.num_categories
    count_C1 = torch.bincount(category_I, minlength=num_categories).clamp(min=1).unsqueeze(-1)
    sum_CF = torch.zeros(num_categories, factor_IF.shape[1], dtype=factor_IF.dtype)
    fame_C = torch.zeros(num_categories, dtype=fame_I.dtype)
    mean_CF = sum_CF.index_add(0, category_I, factor_IF) / count_C1
    return mean_CF, fame_C.index_add(0, category_I, fame_I.exp()).log()


def _price_path(g: torch.Generator, log_price_I: Tensor, knobs: Knobs) -> Tensor:
    """List prices that change weekly, promotions on random item-days: [D, I] currency units."""
    num_days, num_items = knobs.num_days, len(log_price_I)
    num_weeks = -(-num_days // 7)
    weekly_WI = 0.08 * normal(g, num_weeks, num_items)
    list_DI = log_price_I + weekly_WI.repeat_interleave(7, 0)[:num_days]
    promoted_DI = torch.rand(num_days, num_items, generator=g) < knobs.promotion_share
    return (list_DI + knobs.promotion * promoted_DI).exp().mul(100).round().div(100)
