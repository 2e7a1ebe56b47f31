"""Online Retail (UCI 352): invoices of a British web shop with returns, purchases only.

What the rows mean, decided here and accounted for row by row:

- An invoice is a session, its customer the shopper. A row without a customer (a quarter of them) is
  a sale all the same: each such invoice becomes a shopper of its own, ``guest INVOICE``.
- Returns (invoices that begin with C) are set aside: sales are gross. The log format has no event
  for them, and one of them may lie months behind its purchase.
- A purchase that a return of the same customer, item, quantity and price undoes *on the same day*
  was a slip: it is set aside too. Only that day is looked at, so that no day of sales hangs on what
  came after it. (The largest row, 80,995 pieces, was undone after 12 minutes.)
- Postage, fees, vouchers, discounts and corrections of the books or of the stock are no goods.
- Categories are families of stock codes, their first two digits: the data names none, the rule
  needs neither text nor price, and codes that begin alike came into the catalogue together. Codes
  are compared in capitals; 85123A and 85123B are colours of one article, and two items.
- Times are the shop's own clock, taken for UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import duckdb

from recgym.errors import UserError
from recgym.logs.base import ReaderBase
from recgym.logs.rules import Rule
from recgym.logs.source import columns_of, is_parquet, load_csv, load_parquet

# ours -> theirs
COLUMNS = {
    "shopper": "CustomerID",
    "session": "InvoiceNo",
    "time": "InvoiceDate",
    "item": "StockCode",
    "price": "UnitPrice",
    "quantity": "Quantity",
}
GOODS = "^([0-9]{5}|DCGS)"  # stock codes of what is sold; all others are services and book-keeping
RETURN, UNDONE, OTHER, STOCK = "return", "undone the same day", "no goods", "stock correction"


def _aside(event: str, reason: str) -> Rule:
    remedy = "remove such rows from the file"
    return Rule(reason, f"given_event = '{event}'", "event", "sales of goods", remedy)


@dataclass(kw_only=True)
class OnlineRetail(ReaderBase):
    """Purchases with prices, quantities and invoices; no views, no impressions."""

    name: str = "online_retail"
    own_rules: ClassVar[tuple[Rule, ...]] = (
        _aside(OTHER, "no goods: postage, fee, voucher or correction"),
        _aside(RETURN, "returned goods: sales are gross"),
        _aside(UNDONE, "purchase undone by a return of the same day"),
        _aside(STOCK, "stock correction"),
    )

    def column(self, ours: str) -> str:
        """Their name of our column."""
        return COLUMNS.get(ours, ours)

    def read(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create raw_events."""
        files = self.files()
        load = load_parquet if is_parquet(files[0]) else load_csv
        load(db, "invoice_rows", files)
        present = columns_of(db, "invoice_rows")
        lacking = [c for c in COLUMNS.values() if c not in present]
        if lacking:
            raise UserError(
                f"{files[0]} lacks the column {lacking[0]!r} of the Online Retail layout; found "
                f"{', '.join(map(repr, present))}; {self.remedy('set log.columns.NAME=YOURS')}"
            )
        self._number(db)
        db.execute(
            f"CREATE TABLE raw_events AS SELECT shopper, InvoiceNo AS session, InvoiceDate AS "
            f"time, {self._event()} AS event, item, UnitPrice AS price, Quantity AS quantity, "
            f"CASE WHEN item SIMILAR TO '[0-9]{{5}}.*' THEN left(item, 2) ELSE left(item, 4) END "
            f"AS category FROM numbered ORDER BY number"
        )

    @staticmethod
    def _number(db: duckdb.DuckDBPyConnection) -> None:
        """Make ``numbered``: rows in their order, and whether a return of the day undoes each.

        Backwards in time returns open what the purchases before them close: a purchase is undone
        unless the running sum of both falls to a new low with it.
        """
        db.execute(
            "CREATE TABLE invoice_row AS SELECT row_number() OVER () AS number, *, "
            "upper(trim(StockCode)) AS item, try_cast(Quantity AS DOUBLE) AS pieces, "
            "try_cast(UnitPrice AS DOUBLE) AS paid, InvoiceNo LIKE 'C%' AS returned, "
            "try_cast(InvoiceDate AS TIMESTAMP) AS moment, "
            "coalesce(CAST(try_cast(CustomerID AS BIGINT) AS VARCHAR), 'guest ' || InvoiceNo) "
            "AS shopper FROM invoice_rows"
        )
        backwards = "ORDER BY moment DESC, returned DESC, number DESC"
        db.execute(
            "CREATE TABLE numbered AS WITH summed AS (SELECT *, sum(CASE WHEN returned THEN 1 "
            "WHEN pieces > 0 THEN -1 ELSE 0 END) OVER (PARTITION BY shopper, item, abs(pieces), "
            f"paid, CAST(moment AS DATE) {backwards} ROWS UNBOUNDED PRECEDING) AS open "
            "FROM invoice_row) SELECT *, open >= least(0, coalesce(min(open) OVER (PARTITION BY "
            f"shopper, item, abs(pieces), paid, CAST(moment AS DATE) {backwards} "
            "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)) AS undone FROM summed"
        )

    @staticmethod
    def _event() -> str:
        return (
            f"CASE WHEN NOT regexp_matches(item, '{GOODS}') THEN '{OTHER}' "
            f"WHEN returned THEN '{RETURN}' WHEN pieces < 0 THEN '{STOCK}' "
            f"WHEN undone THEN '{UNDONE}' ELSE 'purchase' END"
        )
