"""REES46 eCommerce logs: one CSV a month, plain or .gz, as the REES46 Open CDP publishes them."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from recgym.errors import UserError
from recgym.logs.base import ReaderBase
from recgym.logs.source import columns_of, load_csv

# ours -> theirs
COLUMNS = {
    "shopper": "user_id",
    "session": "user_session",
    "time": "event_time",
    "event": "event_type",
    "item": "product_id",
    "price": "price",
    "category": "category_code",
    "brand": "brand",
}
EVENTS = {"remove_from_cart": "remove"}


@dataclass(kw_only=True)
class Rees46(ReaderBase):
    """Views, carts and purchases with a price on every row and session ids; no impressions."""

    name: str = "rees46"

    def __post_init__(self) -> None:
        self.events = EVENTS
        self.time_unit = "iso"

    def column(self, ours: str) -> str:
        """Their name of our column."""
        return COLUMNS.get(ours, ours)

    def read(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create raw_events."""
        files = self.files()
        load_csv(db, "csv_rows", files)
        present = columns_of(db, "csv_rows")
        lacking = [c for c in (*COLUMNS.values(), "category_id") if c not in present]
        if lacking:
            raise UserError(
                f"{files[0]} lacks the column {lacking[0]!r} of the REES46 layout; found "
                f"{', '.join(map(repr, present))}; {self.remedy('set log.columns.NAME=YOURS')}"
            )
        columns = {c: f"{theirs} AS {c}" for c, theirs in COLUMNS.items()}
        # The readable code is missing on a third of the rows, the id never.
        columns["category"] = "coalesce(category_code, category_id) AS category"
        db.execute(f"CREATE VIEW raw_events AS SELECT {', '.join(columns.values())} FROM csv_rows")
