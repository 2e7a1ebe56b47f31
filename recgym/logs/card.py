"""What meta.json says of a cleaned log, and the same as a page of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from recgym.logs import figures
from recgym.logs.cleaning import count, day, filled
from recgym.logs.source import columns_of
from recgym.types import Split

# What is missing, and what therefore cannot be known.
NO_IMPRESSIONS = (
    "impressions",
    "what was shown is unknown, so the response to showing is not identified: the fit takes the "
    "named assumptions rho and page_share",
)
NO_PROPENSITY = (
    "propensities",
    "how likely each item was to be shown is unknown: off-policy estimates have to model it",
)
NO_CLICKS = (
    "clicks on pages",
    "positions are recorded and no view has one: every view counts as found alone; set "
    "log.columns.position=null if the log does not say what was clicked",
)
NO_PRICES = ("prices", "money is undefined: every price counts as 1, revenue counts pieces sold")
NO_PRICE_CHANGES = ("price changes within an item", "the price elasticity is not identified")
NO_PURCHASES = ("purchases", "conversion and revenue are 0 and cannot be fitted")
NO_VIEWS = ("views", "every view is implied by what followed it")
NO_SESSION_IDS = ("session ids", "sessions are cut where a shopper rests longer than the gap")
NO_CATEGORIES = ("categories", "all items are in one unknown category")


def account(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Rows in, kept and set aside by reason, of each input table."""
    found: dict[str, Any] = {}
    for table, rows in db.execute("SELECT input, rows FROM rows_in").fetchall():
        reasons = db.execute(
            "SELECT reason, count(*) FROM set_aside WHERE input = ? GROUP BY reason "
            "ORDER BY count(*) DESC, reason",
            [table],
        ).fetchall()
        kept = rows - sum(aside for _, aside in reasons)
        found[table] = {"in": rows, "kept": kept, "set_aside": dict(reasons)}
    found["prices_of_0_taken_as_unknown"] = filled(db, "free")
    found["events_with_session_id"] = filled(db, "session")
    return found


def describe(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Counts, mix, span, prices and gaps of a cleaned log."""
    events = dict(
        db.execute("SELECT event, count(*) FROM events GROUP BY event ORDER BY 2 DESC").fetchall()
    )
    first, last = db.execute("SELECT min(time), max(time) FROM events").fetchall()[0]
    splits = dict(db.execute("SELECT split, count(*) FROM sessions GROUP BY split").fetchall())
    shown = bool(columns_of(db, "impressions"))
    money, ads = figures.prices(db), _ads(db)
    return {
        "sessions": count(db, "sessions"),
        "splits": {split.name.lower(): splits.get(int(split), 0) for split in Split},
        "shoppers": count(db, "shoppers"),
        "items": count(db, "items"),
        "events": events,
        "impressions": count(db, "impressions") if shown else 0,
        **({"ads": ads} if ads else {}),  # a card without ads stays what it was
        "first_day": day(first) if first is not None else None,
        "last_day": day(last) if last is not None else None,
        "price_range": [round(price, 2) for price in money.range] if money.range else None,
        "conversion": figures.conversion(db),
        "missing": _missing(db, money, events),
    }


def _missing(
    db: duckdb.DuckDBPyConnection, money: figures.Prices, events: dict[str, int]
) -> dict[str, str]:
    found = []
    impressions = columns_of(db, "impressions")
    if not impressions:
        found.append(NO_IMPRESSIONS)
    elif "propensity" not in impressions or not _any(db, "impressions", "propensity"):
        found.append(NO_PROPENSITY)
    said = "position" in columns_of(db, "events")
    if impressions and said and not _any(db, "events", "position"):
        found.append(NO_CLICKS)
    if not money.range:
        found.append(NO_PRICES)
    elif not money.vary:
        found.append(NO_PRICE_CHANGES)
    if "purchase" not in events:
        found.append(NO_PURCHASES)
    if "view" not in events:
        found.append(NO_VIEWS)
    if not _any(db, "items", "category"):
        found.append(NO_CATEGORIES)
    return dict(found)


def _ads(db: duckdb.DuckDBPyConnection) -> int:
    """Impressions that were ads."""
    if "sponsored" not in columns_of(db, "impressions"):
        return 0
    return int(db.execute("SELECT count(*) FROM impressions WHERE sponsored").fetchall()[0][0])


def _any(db: duckdb.DuckDBPyConnection, table: str, column: str) -> bool:
    return bool(db.execute(f"SELECT count({column}) > 0 FROM {table}").fetchall()[0][0])


def card(folder: Path, meta: dict[str, Any]) -> str:
    """The log card."""
    prices = meta["price_range"]
    lines = [
        f"Log {meta['name']} in {folder}, from {meta['source']}",
        f"  {meta['first_day']} to {meta['last_day']}, {meta['sessions']:,} sessions of "
        f"{meta['shoppers']:,} shoppers, {meta['items']:,} items",
        "  events      " + _pairs(meta["events"]),
        f"  impressions {meta['impressions']:,}"
        + (f", {meta['ads']:,} of them ads" if meta.get("ads") else ""),
        "  prices      " + (f"{prices[0]:,} to {prices[1]:,}" if prices else "none"),
        "  splits      " + _pairs(meta["splits"]),
        "  conversion  " + _pairs(meta["conversion"]),
        "Rows",
    ]
    for table, rows in meta["rows"].items():
        if isinstance(rows, dict):
            aside = _pairs(rows["set_aside"]) or "none"
            lines.append(f"  {table}: {rows['in']:,} in, {rows['kept']:,} kept, set aside: {aside}")
        elif rows:
            lines.append(f"  {table.replace('_', ' ')}: {rows:,}")
    lines.append("Missing")
    lines += [f"  {what}: {why}" for what, why in meta["missing"].items()] or ["  nothing"]
    return "\n".join(lines)


def _pairs(values: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in values.items())
