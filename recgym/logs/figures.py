"""Figures of a cleaned log that the card tells, taken from its tables a part at a time."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import duckdb
import numpy as np

from recgym.logs.catalog import price_day, price_days, seen_prices
from recgym.logs.cleaning import count
from recgym.logs.source import columns_of
from recgym.logs.steps import count_steps
from recgym.logs.tensors import read_rows, read_shown

ROWS_AT_ONCE = 1_000_000


def conversion(db: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """What turning rows into steps implied, joined or left out.

    No step crosses a session, so sessions are read some at a time; all at once where pages were
    recorded, since these are numbered through.
    """
    sessions, events = count(db, "sessions"), count(db, "events")
    at_once = max(1, sessions * ROWS_AT_ONCE // max(events, 1))
    if columns_of(db, "impressions"):
        at_once = sessions
    shown = read_shown(db, None)
    parts = [range(f, min(f + at_once, sessions)) for f in range(0, sessions, at_once)]

    def steps_of(part: range) -> dict[str, int]:
        with db.cursor() as mine:
            return count_steps(read_rows(mine, None, part), len(part), shown)

    found: Counter[str] = Counter()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for counts in pool.map(steps_of, parts):
            found.update(counts)
    return dict(found)


@dataclass(frozen=True)
class Prices:
    """What the catalogue's prices span, and whether any item was met at two prices."""

    range: tuple[float, float] | None  # None where there is no price
    vary: bool


def prices(db: duckdb.DuckDBPyConnection) -> Prices:
    """Least and greatest price of the catalogue, without building it.

    The catalogue holds a median of each item and day. Below the least of the items' highest
    prices, or above the greatest of their lowest, lie few items, and only they can hold the least
    and the greatest median; so few medians are taken.
    """
    seen = seen_prices(db)
    query = f"SELECT item, min(price) AS low, max(price) AS high FROM ({seen}) GROUP BY item"
    if not seen:
        query = "SELECT item, 0 AS low, 0 AS high FROM items WHERE false"
    db.execute(f"CREATE OR REPLACE TEMP TABLE item_price AS {query}")
    ends = (
        "SELECT nullif(price, 0) AS price FROM items "
        "WHERE item NOT IN (SELECT item FROM item_price)"
    )
    if seen:
        ends += (
            f" UNION ALL SELECT median(price) FROM ({seen}) JOIN item_price USING (item) "
            f"WHERE low <= (SELECT min(high) FROM item_price) "
            f"OR high >= (SELECT max(low) FROM item_price) "
            f"GROUP BY item, {price_day(price_days(db))}"
        )
    low, high = db.execute(f"SELECT min(price), max(price) FROM ({ends})").fetchall()[0]
    vary = count(db, "(SELECT 1 FROM item_price WHERE low < high LIMIT 1)") > 0
    if low is None:
        return Prices(None, vary)
    # as the catalogue rounds them
    return Prices((float(np.float32(low)), float(np.float32(high))), vary)
