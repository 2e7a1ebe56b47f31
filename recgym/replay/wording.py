"""A session in words and cells: what the terminal and the page both show."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from recgym.replay.steps import Ads, Candidate, Chances, Item, Option, Session, Step
from recgym.types import After, Kind

FOLLOWED = {After.FAVOURITE: "made it a favourite", After.CART: "put it into the cart",
            After.BUY: "bought it"}  # fmt: skip
AFTERS = ("nothing", "favourite", "cart", "buy")
HEAD = ("slot", "item", "category", "price", "score", "chance")
OPTION_HEAD = ("option: slot (campaign)", "reserve", "alpha", "expected", "score")

Rows = list[tuple[tuple[str, ...], bool]]  # cells, and whether it is what came of the page


def share(value: float | None) -> str:
    """A chance in percent."""
    return "" if value is None else f"{100.0 * value:.1f} %"


def score(value: float | None) -> str:
    """A policy's score, in a unit of its own."""
    return "" if value is None or math.isinf(value) else f"{value:.4g}"


def cells(place: str, item: Item | None, session: Session) -> tuple[str, ...]:
    """A row of the table of a page; see `head`."""
    if item is None:
        return (place, "empty", *[""] * (len(head(session)) - 2))
    row = [place, str(item.item), str(item.category), f"{item.price:.2f}"]
    row += [score(item.score), share(item.chance)]
    if session.kinds:
        row.append(share(item.drawn))
    if session.has_ads:
        row.append("" if item.campaign is None else str(item.campaign))
    return tuple(row)


def head(session: Session) -> tuple[str, ...]:
    """Columns; where kinds of shoppers are drawn also the chance for that kind, and who pays."""
    drawn = ("drawn",) if session.kinds else ()
    return (*HEAD, *drawn, "ad") if session.has_ads else (*HEAD, *drawn)


def rows(step: Step, session: Session) -> Rows:
    """Rows of a page and whether each was clicked: slots, the best not shown, the likely finds."""
    found = [
        (cells(str(k + 1), item, session), k == step.slot) for k, item in enumerate(step.slots)
    ]
    found += [(cells("unshown", item, session), False) for item in step.unshown]
    for item in step.finds:
        same = step.viewed is not None and step.slot < 0 and step.viewed.item == item.item
        found.append((cells("alone", item, session), same))
    return found


def decided(ads: Ads) -> list[tuple[tuple[str, ...], Rows]]:
    """Two tables, each its head and rows: who may advertise, and what the policy could choose.

    A row is marked where the campaign stands on the page, or the option was chosen.
    """
    head = ("campaign", "item", "bid", "pctr", "rank score", "slot", f"price/{ads.event}")
    tables = [
        (head, [(_candidate(each), each.slot >= 0) for each in ads.candidates]),
        (OPTION_HEAD, [(_option(each), each.chosen) for each in ads.options]),
    ]
    return [(named, rows) for named, rows in tables if rows]


def _candidate(each: Candidate) -> tuple[str, ...]:
    known = str(each.campaign), str(each.item), f"{each.bid:.3f}", share(each.pctr)
    stands = each.slot >= 0
    where = str(each.slot + 1) if stands else ""
    return (*known, score(each.score), where, f"{each.price:.3f}" if stands else "")


def _option(each: Option) -> tuple[str, ...]:
    stands = [
        str(slot + 1) + ("" if campaign is None else f" ({campaign})")
        for slot, campaign in each.ads
    ]
    named = ", ".join(stands) or "no ad"
    settings = f"{each.reserve:.3g}", f"{each.alpha:.3g}"
    return named, *settings, f"{each.payment:.4f}", score(each.score)


def ad_money(ads: Ads) -> str:
    """Who paid for the page's ads, what they sold, and what they did to the shopper."""
    paid = " · ".join(f"campaign {campaign} paid {amount:.3f}" for campaign, amount in ads.charges)
    sold = f" · sales credited to ads {ads.sponsored_sales:.2f}" if ads.sponsored_sales else ""
    return (
        f"{paid or 'nobody paid'}{sold} · tired of ads {ads.tired:.3f}, this page adds "
        f"{ads.added:.3f} · trust {ads.trust:.2f} · ad load of the session {share(ads.load)}"
    )


def title(step: Step) -> str:
    """Which page, and when."""
    clock = f"{datetime.fromtimestamp(step.time_ms / 1000, UTC):%H:%M:%S}"
    if step.number == 0:
        return f"Page 1, {clock}"
    waited = f"{step.gap:.0f} s after the last, usually {step.usual_gap:.0f} s"
    return f"Page {step.number + 1}, {clock}, {waited}"


def chances(found: Chances) -> str:
    """What may be done with a page, in one line."""
    named = (("page", found.page), ("alone", found.alone), ("pay", found.checkout))
    return " · ".join(f"{name} {share(value)}" for name, value in (*named, ("leave", found.leave)))


def happened(step: Step) -> str:
    """What the shopper did."""
    if step.kind == Kind.LEAVE:
        return "left"
    if step.kind == Kind.CHECKOUT:
        return f"paid {step.revenue:.2f} for the cart"
    assert step.viewed is not None
    text = f"found item {step.viewed.item} alone at {step.viewed.price:.2f}"
    if step.slot >= 0:
        text = f"clicked item {step.viewed.item} in slot {step.slot + 1}"
    followed = FOLLOWED.get(step.after)
    text += f" and {followed}" if followed else ""
    return text + (f", paid {step.revenue:.2f}" if step.revenue else "")


def followed(step: Step) -> str:
    """What might have followed the view, in one line; empty without one."""
    return " · ".join(
        f"{name} {share(value)}" for name, value in zip(AFTERS, step.follows, strict=False)
    )


def money(step: Step) -> str:
    """The cart after the page, and how likely all of it was."""
    return f"cart {step.cart:.2f}, log-probability {step.log_prob.total:.2f}"


def closing(session: Session) -> str:
    """The session in one sentence."""
    parts, pages = session.log_prob, len(session.steps)
    end = "" if session.over else ", cut off there"
    ads = f", ad revenue {session.ad_revenue:.3f}" if session.has_ads else ""
    return (
        f"{session.policy}: {pages} pages{end}, revenue {session.revenue:.2f}{ads}, "
        f"log-probability {parts.total:.2f} (choices {parts.choice:.2f}, what followed views "
        f"{parts.after:.2f}, times {parts.gap:.2f})"
    )


def opening(session: Session) -> str:
    """Who, where and when."""
    begun = datetime.fromtimestamp(session.start_ms / 1000, UTC)
    return (
        f"Shopper {session.shopper} of the evaluation in the {session.shop} shop, from "
        f"{begun:%Y-%m-%d %H:%M} UTC (lane seed {session.seed})"
    )


def compared(one: Session, other: Session) -> str:
    """Where two sessions of one shopper part, in one sentence."""
    if one.steps == other.steps:
        return f"Identical in all numbers of all {len(one.steps)} pages."
    apart = other.revenue - one.revenue
    paid = f"revenue differs by {apart:+.2f} ({other.policy} minus {one.policy})"
    if one.has_ads:
        paid += f", ad revenue by {other.ad_revenue - one.ad_revenue:+.3f}"
    pairs = list(zip(one.steps, other.steps, strict=False))
    for first, second in pairs:
        if (first.kind, first.viewed and first.viewed.item, first.slot, first.after) != (
            second.kind, second.viewed and second.viewed.item, second.slot, second.after
        ):  # fmt: skip
            return f"The shopper does something else from page {first.number + 1} on; {paid}."
    return f"The pages differ, and the shopper does the same on all {len(pairs)} of them; {paid}."


def legend(session: Session) -> str:
    """What the columns hold."""
    text = (
        "score: the policy's own. chance: of being chosen, over all kinds of shopper that the "
        "history leaves open; what happened has the log-probability of the user model."
    )
    if session.shop == "true":
        text = "score: the policy's own. chance: of being chosen, as the true shop has it."
    if session.kinds:
        text += " drawn: the chance for the kind that the simulator drew on this page."
    if session.has_ads:
        text = text.replace("score: the policy's own", "score: the organic ranking's own") + (
            " ad: the campaign that pays for the slot. pctr: the platform's estimate for the first "
            "slot. price: what the auction charges for each. expected: what an option's ads are to "
            "bring by these estimates; its score: the policy's own."
        )
    return text
