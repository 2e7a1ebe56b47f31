"""Shops of any size to measure on: no log is read and nothing is fitted."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from recgym.lanes import Record
from recgym.types import After, Catalog, Event, Kind, Page, Sessions, Split
from recgym.users.lstm import LSTMUserModel
from recgym.users.training import start_from_counts
from recgym.worlds.taste import TasteShop

START_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
DAYS = 28
FEATURES = 8
FEATURE_SD = 0.1  # small, so that an untrained model's tastes stay within about one logit
PROFILE = 4
MEAN_PAGES = 7.0  # of a session in the log; pages hold shoppers of `learned` for one more
CLICKED = 0.2  # share of views that are clicks on the page
LOG_SESSIONS = 2_000  # whose rates the shoppers of `learned` take over


def num_categories(num_items: int) -> int:
    """About the square root: a choice of category, then of item, is then as cheap as it gets."""
    return max(1, math.isqrt(num_items))


def catalog(num_items: int, seed: int = 0) -> Catalog:
    """Items in categories of unequal size (a Zipf law), with prices that change daily."""
    g = torch.Generator().manual_seed(seed)
    count = num_categories(num_items)
    size_C = 1.0 / torch.arange(1, count + 1, dtype=torch.float64).sqrt()
    category_I = torch.multinomial(size_C, num_items, replacement=True, generator=g)
    log_price_I = 3.2 + 0.5 * torch.randn(num_items, generator=g)
    move_DI = 0.1 * torch.randn(DAYS, num_items, generator=g)
    return Catalog(
        price=(log_price_I + move_DI).exp(),
        category=category_I,
        feature=FEATURE_SD * torch.randn(num_items, FEATURES, generator=g),
        start_ms=START_MS,
        num_categories=count,
    )


def sessions(
    catalog: Catalog, num_sessions: int, *, num_slots: int, seed: int = 0, valid_share: float = 0.0
) -> Sessions:
    """A log whose shoppers choose at random, at plausible rates; the last ones are validation.

    The popularity of items follows a Zipf law.
    """
    g = torch.Generator().manual_seed(seed)

    def chance(probability: float) -> Tensor:
        return torch.rand(num_steps, generator=g) < probability

    stay_B = torch.rand(num_sessions, generator=g).clamp(min=1e-9)
    # one page and then a geometric number, since nobody leaves on the first page
    length_B = 2 + (stay_B.log() / math.log(1.0 - 1.0 / (MEAN_PAGES - 1.0))).long()
    offset = torch.cat([torch.zeros(1, dtype=torch.int64), length_B.cumsum(0)])
    num_steps = int(offset[-1])
    number_S = torch.arange(num_steps) - torch.repeat_interleave(offset[:-1], length_B)
    last_S = number_S + 1 == torch.repeat_interleave(length_B, length_B)
    start_B = START_MS + (torch.rand(num_sessions, generator=g) * DAYS * 86_400_000).long()
    time_S = torch.repeat_interleave(start_B, length_B) + 45_000 * number_S

    # carts on even steps and checkouts right behind them: a checkout then never meets an empty cart
    carted_S = chance(0.15) & (number_S % 2 == 0) & ~last_S
    paid_S = carted_S.roll(1) & (number_S > 0) & ~last_S & chance(0.3)
    kind_S = torch.full((num_steps,), int(Kind.VIEW))
    kind_S[paid_S], kind_S[last_S] = int(Kind.CHECKOUT), int(Kind.LEAVE)
    viewed_S = kind_S == int(Kind.VIEW)
    after_S = torch.zeros(num_steps, dtype=torch.int64)
    after_S[chance(0.05)], after_S[chance(0.01)] = int(After.FAVOURITE), int(After.BUY)
    after_S[carted_S] = int(After.CART)
    after_S = torch.where(viewed_S, after_S, torch.zeros_like(after_S))

    page_SK = _pages(catalog.num_items, num_steps, num_slots, g)
    slot_S = torch.randint(num_slots, (num_steps,), generator=g)
    clicked_S = viewed_S & chance(CLICKED)
    fame_I = 1.0 / (1.0 + torch.randperm(catalog.num_items, generator=g)).double()
    item_S = torch.multinomial(fame_I, num_steps, replacement=True, generator=g)
    shown_S = page_SK.gather(-1, slot_S.unsqueeze(-1)).squeeze(-1)
    item_S = torch.where(clicked_S, shown_S, item_S)
    day_S = catalog.day(time_S)
    gap_S = (3.4 + torch.randn(num_steps, generator=g)).exp().clamp(1.0, 1800.0)
    nothing_S = torch.zeros_like(gap_S)
    event = Event(
        kind=kind_S,
        item=torch.where(viewed_S, item_S, torch.full_like(item_S, -1)),
        slot=torch.where(clicked_S, slot_S, torch.full_like(slot_S, -1)),
        after=after_S,
        price=torch.where(viewed_S, catalog.price[day_S, item_S], nothing_S),
        quantity=(after_S >= int(After.CART)).to(gap_S.dtype),
        gap=torch.where((number_S > 0) & ~last_S, gap_S, nothing_S),
    )
    split_B = torch.full((num_sessions,), int(Split.TRAIN))
    split_B[num_sessions - math.ceil(valid_share * num_sessions) :] = int(Split.VALID)
    return Sessions(
        event=event,
        page=Page(page_SK, catalog.price[day_S.unsqueeze(-1), page_SK]),
        time_ms=time_S,
        offset=offset,
        shopper=torch.arange(num_sessions),
        profile=torch.randn(num_sessions, PROFILE, generator=g),
        split=split_B,
    )


def _pages(num_items: int, count: int, num_slots: int, generator: torch.Generator) -> Tensor:
    """Random pages [count, K] of different items: evenly spread from a random one on."""
    first_S1 = torch.randint(num_items, (count, 1), generator=generator)
    apart = max(1, num_items // num_slots)
    return (first_S1 + apart * torch.arange(num_slots)) % num_items


def slates(num_items: int, count: int, num_slots: int, seed: int = 0) -> Tensor:
    """Random pages drawn beforehand, so that no policy is timed, [count, K]."""
    return _pages(num_items, count, num_slots, torch.Generator().manual_seed(seed))


def learned(
    num_items: int,
    *,
    hidden: int = 128,
    embedding: int = 128,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> LSTMUserModel:
    """A user model with random weights and a plausible log's rates: it steps as a fitted one.

    Sessions last about 8 pages, and pages bring some clicks.
    """
    items = catalog(num_items, seed)
    log = sessions(items, LOG_SESSIONS, num_slots=10, seed=seed)
    model = untrained(items, log, hidden=hidden, embedding=embedding, seed=seed)
    start_from_counts(model, log, torch.arange(LOG_SESSIONS))
    with torch.no_grad():
        # random weights, and segments as a fit begins, make some shoppers stay for a hundred pages
        model.heads.of("upper")[0].zero_()
        model.heads.offset("upper").zero_()
    return model.to(device).eval()


def untrained(
    items: Catalog, log: Sessions, *, hidden: int, embedding: int, seed: int = 0
) -> LSTMUserModel:
    """A user model as a fit begins with it."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return LSTMUserModel(
            items,
            torch.ones(items.num_items, dtype=torch.bool),
            log.profile,
            log.time_ms[log.offset[:-1]],
            hidden=hidden,
            embedding=embedding,
        )


def world(num_items: int, device: torch.device | str = "cpu") -> TasteShop:
    """The default true shop at another size."""
    return TasteShop(
        num_items=num_items, num_categories=num_categories(num_items), device=str(device)
    )


def tables_mib(shop: object) -> float:
    """Memory of all tensors that a shop holds, tables of its catalogue included, in MiB."""
    found: dict[int, int] = {}

    def add(value: object) -> None:
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, nn.Module):
            for tensor in [*value.parameters(), *value.buffers()]:
                add(tensor)
        elif isinstance(value, Record):
            for field in dataclasses.fields(value):  # type: ignore[arg-type]
                add(getattr(value, field.name))

    add(shop)
    for value in vars(shop).values():
        add(value)
    return sum(found.values()) / 2**20
