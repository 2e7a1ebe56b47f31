"""Exact expectations of one page in one state, over all that could be chosen and follow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import choice
from recgym.simulator import SimState
from recgym.types import After, Page, Record
from recgym.users.base import Shoppers, after_log_probs


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


@torch.no_grad()
def choice_probabilities(shop: Shoppers, state: SimState, page: Page) -> choice.ChoiceProbs:
    """The shop's own probabilities of all that can be chosen on a page in a state."""
    response = shop.respond(shop.read(state.user), page, state.visit)
    return choice.probabilities(choice.law(response, state.visit))


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
    chosen = choice_probabilities(shop, state, page)
    reading, item_NK = shop.read(state.user), page.item.clamp(min=0)
    found_NI4 = after_log_probs(shop.after(reading, None, price_NI, False)).exp()
    shown_NK4 = after_log_probs(shop.after(reading, item_NK, page.price, True)).exp()

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
