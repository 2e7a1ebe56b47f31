"""Campaigns: drawn at random for a shop, or given by a user, and checked either way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from recgym.ads.auction import micros
from recgym.ads.records import Campaigns
from recgym.errors import UserError
from recgym.settings import Count, Positive, Share, Within, check
from recgym.types import Catalog

ALWAYS = 1 << 40  # day that no simulation reaches
Amount = Annotated[float, Within(0.0)]


def draw_campaigns(
    catalog: Catalog,
    *,
    seed: Annotated[int, Within(0)] = 0,
    num_campaigns: Count = 40,
    num_advertisers: Count = 10,
    mean_value: Positive = 0.3,
    spread: Amount = 0.5,
    shading: Share = 0.4,
    daily_budget: Positive = 2.0,
    part_time: Share = 0.25,
    num_days: Annotated[int, Within(2)] = 30,
    target_roas: Amount = 0.0,
) -> Campaigns:
    """Campaigns of a catalogue's items, each of another item.

    Args:
        catalog: whose items are advertised.
        seed: of all draws.
        num_campaigns: A.
        num_advertisers: each has about as many campaigns as the others.
        mean_value: currency units that a click is worth on average (an order, under `cpa`).
        spread: standard deviation of the values' and the budgets' logarithms.
        shading: at most this share of its value a campaign holds back from its bid.
        daily_budget: currency units on average.
        part_time: share of campaigns that start after day 0 or stop before the last of
            ``num_days``, as many each; the others always run.
        num_days: that starts and stops are spread over.
        target_roas: of every campaign; 0 for none.
    """
    given = {k: v for k, v in locals().items() if k != "catalog"}
    check("campaigns", given, draw_campaigns)
    if num_campaigns > catalog.num_items:
        raise UserError(
            f"campaigns.num_campaigns={num_campaigns}: expected at most one for each of the "
            f"{catalog.num_items} items."
        )
    dtype = catalog.price.dtype
    generator = torch.Generator().manual_seed(seed)

    def log_normal(mean: float) -> Tensor:
        z_A = torch.randn(num_campaigns, generator=generator, dtype=torch.float64)
        return mean * (spread * z_A - spread**2 / 2).exp()

    def uniform() -> Tensor:
        return torch.rand(num_campaigns, generator=generator, dtype=torch.float64)

    item_A = torch.randperm(catalog.num_items, generator=generator)[:num_campaigns]
    value_A = log_normal(mean_value)
    bid_A = value_A * (1.0 - shading * uniform())
    budget_A = micros(log_normal(daily_budget)).clamp(min=1)
    kind_A, day_A = uniform(), 1 + (uniform() * (num_days - 1)).long()
    late_A, early_A = kind_A < part_time / 2, kind_A >= 1.0 - part_time / 2
    return Campaigns(
        item=item_A,
        advertiser=torch.arange(num_campaigns) % num_advertisers,
        value=value_A.to(dtype),
        bid=bid_A.to(dtype),
        budget=budget_A,
        quality=torch.ones(num_campaigns, dtype=dtype),
        start=torch.where(late_A, day_A, 0),
        stop=torch.where(early_A, day_A, ALWAYS),
        target_roas=torch.full((num_campaigns,), target_roas, dtype=dtype),
        num_advertisers=min(num_advertisers, num_campaigns),
    ).to(catalog.category.device)


def campaigns_of(rows: Sequence[Mapping[str, Any]], catalog: Catalog) -> Campaigns:
    """Campaigns as a user lists them, one mapping each with the keywords of `campaign`."""
    if not rows:
        raise UserError(
            "campaigns: the list is empty; expected at least one, such as "
            "{'item': 3, 'bid': 0.2, 'budget': 5}."
        )
    for number, row in enumerate(rows):
        check(f"campaigns[{number}]", row, campaign)
        for name in ("item", "bid", "budget"):
            if name not in row:
                raise UserError(f"campaigns[{number}].{name} is missing: expected a number.")
    full = [campaign(**row) for row in rows]
    _check_items([row["item"] for row in full], catalog)
    for number, row in enumerate(full):
        if row["stop"] <= row["start"]:
            raise UserError(
                f"campaigns[{number}].stop={row['stop']}: expected a day after "
                f"start={row['start']}."
            )

    def column(name: str, dtype: torch.dtype) -> Tensor:
        return torch.tensor([row[name] for row in full], dtype=dtype)

    owner_A, money = column("advertiser", torch.int64), catalog.price.dtype
    return Campaigns(
        item=column("item", torch.int64),
        advertiser=owner_A,
        value=column("value", money),
        bid=column("bid", money),
        budget=micros(column("budget", torch.float64)),
        quality=column("quality", money),
        start=column("start", torch.int64),
        stop=column("stop", torch.int64),
        target_roas=column("target_roas", money),
        num_advertisers=int(owner_A.max()) + 1,
    ).to(catalog.category.device)


def campaign(
    item: Annotated[int, Within(0)],
    bid: Amount,
    budget: Annotated[float, Within(1e-6)],
    value: Amount | None = None,
    advertiser: Annotated[int, Within(0)] = 0,
    quality: Positive = 1.0,
    start: int = 0,
    stop: int = ALWAYS,
    target_roas: Amount = 0.0,
) -> dict[str, Any]:
    """One campaign, see the fields of `Campaigns`; bid, value and budget in currency units."""
    return {**locals(), "value": bid if value is None else value}


def _check_items(items: list[int], catalog: Catalog) -> None:
    if len(items) > catalog.num_items:
        raise UserError(
            f"campaigns: {len(items)} for {catalog.num_items} items; expected at most one an item."
        )
    seen: set[int] = set()
    for number, item in enumerate(items):
        if item >= catalog.num_items:
            raise UserError(
                f"campaigns[{number}].item={item}: expected an item from 0 to "
                f"{catalog.num_items - 1}."
            )
        if item in seen:
            raise UserError(
                f"campaigns[{number}].item={item}: another campaign promotes it already; expected "
                "one an item."
            )
        seen.add(item)
