"""What makes a row unusable, in one table: the reason, its SQL condition, what was expected."""

from __future__ import annotations

from dataclasses import dataclass

EVENTS = ("view", "favourite", "cart", "remove", "purchase")
EARLIEST_MS = 631_152_000_000  # 1990-01-01 UTC: no web shop is older
MAX_SLOTS = 500  # of a page; more is a mistaken position column

EVENT_COLUMNS = (
    "shopper", "session", "time", "event", "item", "price", "quantity", "page", "position",
    "sponsored", "category", "brand",
)  # fmt: skip
IMPRESSION_COLUMNS = (
    "page", "shopper", "session", "time", "position", "item", "price", "sponsored", "propensity",
    "policy",
)  # fmt: skip
REQUIRED = {
    "events": ("shopper", "time", "event", "item"),
    "impressions": ("page", "shopper", "time", "position", "item"),
    "items": ("item",),
    "shoppers": ("shopper",),
}


@dataclass(frozen=True)
class Rule:
    """One reason to set a row aside."""

    reason: str
    condition: str  # SQL over the columns of the table being checked
    column: str | None  # ours; None where no single column is to blame
    expected: str
    remedy: str


def _missing(column: str, remedy: str) -> Rule:
    expected = f"every row to name its {column}"
    return Rule(f"missing {column}", f"{column} IS NULL", column, expected, remedy)


_SHOPPER = _missing("shopper", "set log.columns.shopper=NAME")
_ITEM = _missing("item", "set log.columns.item=NAME")
_PAGE = _missing("page", "set log.columns.page=NAME")

_TIME = (
    _missing("time", "set log.columns.time=NAME"),
    Rule(
        "time cannot be read",
        "time_format IS NULL",
        "time",
        "seconds or milliseconds since 1970, or ISO 8601 such as 2019-10-01 08:00:00",
        "set log.columns.time=NAME to another column, or rewrite this one",
    ),
    Rule(
        "time in another format",
        "time_format <> time_unit",
        "time",
        "one format throughout",
        "set log.time_unit=s, ms or iso, or rewrite the column in one format",
    ),
    Rule(
        "impossible time",
        "time_ms IS NULL OR time_ms NOT BETWEEN earliest_ms AND latest_ms",
        "time",
        "a time from {earliest} to {latest}",
        "set log.time_unit=s, ms or iso",
    ),
)
_PRICE = (
    Rule(
        "price is not a number",
        "price_text IS NOT NULL AND (price IS NULL OR isinf(price))",
        "price",
        "a number with a decimal point and no currency sign",
        "rewrite the column, or set log.columns.price=null to do without prices",
    ),
    Rule(
        "negative price",
        "price < 0",
        "price",
        "prices of 0 or more",
        "remove returns from the log, or set log.columns.price=null to do without prices",
    ),
)
_POSITION = Rule(
    "position is not a slot number",
    "position_text IS NOT NULL AND (position IS NULL OR position <> floor(position) "
    f"OR position NOT BETWEEN 0 AND {MAX_SLOTS - 1})",
    "position",
    f"whole numbers from 0 to {MAX_SLOTS - 1}, the first slot being 0",
    "set log.columns.position=null to do without positions",
)

RULES: dict[str, tuple[Rule, ...]] = {
    "events": (
        _SHOPPER,
        _ITEM,
        *_TIME,
        Rule(
            "unknown event",
            "event IS NULL",
            "event",
            f"one of {', '.join(EVENTS)}",
            "set +log.events.{name}=view (or another of these names)",
        ),
        *_PRICE,
        Rule(
            "purchase at price 0",
            "event = 'purchase' AND price = 0",
            "price",
            "a positive price on every purchase that has one",
            "remove gifts from the log, or set log.columns.price=null to do without prices",
        ),
        Rule(
            "quantity is not a number",
            "quantity_text IS NOT NULL AND (quantity IS NULL OR isinf(quantity))",
            "quantity",
            "a number of pieces",
            "set log.columns.quantity=null to count one piece a row",
        ),
        Rule(
            "quantity not above 0",
            "quantity <= 0",
            "quantity",
            "at least one piece a row",
            "remove returns from the log, or set log.columns.quantity=null",
        ),
        _POSITION,
    ),
    "impressions": (
        _SHOPPER,
        _ITEM,
        _PAGE,
        *_TIME,
        *_PRICE,
        _missing("position", "number the slots of each page from 0"),
        _POSITION,
    ),
    "items": (_ITEM, *_PRICE),
    "shoppers": (_SHOPPER,),
}


def rules_of(table: str, own: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Rules of a table; those of the data set are for its events, and come first."""
    return (*own, *RULES[table]) if table == "events" else RULES[table]


# A later row with the same key is set aside: (reason, key, what to do).
REPEATS: dict[str, tuple[tuple[str, str], ...]] = {
    "events": (
        (
            "exact duplicate",
            "shopper, session, time_ms, event, item, price, quantity, page, position",
        ),
    ),
    "impressions": (
        ("item twice on the page", "shopper, session, page, item"),
        ("two items in one slot", "shopper, session, page, position"),
    ),
    "items": (("item listed twice", "item"),),
    "shoppers": (("shopper listed twice", "shopper"),),
}
MALFORMED = "malformed line"
