"""The knobs of a true shop: one frozen record, each knob with its unit; 0 or False switches off.

The defaults are the default shop. Whatever was added to it is off there, so that its law, and every
log that it ever wrote, stays what it was.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from recgym.errors import UserError

Triple = tuple[float, float, float]
CHANCES = ("page_weight", "promotion_share", "channel_accuracy", "page_only", "reference_memory",
           "boredom_memory", "content_rate", "week")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """All that decides the law of a `recgym.worlds.taste.TasteShop`. Masses are logs."""

    seed: int = 0  # of the catalogue and the segments

    # sizes
    num_items: int = 300
    num_categories: int = 12
    num_segments: int = 6
    num_factors: int = 8  # dimensions of taste
    num_moods: int = 16  # taste prototypes, of which a search within a category follows one
    num_days: int = 56  # of the simulated calendar
    week: float = 0.0  # share by which more shoppers come on a Saturday than on a mean day

    # what is found alone
    mood_sharpness: float = 0.7  # how surely a search follows the moods nearest to the own taste
    category_pull: float = 1.2  # weight of taste in the choice of the category searched
    attention: float = 1.05  # exponent of the Zipf law of organic attention
    page_only: float = 0.0  # share of items that nobody finds alone

    # what the page does
    rho: float = 0.3  # correlation of the taste for shown items with the one behind the search
    slot: float = -4.05  # mass of an ordinary item in the first slot; all organic items have 0
    shown_pull: float = 0.8  # weight of the taste for shown items
    shown_interest: float = 0.25  # weight of the last views in it
    position: float = 0.35  # loss of mass a doubling of the position
    dissimilarity: float = 0.6  # in (0, 1], of an item on the page and its organic twin
    page_weight: float = 0.45  # in [0, 1], of the page's added attraction in going on
    redundant: bool = False  # each slot has the mass of its organic twin, and nothing of its own

    # the course of a session, one value for each of browse, compare, buy
    intent_share: Triple = (0.55, 0.30, 0.15)
    intent_leave: Triple = (-0.2, -2.0, -1.8)  # logit
    intent_buying: Triple = (-1.5, 0.0, 2.4)  # added to the logits of buy and cart
    intent_checkout: Triple = (-4.8, -3.8, -2.3)  # logit
    intent_focus: Triple = (0.5, 1.0, 0.8)  # weight of the last views in the next search
    leave_spread: float = 0.6  # standard deviation between sessions
    satisfied_leave: float = 0.8  # added to the logit of leaving after an order
    satisfied_buying: float = 0.8  # taken off the logits of buy and cart after an order
    long_term: bool = True  # False: what is shown now changes nothing later, see `myopic`

    # tiring (McAlister 1982)
    fatigue: float = 0.3  # loss of mass each time that an item stood on the last pages
    boredom: float = 0.0  # loss of mass for each recent view of the same category
    boredom_leave: float = 0.0  # added to the logit of leaving for each of them but one
    boredom_memory: float = 0.8  # of a view, kept from one view to the next

    # money
    quality: float = 0.5  # weight of an item's hidden quality in buying
    price_quality: float = 0.30  # log price for a standard deviation of quality
    price_noise: float = 0.30  # standard deviation of log price for no reason
    price_slope: float = 3.1  # median slope of buying on log price
    price_slope_spread: float = 0.25  # its log-sd between shoppers
    buy: float = -8.55  # logit
    cart: float = -5.35  # logit
    favourite: float = -3.3  # logit
    promotion_share: float = 0.05  # of item-days
    promotion: float = -0.22  # change of log price on them

    # coming back, see `recgym.worlds.loyalty`
    returns: bool = False  # whether anybody comes back after a session
    return_base: float = 0.0  # logit of coming back, of a shopper who is neither content nor cross
    return_weight: float = 0.0  # of contentment, in [-1, 1], in it
    content_rate: float = 0.2  # share of contentment that a page moves to what it was like
    content_click: float = 0.5  # what a page is like that was clicked, contentment
    content_kind: float = 0.0  # its standard deviation between the categories that are clicked
    content_order: float = 1.0  # that an order was paid on
    content_repeat: float = 0.5  # less, by the share of its items that stood on the last pages
    return_days: float = 5.0  # median days away
    return_spread: float = 0.8  # standard deviation of log days away

    # outside what a user model assumes
    reference: float = 0.0  # slope of buying on log price above what was seen so far
    loss_aversion: float = 2.0  # how much more a price above it counts than one below
    reference_memory: float = 0.7  # of the prices seen, kept from one page to the next
    similarity: float = 0.0  # loss of mass to a page full of equal items
    decoy: float = 0.0  # gain of mass for dominating an item of the page
    heterogeneity: float = 0.0  # log-sd of the segments' own laws of the page
    drift: float = 0.0  # of fame and appeal, standard deviation a week

    # what the site knows
    channel_accuracy: float = 0.6  # chance that a shopper's channel tells the segment
    logger_sees: float = 0.0  # weight of the hidden taste in the logging policy's own score

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The knobs given, lists as tuples, and the default of all others.

        Raises:
            UserError: naming a knob that does not exist or lies outside its range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise UserError(
                f"a true shop takes no {', '.join(unknown)}: expected knobs among "
                f"{', '.join(known)}."
            )
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items()
        }
        return cls(**plain)

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        for name in CHANCES:
            _expect(name, getattr(self, name), 0.0, 1.0)
        _expect("rho", self.rho, -1.0, 1.0)
        _expect("dissimilarity", self.dissimilarity, 1e-5, 1.0)
        for name in ("num_items", "num_categories", "num_segments", "num_days"):
            _expect(name, getattr(self, name), 1.0, float("inf"))
        for name in ("return_days", "return_spread"):
            _expect(name, getattr(self, name), 0.0, float("inf"))

    def myopic(self) -> Knobs:
        """These knobs without any path from a page to a later one.

        Going on and coming back do not heed the page, and nothing tires. The shop itself then moves
        no state, and its shoppers have no cart: `TasteShop` sees to it by ``long_term``.
        """
        off = dict.fromkeys(
            ("page_weight", "fatigue", "boredom", "boredom_leave", "reference", "shown_interest",
             "return_weight"),
            0.0,
        )  # fmt: skip
        return dataclasses.replace(self, long_term=False, **off)  # type: ignore[arg-type]


def _expect(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UserError(f"{name}={value}: expected a number from {least:g} to {most:g}.")
