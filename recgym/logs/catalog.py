"""The catalogue of a cleaned log, as tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import torch

from recgym.logs.cleaning import count
from recgym.logs.source import columns_of, literal
from recgym.types import DAY_MS, Catalog

MAX_DAYS = 400  # of prices kept: a bit over a year
MAX_PRICES = 50_000_000  # days x items kept, 200 MB as float32
MAX_BRANDS = 15  # commonest, one feature each


def open_tables(folder: Path) -> duckdb.DuckDBPyConnection:
    """The Parquet files of a cleaned log as views, items and shoppers with their row number."""
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    for table in ("events", "impressions", "sessions", "set_aside"):
        file = folder / f"{table}.parquet"
        if file.exists():
            path = literal(file)
            db.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({path})")
    for table in ("items", "shoppers"):
        path = literal(folder / f"{table}.parquet")
        db.execute(
            f"CREATE TABLE {table} AS SELECT file_row_number AS code, * EXCLUDE "
            f"(file_row_number) FROM read_parquet({path}, file_row_number=true)"
        )
    return db


def floats(value: Any) -> npt.NDArray[np.float64]:
    """A column of ``fetchnumpy`` as floats, NaN where it is NULL."""
    number = np.ma.asarray(value).astype(np.float64)
    return np.asarray(np.ma.filled(number, np.nan), dtype=np.float64)


def ints(value: Any, absent: int = -1) -> npt.NDArray[np.int64]:
    """A column of ``fetchnumpy`` as integers, ``absent`` where it is NULL."""
    return np.asarray(np.ma.filled(np.ma.asarray(value).astype(np.int64), absent), dtype=np.int64)


def build_catalog(db: duckdb.DuckDBPyConnection) -> Catalog:
    """Prices by day, categories and features of all items."""
    category, num_categories = _categories(db)
    price_DI, start_ms = _prices(db)
    priced = price_DI is not None
    if price_DI is None:
        price_DI = np.ones((1, count(db, "items")))
    feature = np.concatenate([_price_feature(price_DI, priced), _brands(db)], axis=1)
    return Catalog(
        price=torch.from_numpy(price_DI).float(),
        category=torch.from_numpy(category),
        feature=torch.from_numpy(feature).float(),
        start_ms=start_ms,
        num_categories=num_categories,
        priced=priced,
    )


def _categories(db: duckdb.DuckDBPyConnection) -> tuple[npt.NDArray[np.int64], int]:
    """Code of each item's category, from 1 in the order of their names; 0 if unknown."""
    rows = db.execute(
        "SELECT coalesce(CASE WHEN category IS NOT NULL THEN dense_rank() OVER "
        "(ORDER BY category NULLS LAST) END, 0) AS category FROM items ORDER BY code"
    ).fetchnumpy()
    codes = ints(rows["category"], 0)
    return codes, int(codes.max()) + 1


def seen_prices(db: duckdb.DuckDBPyConnection) -> str:
    """SQL for item, time and price of every row with a price; empty where no table has prices."""
    tables = [t for t in ("events", "impressions") if "price" in columns_of(db, t)]
    return " UNION ALL ".join(f"SELECT item, time, price FROM {t} WHERE price > 0" for t in tables)


def price_days(db: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """First and last day of the price table, in days since 1970."""
    times = "(SELECT start AS time FROM sessions UNION ALL SELECT time FROM events)"
    first, last = db.execute(f"SELECT min(time), max(time) FROM {times}").fetchall()[0]
    most = max(1, min(MAX_DAYS, MAX_PRICES // count(db, "items")))
    if last // DAY_MS - first // DAY_MS >= most:
        # A stray late time must not push the days that matter out of a capped table.
        query = f"SELECT quantile_disc(time, 0.999) FROM {times}"
        last = db.execute(query).fetchall()[0][0]
    end = int(last // DAY_MS)
    return max(int(first // DAY_MS), end - most + 1), end


def price_day(days: tuple[int, int]) -> str:
    """SQL for the row of the price table that a time belongs to."""
    start, end = days
    return f"greatest(0, least({end}, time // {DAY_MS}) - {start})"


def _prices(db: duckdb.DuckDBPyConnection) -> tuple[npt.NDArray[np.float64] | None, int]:
    """Prices [D, I], None where the log has none, and the start of day 0."""
    start, end = days = price_days(db)
    items, seen = count(db, "items"), seen_prices(db)
    price_DI = np.full((end - start + 1, items), np.nan)
    if seen:
        rows = db.execute(
            f"SELECT i.code, {price_day(days)} AS day, median(s.price) AS price "
            f"FROM ({seen}) s JOIN items i USING (item) GROUP BY ALL"
        ).fetchnumpy()
        price_DI[ints(rows["day"]), ints(rows["code"])] = floats(rows["price"])
    query = "SELECT nullif(price, 0) AS price FROM items ORDER BY code"
    listed = floats(db.execute(query).fetchnumpy()["price"])
    if np.isnan(price_DI).all() and np.isnan(listed).all():
        return None, start * DAY_MS
    return _fill(price_DI, listed), start * DAY_MS


def _fill(
    price_DI: npt.NDArray[np.float64], listed: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Fill days forwards, then backwards, then by the listed price, then by the median."""
    days, items = np.arange(len(price_DI))[:, None], np.arange(price_DI.shape[1])
    for step in (1, -1):
        part_DI = price_DI[::step]
        row_DI = np.maximum.accumulate(np.where(np.isnan(part_DI), 0, days), axis=0)
        price_DI = part_DI[row_DI, items][::step]
    price_DI = np.where(np.isnan(price_DI), listed, price_DI)
    return np.where(np.isnan(price_DI), np.nanmedian(price_DI), price_DI)


def _price_feature(price_DI: npt.NDArray[np.float64], priced: bool) -> npt.NDArray[np.float64]:
    """Standardised log of each item's mean price, [I, 1]; 0 without prices."""
    log_price = np.log(price_DI.mean(0))
    spread = log_price.std()
    if not priced or spread == 0:
        return np.zeros((price_DI.shape[1], 1))
    return np.asarray((log_price - log_price.mean()) / spread)[:, None]


def _brands(db: duckdb.DuckDBPyConnection) -> npt.NDArray[np.float64]:
    """One column for each of the commonest brands, [I, at most MAX_BRANDS]."""
    rows = db.execute(
        f"SELECT r.rank FROM items t LEFT JOIN (SELECT brand AS level, row_number() OVER "
        f"(ORDER BY count(*) DESC, brand) - 1 AS rank FROM items WHERE brand IS NOT NULL "
        f"GROUP BY brand ORDER BY rank LIMIT {MAX_BRANDS}) r ON t.brand = r.level ORDER BY t.code"
    ).fetchnumpy()
    rank = ints(rows["rank"])
    return np.asarray(rank[:, None] == np.arange(rank.max() + 1), dtype=np.float64)
