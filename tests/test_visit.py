"""recgym.visit: the site's own record of a session, one hand-made step after another."""

from __future__ import annotations

import torch

from recgym import visit
from recgym.types import After, Event, Kind, Page, Visit


def one_page(item: list[int]) -> Page:
    return Page(torch.tensor([item]), torch.tensor([[10.0 * (i + 1) for i in item]]))


def step(
    now: Visit,
    page: list[int],
    *,
    kind: Kind = Kind.VIEW,
    item: int = -1,
    slot: int = -1,
    after: After = After.NOTHING,
    price: float = 0.0,
    quantity: float = 0.0,
    gap: float = 60.0,
) -> Visit:
    whole = [torch.tensor([x]) for x in (kind, item, slot, after)]
    numbers = [torch.tensor([x]) for x in (price, quantity)]
    event = Event(*whole, *numbers, now.gap)
    return visit.advance(now, one_page(page), event, torch.tensor([gap]))


def begun() -> Visit:
    return visit.begin(torch.tensor([1000]), 2, torch.float32)


def test_a_visit_begins_with_nothing() -> None:
    # Why: an item 0 in a fresh record would be a real item.
    now = begun()
    assert now.cart_count().item() == 0 and now.cart_value().item() == 0
    assert bool((now.history_item == -1).all()) and bool((now.recent_item == -1).all())
    assert now.recent_item.shape == (1, 2 * visit.RECENT_PAGES)


def test_the_cart_fills_at_price_times_quantity_and_a_checkout_empties_it() -> None:
    # Why: what the cart holds is what a checkout pays. By hand: 10 * 1 + 20 * 2 = 50.
    now = step(begun(), [0, 1], item=0, slot=0, after=After.CART, price=10.0, quantity=1.0)
    now = step(now, [0, 1], item=1, slot=1, after=After.CART, price=20.0, quantity=2.0)
    assert now.cart_item[0, :3].tolist() == [1, 0, -1]
    assert now.cart_value().item() == 50.0 and now.cart_count().item() == 2
    bought = step(now, [0, 1], item=2, after=After.BUY, price=30.0, quantity=1.0)
    assert bought.cart_value().item() == 50.0  # bought at once: never in the cart
    paid = step(now, [0, 1], kind=Kind.CHECKOUT)
    assert paid.cart_value().item() == 0.0 and bool((paid.cart_item == -1).all())


def test_history_holds_views_alone_newest_first() -> None:
    # Why: a checkout is no view, and the newest view must stand in the same place always.
    now = step(begun(), [0, 1], item=3, gap=30.0)
    now = step(now, [0, 1], kind=Kind.CHECKOUT, gap=20.0)
    now = step(now, [0, 1], item=1, slot=1, after=After.FAVOURITE, gap=10.0)
    assert now.history_item[0, :3].tolist() == [1, 3, -1]
    assert now.history_slot[0, :2].tolist() == [1, -1]
    assert now.history_after[0, :2].tolist() == [After.FAVOURITE, After.NOTHING]
    assert now.history_gap[0, :2].tolist() == [20.0, 0.0]  # seconds *before* each view


def test_the_clock_counts_milliseconds_and_pages() -> None:
    # Why: prices and the hour hang on it. By hand: 1000 + 1500 + 2000 ms.
    now = step(step(begun(), [0, 1], item=3, gap=1.5), [0, 1], item=2, gap=2.0)
    assert now.time_ms.item() == 4500 and now.page_number.item() == 2 and now.gap.item() == 2.0


def test_recent_impressions_fade_after_five_pages() -> None:
    # Why: fatigue looks back RECENT_PAGES pages and no further.
    now = begun()
    for _ in range(visit.RECENT_PAGES):
        now = step(now, [0, 1], item=3)
    asked = torch.tensor([[0, 1, 2, -1]])
    assert visit.times_shown(asked, now.recent_item).tolist() == [[5, 5, 0, 0]]
    now = step(now, [2, -1], item=3)
    assert visit.times_shown(asked, now.recent_item).tolist() == [[4, 4, 1, 0]]
    count = visit.times_shown_of_all(now.recent_item, 4, torch.float32)
    assert count.tolist() == [[4.0, 4.0, 1.0, 0.0]]


def test_what_is_the_shoppers_survives_a_session_and_what_is_the_sessions_does_not() -> None:
    # Why: a cart that vanished, or impressions of last week that tire, would be another shopper. By
    # hand: a page of 2 new items with a click and an order, then one of which one item is a repeat.
    now = visit.begin(torch.tensor([1000]), 2, torch.float32, returning=True)
    now = step(now, [0, 1], item=0, slot=0, after=After.BUY, price=9.0, quantity=1.0, gap=2.0)
    now = step(now, [1, 2], item=3, after=After.CART, price=10.0, quantity=1.0, gap=3.0)
    assert now.past is not None and now.past.tally.tolist() == [[2.0, 1.0, 1.0, 0.5]]
    back = visit.again(now, torch.tensor([86_400_000]), torch.tensor([1.5]))
    assert back.past is not None and back.past.sessions.tolist() == [1]
    assert back.past.tally.tolist() == [[0.0] * 4] and torch.equal(back.past.before, now.past.tally)
    assert back.past.away.item() == 1.5 and back.time_ms.item() == 86_400_000
    assert back.cart_value().item() == 10.0 and torch.equal(back.history, now.history)
    assert back.page_number.item() == 0 and back.gap.item() == 0.0
    assert bool((back.recent_item == -1).all())
    assert visit.repeated(Page(torch.tensor([[-1, -1]]), torch.zeros(1, 2)), now.recent_item) == 0.0
