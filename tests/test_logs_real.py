"""recgym.logs on real logs, where RECGYM_DATA says where they lie; none enters the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recgym.logs.csv import Csv
from recgym.logs.eshop_clothing import EshopClothing
from recgym.logs.online_retail import OnlineRetail
from recgym.logs.rees46 import Rees46
from recgym.logs.taobao import Taobao

DATA = Path(os.environ.get("RECGYM_DATA", "missing"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="RECGYM_DATA names no folder")


def test_rees46(tmp_path: Path) -> None:
    """Why: the published row counts are the truth that cleaning must account for."""
    log = Rees46(path=str(DATA / "rees46" / "2019-Oct.csv.gz")).clean(tmp_path / "out")
    rows = log.meta["rows"]["events"]
    assert rows["in"] == 17_435
    # the last line of the file is cut
    assert rows["set_aside"] == {"exact duplicate": 5, "malformed line": 1}
    assert log.meta["sessions"] == 5_067  # 5,066 ids, one of them shared by two shoppers
    assert log.meta["events"]["purchase"] == 214
    stats = log.stats()
    assert 0.02 < float((stats.orders > 0).float().mean()) < 0.06
    assert float(stats.revenue.sum()) == pytest.approx(59_442.63, abs=0.1)


def test_taobao(tmp_path: Path) -> None:
    """Why: a log without prices, sessions or header is the commonest public one."""
    log = Taobao(path=str(DATA / "taobao")).clean(tmp_path / "out")
    rows = log.meta["rows"]["events"]
    assert rows["in"] == 84_476 == rows["kept"] + sum(rows["set_aside"].values())
    assert log.meta["shoppers"] == 815
    assert log.stats().revenue.sum() == 1_750  # pieces: every price counts as 1


def test_invoices_through_the_csv_reader(tmp_path: Path) -> None:
    """Why: any shop's invoices are a log, returns and all, once its columns are named."""
    columns = {
        "shopper": "CustomerID", "session": "InvoiceNo", "time": "InvoiceDate",
        "item": "StockCode", "price": "UnitPrice", "quantity": "Quantity", "event": "Country",
    }  # fmt: skip
    log = Csv(
        path=str(DATA / "online_retail" / "online_retail.parquet"),
        columns=columns,
        events={"United Kingdom": "purchase"},
        max_set_aside=0.5,
    ).clean(tmp_path / "out")
    rows = log.meta["rows"]["events"]
    assert rows["in"] == 541_909 == rows["kept"] + sum(rows["set_aside"].values())
    assert log.meta["missing"].keys() >= {"views", "impressions"}


def test_online_retail(tmp_path: Path) -> None:
    """Why: purchases alone, with returns, corrections and rows without a customer."""
    path = str(DATA / "online_retail" / "online_retail.parquet")
    log = OnlineRetail(path=path).clean(tmp_path / "out")
    rows = log.meta["rows"]["events"]
    assert rows["in"] == 541_909 == rows["kept"] + sum(rows["set_aside"].values())
    assert rows["kept"] == 521_986 == log.meta["events"]["purchase"]
    assert rows["set_aside"]["purchase undone by a return of the same day"] == 569
    # the largest invoice line, 80,995 pieces, was undone after 12 minutes
    assert log.db.execute("SELECT max(quantity) FROM events").fetchall() == [(4800,)]


def test_eshop_clothing(tmp_path: Path) -> None:
    """Why: views alone, of which the day and the order are all that is known."""
    log = EshopClothing(path=str(DATA / "eshop_clothing")).clean(tmp_path / "out")
    assert log.meta["rows"]["events"] == {"in": 165_474, "kept": 165_474, "set_aside": {}}
    assert (log.meta["sessions"], log.meta["items"]) == (24_026, 217)
    assert log.meta["missing"].keys() >= {"purchases", "price changes within an item"}
    assert len(log.fields()[0].levels or ()) == 20  # of 47 countries
