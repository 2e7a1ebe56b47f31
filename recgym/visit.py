"""What the site itself records of a running session, moved on page by page."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from recgym.types import DAY_MS, HOUR_MS, After, Event, Kind, Page, Past, Visit

CART_PLACES = 8  # M: a fuller cart takes no more (over 99.9 % of carts hold fewer)
RECENT_PAGES = 5  # how many pages of impressions fatigue looks back
HISTORY = 8  # L: views that the flat observation remembers
PAGES, CLICKS, ORDERS, REPEATS = range(4)  # columns of the tallies of `Past`


def begin(
    start_ms_N: Tensor, num_slots: int, dtype: torch.dtype, *, returning: bool = False
) -> Visit:
    """A visit before its first page; ``returning`` where others may follow in the same episode."""
    device, n = start_ms_N.device, start_ms_N.shape[0]

    def empty(width: int) -> Tensor:
        return torch.full((n, width), -1, dtype=torch.int64, device=device)

    zero_N = torch.zeros(n, dtype=dtype, device=device)
    none_N = torch.zeros(n, dtype=torch.int64, device=device)
    past = None
    if returning:
        none_N4 = torch.zeros(n, 4, dtype=dtype, device=device)
        past = Past(none_N, zero_N, none_N4, none_N4)
    return Visit(
        time_ms=start_ms_N,
        gap=zero_N,
        page_number=none_N,
        cart_item=empty(CART_PLACES),
        cart_price=torch.zeros(n, CART_PLACES, dtype=dtype, device=device),
        recent_item=empty(RECENT_PAGES * num_slots),
        history=empty(3 * HISTORY).view(n, 3, HISTORY),
        history_gap=torch.zeros(n, HISTORY, dtype=dtype, device=device),
        past=past,
    )


def again(visit: Visit, start_ms_N: Tensor, away_N: Tensor) -> Visit:
    """The visit of a shopper who comes back ``away_N`` days later, before its first page.

    Cart and history are the shopper's and stay; the clock, the page number and what stood on the
    last pages are the session's.
    """
    assert visit.past is not None
    past = Past(
        sessions=visit.past.sessions + 1,
        away=away_N,
        tally=torch.zeros_like(visit.past.tally),
        before=visit.past.before + visit.past.tally,
    )
    return dataclasses.replace(
        visit,
        time_ms=start_ms_N,
        gap=torch.zeros_like(visit.gap),
        page_number=torch.zeros_like(visit.page_number),
        recent_item=torch.full_like(visit.recent_item, -1),
        past=past,
    )


def ordered(event: Event) -> Tensor:
    """Whether an order was paid, [N] bool."""
    return (event.kind == int(Kind.CHECKOUT)) | (event.after == int(After.BUY))


def repeated(page: Page, recent_NR: Tensor) -> Tensor:
    """Share of a page's items that stood on the last pages, [N]; 0 for an empty page."""
    again_N = (times_shown(page.item, recent_NR) > 0).sum(-1)
    return again_N / (page.item >= 0).sum(-1).clamp(min=1)


def _counted(past: Past, visit: Visit, page: Page, event: Event) -> Past:
    one_N = torch.ones_like(past.away)
    repeated_N = repeated(page, visit.recent_item).to(past.away.dtype)
    row_N4 = torch.stack([one_N, one_N * (event.slot >= 0), one_N * ordered(event), repeated_N], -1)
    return dataclasses.replace(past, tally=past.tally + row_N4)


def _push(old: Tensor, new: Tensor, pushed_N: Tensor) -> Tensor:
    """``new`` in front of the last dim of ``old``, whose last entry goes, where ``pushed_N``."""
    pushed = torch.cat([new.unsqueeze(-1), old[..., :-1]], -1)
    return torch.where(pushed_N.view(-1, *[1] * (old.dim() - 1)), pushed, old)


def advance(visit: Visit, page: Page, event: Event, gap_N: Tensor) -> Visit:
    """The visit after an event, ``gap_N`` seconds later."""
    viewed_N = event.kind == int(Kind.VIEW)
    carted_N = event.after == int(After.CART)
    paid_N1 = (event.kind == int(Kind.CHECKOUT)).unsqueeze(-1)
    cart_item_NM = _push(visit.cart_item.masked_fill(paid_N1, -1), event.item, carted_N)
    value_N = event.price * event.quantity
    cart_price_NM = _push(visit.cart_price.masked_fill(paid_N1, 0.0), value_N, carted_N)
    recent_NR = torch.cat([page.item, visit.recent_item], -1)[:, : visit.recent_item.shape[-1]]
    viewed_N3 = torch.stack([event.item, event.slot, event.after], -1)
    past = None if visit.past is None else _counted(visit.past, visit, page, event)
    return Visit(
        time_ms=visit.time_ms + (gap_N * 1000.0).round().to(torch.int64),
        gap=gap_N,
        page_number=visit.page_number + 1,
        cart_item=cart_item_NM,
        cart_price=cart_price_NM,
        recent_item=recent_NR,
        history=_push(visit.history, viewed_N3, viewed_N),
        history_gap=_push(visit.history_gap, visit.gap, viewed_N),
        past=past,
    )


def brief(visit: Visit) -> Visit:
    """The visit as a choice's law reads it: fields of what was seen before hold nothing."""
    return dataclasses.replace(
        visit,
        cart_price=visit.cart_price[:, :0],
        recent_item=visit.recent_item[:, :0],
        history=visit.history[..., :0],
        history_gap=visit.history_gap[:, :0],
    )


def times_shown(item_NJ: Tensor, recent_NR: Tensor) -> Tensor:
    """How often each item stood on the last pages, [N, J] int32."""
    same_NJR = item_NJ.unsqueeze(-1) == recent_NR.unsqueeze(-2)
    # a sum of booleans as int64 would first copy them, eight bytes each; as bytes it is faster
    # still here, and slower in what torch.compile makes of it
    return same_NJR.sum(-1, dtype=torch.int32).masked_fill(item_NJ < 0, 0)


def times_shown_of_all(recent_NR: Tensor, num_items: int, dtype: torch.dtype) -> Tensor:
    """The same for every item of the catalogue, [N, I]."""
    count_NI = torch.zeros(recent_NR.shape[0], num_items + 1, dtype=dtype, device=recent_NR.device)
    one_NR = torch.ones_like(recent_NR, dtype=dtype)
    return count_NI.scatter_add_(-1, recent_NR + 1, one_NR)[:, 1:]


def hour_of_day(time_ms_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Hour of the day (UTC) as an angle in radians, [N]."""
    return (time_ms_N % (24 * HOUR_MS)).to(dtype) * (2 * torch.pi / (24 * HOUR_MS))


def day_of_week(time_ms_N: Tensor, dtype: torch.dtype) -> Tensor:
    """Day of the week (UTC) as an angle in radians, 0 on Mondays, [N]."""
    day_N = time_ms_N.div(DAY_MS, rounding_mode="floor") + 3  # 1970 began on a Thursday
    return (day_N % 7).to(dtype) * (2 * torch.pi / 7)
