"""Log rows to steps: views, what followed them, checkouts and leaving. Pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from recgym.types import After, Kind

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]

VIEW, FAVOURITE, CART, PURCHASE = range(4)  # codes of Rows.event
AFTER = np.array([After.NOTHING, After.FAVOURITE, After.CART, After.BUY], dtype=np.int64)


@dataclass(frozen=True)
class Rows:
    """Events in the order of session, time and row; ``remove`` is left out. n rows each."""

    session: Ints  # [n] from 0, no session without its number
    time_ms: Ints  # [n]
    event: Ints  # [n] VIEW, FAVOURITE, CART or PURCHASE
    item: Ints  # [n] row of the catalogue
    page: Ints  # [n] number of the page, -1 where the log does not say
    position: Ints  # [n] slot clicked, -1 where the log does not say
    price: Floats  # [n] currency units, already filled from the catalogue
    quantity: Floats  # [n] pieces


@dataclass(frozen=True)
class Shown:
    """Pages that were shown, by page number. G pages of K slots."""

    item: Ints  # [G, K], -1 for an empty slot
    price: Floats  # [G, K], 0 for an empty slot
    session: Ints  # [G], -1 where nothing was shown on the page of that number
    time_ms: Ints  # [G]


@dataclass(frozen=True)
class Steps:
    """Steps of all sessions, one after another, each session closed by a leave step. S each."""

    session: Ints
    kind: Ints
    item: Ints
    after: Ints
    page: Ints  # number of the page, -1 for an empty one
    position: Ints  # slot as the log gives it, -1 where it does not
    price: Floats
    quantity: Floats
    paid: Floats  # currency units paid in this step: price x quantity over its purchase rows
    time_ms: Ints
    gap: Floats  # seconds since the step before; 0 on the first step and on leave
    counts: dict[str, int]  # what the log card tells of the conversion


def rows_to_steps(rows: Rows, num_sessions: int, shown: Shown) -> Steps:
    """Turn rows into steps by the rules of the design page, section 3.

    An implied view counts as a view: a cart without a view, then a purchase of the same item, is
    one step. Each checkout step has a cart step since the checkout before it.
    """
    opens, checkout, step, counts = _number_steps(rows)
    page, time, counts["pages_without_choice_not_modelled"] = _leaving(rows, num_sessions, shown)
    steps = _sum_rows(rows, opens, checkout, step)
    return _add_leave(steps, page, time, counts)


def count_steps(rows: Rows, num_sessions: int, shown: Shown) -> dict[str, int]:
    """The counts of ``rows_to_steps`` alone."""
    left = _leaving(rows, num_sessions, shown)[2] if len(shown.session) else 0
    # A session of views alone, most of them, can only repeat a view.
    more = np.zeros(num_sessions, dtype=bool)
    more[rows.session[rows.event != VIEW]] = True
    rest = ~more[rows.session]
    counts = _number_steps(_chosen(rows, ~rest))[3]
    counts["collapsed_repeats"] += int(_repeats(_chosen(rows, rest)).sum())
    return counts | {"pages_without_choice_not_modelled": left}


def _chosen(rows: Rows, chosen: Bools) -> Rows:
    return Rows(**{field.name: getattr(rows, field.name)[chosen] for field in fields(rows)})


def _repeats(rows: Rows) -> Bools:
    """Whether each row views the item, on the page, that the row before it viewed."""
    found = np.zeros(len(rows.event), dtype=bool)
    same = (rows.item[1:] == rows.item[:-1]) & (rows.session[1:] == rows.session[:-1])
    same &= (rows.event[1:] == VIEW) & (rows.event[:-1] == VIEW)
    page, before = rows.page[1:], rows.page[:-1]
    found[1:] = same & ((page == before) | (page < 0) | (before < 0))
    return found


def _number_steps(rows: Rows) -> tuple[Bools, Bools, Ints, dict[str, int]]:
    """Which rows open a step, which are checkouts, each row's step, and the counts."""
    opens, checkout, setter, repeat = _read_rows(rows)
    step = _step_of_row(opens, checkout, setter)
    empty = _checkouts_without_cart(rows, opens, checkout, step)
    if empty.any():
        checkout, opens = checkout & ~empty, opens | (empty & _first_of_item(rows, empty, step))
        step = _step_of_row(opens, checkout, setter, empty)
    views = rows.event == VIEW
    counts = {
        "implied_views": int((opens & ~checkout & ~views).sum()),
        "collapsed_repeats": int(repeat.sum()),
        "checkout_steps": int((opens & checkout).sum()),
        "purchases_of_an_empty_cart": int(empty.sum()),
    }
    return opens, checkout, step, counts


def _before(rows: Rows, marked: Bools) -> Ints:
    """Index of the last marked row strictly before each row in its session, else -1."""
    last = np.maximum.accumulate(np.where(marked, np.arange(len(marked)), -1))
    previous = np.concatenate([np.array([-1]), last[:-1]])
    return np.where(rows.session[previous] == rows.session, previous, -1)


def _same_page(rows: Rows, other: Ints) -> Bools:
    """Whether each row is on the page of row ``other``; an absent page id fits any."""
    theirs = rows.page[other]
    found: Bools = (rows.page == theirs) | (rows.page < 0) | (theirs < 0)
    return found


def _read_rows(rows: Rows) -> tuple[Bools, Bools, Bools, Bools]:
    """Which rows open a step, are checkouts, set the current item, repeat the view before."""
    size = len(rows.event)
    if size == 0:
        none = np.zeros(0, dtype=bool)
        return none, none, none, none
    view, purchase = rows.event == VIEW, rows.event == PURCHASE
    previous = _before(rows, np.ones(size, dtype=bool))
    repeat = _repeats(rows)
    carted = purchase & _carted_before(rows)
    # A purchase of a carted item never changes the current item: paid there, it belongs to it;
    # paid elsewhere, it is a checkout. Hence no rule here depends on an earlier row's outcome.
    setter = ~carted
    current = _before(rows, setter)
    just_viewed = (current >= 0) & (rows.item == rows.item[current]) & _same_page(rows, current)
    checkout = carted & ~just_viewed
    # Without page ids, carted items paid in one go with a checkout belong to that checkout.
    run = np.cumsum(~purchase | (previous < 0))
    with_checkout = np.zeros(run[-1] + 1, dtype=bool)
    with_checkout[run[checkout]] = True
    checkout |= carted & (rows.page < 0) & with_checkout[run]
    joined = checkout & (previous >= 0) & checkout[previous]
    joined &= rows.page == rows.page[previous]
    implied = ~view & ~checkout & ~just_viewed
    return (view & ~repeat) | implied | (checkout & ~joined), checkout, setter, repeat


def _carted_before(rows: Rows) -> Bools:
    """Whether a cart row of the same item comes earlier in the session; told of purchases only."""
    some = np.flatnonzero(rows.event >= CART)  # carts and purchases, a small part of most logs
    session, item = rows.session[some], rows.item[some]
    order = np.lexsort((item, session))  # stable: rows of an item stay in the order of time
    some, session, item = some[order], session[order], item[order]
    cart = rows.event[some] == CART
    first = np.ones(len(order), dtype=bool)
    first[1:] = (session[1:] != session[:-1]) | (item[1:] != item[:-1])
    carts = np.cumsum(cart) - cart  # before each row, over all groups
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    found = np.zeros(len(rows.item), dtype=bool)
    found[some] = carts > carts[start]
    return found


def _step_of_row(
    opens: Bools, checkout: Bools, setter: Bools, demoted: Bools | None = None
) -> Ints:
    """Number of the step that each row belongs to."""
    number = np.cumsum(opens) - 1
    other = np.zeros_like(opens) if demoted is None else demoted

    def last(marked: Bools) -> Ints:
        return np.maximum.accumulate(np.where(marked, number, -1))

    plain = last(opens & setter & ~checkout & ~other)
    step = np.where(checkout, last(opens & checkout), plain)
    return np.where(other, last(opens & other), step)


def _checkouts_without_cart(rows: Rows, opens: Bools, checkout: Bools, step: Ints) -> Bools:
    """Purchase rows of checkout steps with no cart step since the checkout before.

    It happens where an item was carted and bought in one step, then bought again. The simulator
    knows no checkout of an empty cart, so such a purchase becomes an implied view and a buy.
    """
    if not checkout.any():
        return checkout
    after = _strongest(rows, checkout, step, int(opens.sum()))
    carts = np.cumsum(after == After.CART)  # up to and including each step
    opener = np.flatnonzero(opens)
    paying = np.flatnonzero(checkout[opener])
    session = rows.session[opener]
    first = np.searchsorted(session, session[paying])
    base = np.where(first > 0, carts[first - 1], 0)
    # A first step may itself be a cart step, so the count starts before the session.
    same = session[paying[1:]] == session[paying[:-1]]
    base[1:] = np.where(same, carts[paying[:-1]], base[1:])
    empty = np.zeros(len(opener), dtype=bool)
    empty[paying] = carts[paying] == base
    found: Bools = checkout & empty[step]
    return found


def _first_of_item(rows: Rows, marked: Bools, step: Ints) -> Bools:
    """Marked rows whose item differs from the marked row before in the same step."""
    index = np.flatnonzero(marked)
    first = np.ones(len(index), dtype=bool)
    item, group = rows.item[index], step[index]
    first[1:] = (item[1:] != item[:-1]) | (group[1:] != group[:-1])
    found = np.zeros(len(marked), dtype=bool)
    found[index[first]] = True
    return found


def _strongest(rows: Rows, checkout: Bools, step: Ints, num_steps: int) -> Ints:
    """The strongest thing that followed each step's view."""
    after = np.zeros(num_steps, dtype=np.int64)
    np.maximum.at(after, step[~checkout], AFTER[rows.event[~checkout]])
    return after


def _sum_rows(rows: Rows, opens: Bools, checkout: Bools, step: Ints) -> dict[str, npt.NDArray[Any]]:
    """Columns of the steps, without the leave steps."""
    opener = np.flatnonzero(opens)
    size = len(opener)
    after = _strongest(rows, checkout, step, size)

    def total(value: Floats, event: int) -> Floats:
        chosen = rows.event == event
        summed = np.bincount(step[chosen], weights=value[chosen], minlength=size)
        return summed.astype(np.float64)

    paid = total(rows.price * rows.quantity, PURCHASE)
    bought, carted = total(rows.quantity, PURCHASE), total(rows.quantity, CART)
    paying = checkout[opener]
    buys = after == After.BUY
    quantity = np.where(buys, bought, np.where(after == After.CART, carted, 0.0))
    price = np.where(buys, paid / np.where(bought > 0, bought, 1.0), rows.price[opener])
    return {
        "session": rows.session[opener],
        "kind": np.where(paying, int(Kind.CHECKOUT), int(Kind.VIEW)),
        "item": np.where(paying, -1, rows.item[opener]),
        "after": np.where(paying, 0, after),
        "page": rows.page[opener],
        "position": np.where(paying, -1, rows.position[opener]),
        "price": np.where(paying, 0.0, price),
        "quantity": np.where(paying, 0.0, quantity),
        "paid": paid,
        "time_ms": rows.time_ms[opener],
    }


def _leaving(rows: Rows, num_sessions: int, shown: Shown) -> tuple[Ints, Ints, int]:
    """Page and time of each session's leave step, and how many pages without a choice are left.

    A session leaves on its last page, if that brought no event.
    """
    ended = np.full(num_sessions, np.iinfo(np.int64).min)
    np.maximum.at(ended, rows.session, rows.time_ms)
    used = np.zeros(len(shown.session), dtype=bool)
    used[rows.page[(rows.page >= 0) & (rows.page < len(used))]] = True
    unused = np.flatnonzero(~used & (shown.session >= 0))
    late = unused[shown.time_ms[unused] >= ended[shown.session[unused]]]
    page = np.full(num_sessions, -1)
    np.maximum.at(page, shown.session[late], late)  # page numbers rise with time in a session
    time = np.where(page >= 0, shown.time_ms[page], ended) if len(shown.session) else ended
    return page, time, len(unused) - int((page >= 0).sum())


def _add_leave(
    steps: dict[str, npt.NDArray[Any]], page: Ints, time: Ints, counts: dict[str, int]
) -> Steps:
    """Close each session with a leave step, on ``page`` [B] at ``time`` [B]."""
    num_sessions = len(page)
    session = np.concatenate([steps["session"], np.arange(num_sessions)])
    order = np.argsort(session, kind="stable")
    leave: dict[str, Any] = {
        "kind": int(Kind.LEAVE),
        "item": -1,
        "page": page,
        "position": -1,
        "time_ms": time,
    }
    merged = {
        name: np.concatenate([value, np.broadcast_to(leave.get(name, 0), num_sessions)])[order]
        for name, value in steps.items()
        if name != "session"
    }
    session = session[order]
    gap = np.zeros(len(session))
    gap[1:] = np.diff(merged["time_ms"]) / 1000
    gap[1:][session[1:] != session[:-1]] = 0.0
    gap[merged["kind"] == Kind.LEAVE] = 0.0
    return Steps(session=session, gap=gap, counts=counts, **merged)


def slots(steps: Steps, shown: Shown, recorded: bool) -> Ints:
    """The slot clicked in each step, [S], -1 where the item was found alone.

    Where the log records positions, an absent one says *found alone*, even for an item that was on
    the page. Where it records none, the slot is the one that holds the item.
    """
    page_SK = page_items(steps, shown)
    if page_SK.shape[1] == 0:
        return np.full(len(steps.session), -1)
    holds_SK = (page_SK == steps.item[:, None]) & (steps.item >= 0)[:, None]
    found = np.where(holds_SK.any(1), holds_SK.argmax(1), -1)
    return np.where(steps.position >= 0, found, -1) if recorded else found


def page_items(steps: Steps, shown: Shown) -> Ints:
    """Items of each step's page, [S, K], -1 for an empty slot."""
    return of_page(steps, shown.item, -1)


def page_prices(steps: Steps, shown: Shown) -> Floats:
    """Prices of each step's page, [S, K], 0 for an empty slot."""
    return of_page(steps, shown.price, 0)


def of_page(steps: Steps, value_GK: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
    """What each step's page has in its slots, [S, K]; ``empty`` where it had no page."""
    blank = np.full((1, value_GK.shape[1]), empty, dtype=value_GK.dtype)
    known = (steps.page >= 0) & (steps.page < len(value_GK))
    return np.concatenate([value_GK, blank])[np.where(known, steps.page, len(value_GK))]
