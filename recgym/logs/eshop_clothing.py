"""E-shop clothing 2008 (UCI 553): every click of five months in a shop of maternity wear.

Views only. What the file does not hold, decided here:

- It has the day of a click and its number within the session, and no time: clicks stand a second
  apart from midnight (UTC) on. So time between events and hour of day say nothing of its shoppers.
- A session has no shopper behind it: each is a shopper of its own, whose profile is the country.

Both published headers are read, that of the file (semicolons, ``session ID``) and that of the
repository's own package (commas, ``session_id``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import duckdb

from recgym.errors import UserError
from recgym.logs.base import ReaderBase
from recgym.logs.source import columns_of, first_line, identifier, load_csv

# ours -> theirs, as in the file; the package leaves out signs and ends one name with "code"
COLUMNS = {
    "session": "session ID",
    "item": "page 2 (clothing model)",
    "category": "page 1 (main category)",
    "price": "price",
    "year": "year",
    "month": "month",
    "day": "day",
    "order": "order",
    "country": "country",
}


@dataclass(kw_only=True)
class EshopClothing(ReaderBase):
    """Views with a price on every row and session ids; no purchases, no impressions."""

    name: str = "eshop_clothing"

    def __post_init__(self) -> None:
        self.time_unit = "s"

    def column(self, ours: str) -> str:
        """Their name of our column; a time is put together."""
        return {**COLUMNS, "shopper": COLUMNS["session"], "time": "day"}.get(ours, ours)

    def read(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create raw_events and raw_shoppers."""
        files = self.files()
        separator = ";" if ";" in first_line(files[0]) else ","
        load_csv(db, "click_rows", files, separator)
        theirs = self._found(columns_of(db, "click_rows"))
        year, month, day, order, session = (
            theirs[name] for name in ("year", "month", "day", "order", "session")
        )
        date = f"concat_ws('-', {year}, {month}, {day})"
        seconds = f"epoch(try_cast({date} AS DATE)) + try_cast({order} AS BIGINT) - 1"
        # what is no date is given as it stands, to be set aside
        time = f"coalesce(CAST(CAST({seconds} AS BIGINT) AS VARCHAR), {date})"
        db.execute(
            f"CREATE VIEW raw_events AS SELECT {session} AS shopper, {session} AS session, {time} "
            f"AS time, 'view' AS event, {theirs['item']} AS item, {theirs['price']} AS price, "
            f"{theirs['category']} AS category FROM click_rows"
        )
        db.execute(
            f"CREATE VIEW raw_shoppers AS SELECT {session} AS shopper, "
            f"any_value({theirs['country']}) AS country FROM click_rows "
            f"WHERE {session} IS NOT NULL GROUP BY ALL"
        )

    def _found(self, present: dict[str, str]) -> dict[str, str]:
        """Their columns, quoted, by ours."""
        plain = {_letters(name): name for name in present}
        found = {}
        for ours, theirs in COLUMNS.items():
            if _letters(theirs) not in plain:
                raise UserError(
                    f"{self.files()[0]} lacks the column {theirs!r} of the e-shop clothing layout; "
                    f"found {', '.join(map(repr, present))}; "
                    f"{self.remedy('set log.columns.NAME=YOURS')}"
                )
            found[ours] = identifier(plain[_letters(theirs)])
        return found


def _letters(name: str) -> str:
    """What both headers have of a column's name."""
    return re.sub("[^a-z0-9]", "", name.lower()).removesuffix("code")
