"""recgym.logs.online_retail: each kind of row of the invoices, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from log_files import read_rows, write_csv, write_parquet

from recgym.errors import UserError
from recgym.logs.log import Log
from recgym.logs.online_retail import OnlineRetail

TYPES = {
    "InvoiceNo": "VARCHAR", "StockCode": "VARCHAR", "Description": "VARCHAR", "Quantity": "BIGINT",
    "InvoiceDate": "TIMESTAMP", "UnitPrice": "DOUBLE", "CustomerID": "DOUBLE", "Country": "VARCHAR",
}  # fmt: skip


def line(
    invoice: str, code: str, pieces: int, time: str, price: float = 2.5, who: float | None = 17850
) -> dict[str, Any]:
    found = {"InvoiceNo": invoice, "StockCode": code, "Description": "THING", "Quantity": pieces}
    return found | {"InvoiceDate": time, "UnitPrice": price, "CustomerID": who, "Country": "UK"}


# row number from 1, as set_aside has it
LINES = [
    line("536365", "85123A", 6, "2010-12-01 08:26:00"),  # 1 kept
    line("536365", "85123a", 6, "2010-12-01 08:26:00"),  # 2 the same again, in small letters
    line("536365", "POST", 1, "2010-12-01 08:26:00", 18.0),  # 3 postage
    line("536366", "22633", 4, "2010-12-01 09:00:00"),  # 4 undone by 6
    line("536367", "22633", 4, "2010-12-01 09:05:00"),  # 5 undone by 7: one return each
    line("C536368", "22633", -4, "2010-12-01 09:10:00"),  # 6
    line("C536369", "22633", -4, "2010-12-01 10:00:00"),  # 7
    line("536370", "22633", 4, "2010-12-01 11:00:00"),  # 8 kept: bought after the returns
    line("536371", "21730", 5, "2010-12-02 09:00:00", who=None),  # 9 kept, a guest
    line("C536372", "21730", -5, "2010-12-02 12:00:00", who=None),  # 10 another guest's return
    line("536373", "21730", 7, "2010-12-02 09:00:00"),  # 11 kept: its return comes the next day
    line("C536374", "21730", -7, "2010-12-03 09:00:00"),  # 12
    line("536375", "71053", -9, "2010-12-03 10:00:00", 0.0, None),  # 13 thrown away
    line("536376", "71053", 3, "2010-12-03 11:00:00", 0.0),  # 14 a gift
    line("A563185", "B", 1, "2010-12-03 12:00:00", -11062.06, None),  # 15 bad debt
    line("536377", "DCGSSGIRL", 2, "2010-12-04 12:00:00", 3.3, 13047),  # 16 kept
    line("536378", "84029G", 1, "2010-12-05 12:00:00", 4.25, 13047),  # 17 kept
]
LAST = [line(f"54{i:04}", "10002", 1, f"2010-12-{i + 6:02} 12:00:00", who=12583) for i in range(8)]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    folder = tmp_path_factory.mktemp("retail")
    file = write_parquet(folder / "online_retail.parquet", LINES + LAST, TYPES)
    return OnlineRetail(path=str(file), max_set_aside=0.5).clean(folder / "log")


def test_every_row_is_kept_or_set_aside_with_its_reason(log: Log) -> None:
    # Why: nothing of a shop's money may vanish silently.
    aside = dict(read_rows(log.folder / "set_aside.parquet", "row, reason"))
    returned, undone = (
        "returned goods: sales are gross",
        "purchase undone by a return of the same day",
    )
    no_goods = "no goods: postage, fee, voucher or correction"
    assert aside == {
        2: "exact duplicate", 3: no_goods, 4: undone, 5: undone, 6: returned, 7: returned,
        10: returned, 12: returned, 13: "stock correction", 14: "purchase at price 0", 15: no_goods,
    }  # fmt: skip
    rows = log.meta["rows"]["events"]
    assert rows["in"] == 25 == rows["kept"] + len(aside)


def test_shoppers_sessions_items_and_categories(log: Log) -> None:
    # Why: a row without a customer is a sale, and nobody else's.
    found = log.db.execute(
        "SELECT e.shopper, e.item, i.category, e.quantity, e.price, e.event FROM events e "
        "JOIN items i USING (item) ORDER BY e.row"
    ).fetchall()[:6]
    assert found == [
        ("17850", "85123A", "85", 6, 2.5, "purchase"),
        ("17850", "22633", "22", 4, 2.5, "purchase"),
        ("guest 536371", "21730", "21", 5, 2.5, "purchase"),
        ("17850", "21730", "21", 7, 2.5, "purchase"),
        ("13047", "DCGSSGIRL", "DCGS", 2, 3.3, "purchase"),
        ("13047", "84029G", "84", 1, 4.25, "purchase"),
    ]
    assert log.meta["sessions"] == 14  # an invoice each
    assert {"views", "impressions"} <= log.meta["missing"].keys()
    # each purchase opens a step with an implied view
    assert log.steps.counts["implied_views"] == 14


def test_a_text_file_of_the_same_rows_is_the_same_log(log: Log, tmp_path: Path) -> None:
    # Why: the published workbook is often saved as CSV.
    rows = [{k: "" if v is None else v for k, v in row.items()} for row in LINES + LAST]
    file = write_csv(tmp_path / "online_retail.csv", rows)
    again = OnlineRetail(path=str(file), max_set_aside=0.5).clean(tmp_path / "log")
    assert again.meta["rows"] == log.meta["rows"]
    assert again.db.execute("SELECT count(*), sum(price * quantity) FROM events").fetchall() == (
        log.db.execute("SELECT count(*), sum(price * quantity) FROM events").fetchall()
    )


def test_another_layout_is_refused(tmp_path: Path) -> None:
    # Why: "Online Retail II" names its columns otherwise.
    file = write_csv(tmp_path / "log.csv", [{"Invoice": 1, "Price": 2.0}])
    with pytest.raises(UserError, match="lacks the column 'CustomerID' of the Online Retail layo"):
        OnlineRetail(path=str(file)).clean(tmp_path / "log")


def test_too_many_rows_of_one_kind_end_in_a_sentence(tmp_path: Path) -> None:
    # Why: the data set's own reasons are named like all others.
    file = write_parquet(tmp_path / "x.parquet", LINES + LAST, TYPES)
    with pytest.raises(UserError, match=r"4 of 25 .*'returned goods: sales are gross' in column"):
        OnlineRetail(path=str(file)).clean(tmp_path / "log")
