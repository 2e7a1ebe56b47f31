"""Exact expectations of one page in one state, over all that could be chosen and follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym import choice
from recgym.lanes import R, Record
from recgym.simulator import SimState
from recgym.types import After, Page
from recgym.users.base import Shoppers, after_log_probs, by_segment


@dataclass(frozen=True)
class PageValue(Record):
    """What one page is expected to bring, each [N]; nothing of it is drawn."""

    clicks: Tensor  # probability that a slot is clicked
    views: Tensor  # probability that an item is viewed, clicked or found
    bought: Tensor  # counted items bought at once
    carted: Tensor  # counted items put into the cart
    paid: Tensor  # counted items of the cart that are paid now
    sold_value: Tensor  # currency units of what is bought at once or carted, for all items
    revenue: Tensor  # currency units paid now, for all items


def _over_segments(shop: Shoppers, state: SimState, page: Page, part: Callable[[Any], R]) -> R:
    """The mean of a record [N, ...] over the segments that who faces the page may belong to."""
    total: R | None = None
    for share_N1, supposed in by_segment(shop, shop.read(state.user), page, state.visit):
        found, weight_N = part(supposed), share_N1.squeeze(-1)
        sums = {}
        for field in dataclasses.fields(found):  # type: ignore[arg-type]
            value = getattr(found, field.name)
            value = value * weight_N.view(-1, *[1] * (value.dim() - 1))
            sums[field.name] = value if total is None else getattr(total, field.name) + value
        total = dataclasses.replace(found, **sums)  # type: ignore[type-var]
    assert total is not None
    return total


def _chosen(shop: Shoppers, supposed: Any, page: Page, state: SimState) -> choice.ChoiceProbs:
    return choice.probabilities(choice.law(shop.respond(supposed, page, state.visit), state.visit))


@torch.no_grad()
def choice_probabilities(shop: Shoppers, state: SimState, page: Page) -> choice.ChoiceProbs:
    """The shop's own probabilities of all that can be chosen on a page in a state."""
    return _over_segments(shop, state, page, lambda supposed: _chosen(shop, supposed, page, state))


@torch.no_grad()
def page_value(
    shop: Shoppers, state: SimState, page: Page, price_NI: Tensor, counted_I: Tensor | None = None
) -> PageValue:
    """Expectations of a page in a state.

    Args:
        shop: whose state ``state.user`` is.
        state: of the lanes, before the page.
        page: with the prices shown.
        price_NI: prices of what is found alone, currency units.
        counted_I: weight of each item in ``bought``, ``carted`` and ``paid``; None counts all.
    """
    if counted_I is None:
        counted_I = torch.ones_like(shop.catalog.price[0])
    weight_I = counted_I
    return _over_segments(
        shop, state, page, lambda supposed: _value(shop, supposed, state, page, price_NI, weight_I)
    )


@torch.no_grad()
def item_sold(
    shop: Shoppers, state: SimState, page: Page, item_N: Tensor, price_N: Tensor
) -> Tensor:
    """P(this item is bought at once or put into the cart on this page), [N], found or clicked.

    Args:
        shop: whose state ``state.user`` is.
        state: of the lanes, before the page.
        page: with the prices shown.
        item_N: which item of each lane, int64.
        price_N: its price if found alone, currency units.
    """

    def part(supposed: Any) -> _Sold:
        chosen = _chosen(shop, supposed, page, state)
        clicked_N = (chosen.slot * (page.item == item_N.unsqueeze(-1))).sum(-1)
        found_N = chosen.organic.gather(-1, item_N.unsqueeze(-1)).squeeze(-1)
        sold_2N = []
        for chance_N, clicked in ((found_N, False), (clicked_N, True)):
            logits = shop.after(supposed, item_N.unsqueeze(-1), price_N.unsqueeze(-1), clicked)
            after_N4 = after_log_probs(logits).squeeze(1).exp()
            sold_2N.append(chance_N * after_N4[:, int(After.CART) :].sum(-1))
        return _Sold(sold_2N[0] + sold_2N[1])

    return _over_segments(shop, state, page, part).sold


@dataclass(frozen=True)
class _Sold(Record):
    sold: Tensor  # [N]


def _value(
    shop: Shoppers,
    supposed: Any,
    state: SimState,
    page: Page,
    price_NI: Tensor,
    counted_I: Tensor,
) -> PageValue:
    chosen = _chosen(shop, supposed, page, state)
    item_NK = page.item.clamp(min=0)
    found_NI4 = after_log_probs(shop.after(supposed, None, price_NI, False)).exp()
    shown_NK4 = after_log_probs(shop.after(supposed, item_NK, page.price, True)).exp()

    def expected(after: After, weight_NI: Tensor, weight_NK: Tensor) -> Tensor:
        found_N = (chosen.organic * found_NI4[..., int(after)] * weight_NI).sum(-1)
        return found_N + (chosen.slot * shown_NK4[..., int(after)] * weight_NK).sum(-1)

    counted_NK, cart_NM = counted_I[item_NK], state.visit.cart_item
    in_cart_N = (counted_I[cart_NM.clamp(min=0)] * (cart_NM >= 0)).sum(-1)
    money_N = expected(After.BUY, price_NI, page.price) * shop.quantity
    carted_money_N = expected(After.CART, price_NI, page.price) * shop.quantity
    return PageValue(
        clicks=chosen.slot.sum(-1),
        views=chosen.slot.sum(-1) + chosen.organic.sum(-1),
        bought=expected(After.BUY, counted_I, counted_NK),
        carted=expected(After.CART, counted_I, counted_NK),
        paid=chosen.checkout * in_cart_N,
        sold_value=money_N + carted_money_N,
        revenue=money_N + chosen.checkout * state.visit.cart_value(),
    )
