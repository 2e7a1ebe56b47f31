"""Cleaning a log, beside reading the same CSV alone: rows a second, and the peak of memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from experiments.speed.figure import REPEATS, Figure, seconds
from recgym.logs.rees46 import Rees46
from recgym.logs.scratch import MEMORY_LIMIT

FIRST_S = 1_569_888_000  # 2019-10-01 UTC
SPAN_S = 31 * 86_400
SESSIONS_AT_ONCE = 400  # of 5 events each, running at the same time
SESSIONS_A_SHOPPER = 0.55  # of a Poisson law: of those who come, 24 % come again
GOAL = "at least 0.5 of reading the file alone; peak memory under 2 GB"

# In a process of its own, so that its peak of memory is that of cleaning and nothing else.
CLEAN = """
import json, resource, sys, time
from recgym.logs.rees46 import Rees46
begun = time.perf_counter()
log = Rees46(path=sys.argv[1], memory_limit=sys.argv[3]).clean(sys.argv[2])
taken = time.perf_counter() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": taken, "peak_mib": peak, "rows": log.meta["rows"]["events"]}))
"""


def write_log(path: Path, num_rows: int, seed: int = 0) -> None:
    """Write a log in the layout of REES46: a month of ``num_rows`` rows, in the order of time.

    Sessions overlap and hold about five events on three items; an item's price changes from day
    to day. One row in a thousand repeats the one before, one in a thousand lacks its shopper or
    a readable price, and a few lines at the end are cut short.
    """
    shoppers = round(num_rows / 5 / SESSIONS_A_SHOPPER)
    items = max(50, min(100_000, num_rows // 200))
    rows_at_once = 5 * SESSIONS_AT_ONCE

    def uniform(purpose: int, *columns: str) -> str:
        return f"(hash({', '.join(columns)}, {seed}, {purpose}) % 1000003 / 1000003)"

    place = f"floor({uniform(9, 'n')} * 3)"  # which of its session's items
    change = f"0.1 * floor(3 * {uniform(6, 'item', 'second // 86400')})"
    price = f"round(exp(1 + 5 * {uniform(5, 'item')}) * (1 - {change}), 2)"
    with duckdb.connect() as db:
        db.execute("SET enable_progress_bar = false")
        db.execute(f"""COPY (
            WITH numbered AS (
                SELECT greatest(i - ({uniform(0, "i")} < 0.001)::BIGINT, 0) AS n
                FROM range({num_rows}) rows(i)),
            paced AS (
                SELECT n, n * {SPAN_S} // {num_rows} AS second,
                    n // {rows_at_once} * {SESSIONS_AT_ONCE}
                        + floor({uniform(1, "n")} * {SESSIONS_AT_ONCE})::BIGINT AS session
                FROM numbered),
            placed AS (
                SELECT *, floor({uniform(2, "session", place)} ** 3 * {items})::BIGINT AS item,
                    {uniform(3, "n")} AS fate FROM paced)
            SELECT strftime(make_timestamp(({FIRST_S} + second) * 1000000),
                    '%Y-%m-%d %H:%M:%S UTC') AS event_time,
                CASE WHEN fate < 0.93 THEN 'view' WHEN fate < 0.97 THEN 'cart'
                    WHEN fate < 0.98 THEN 'remove_from_cart' ELSE 'purchase' END AS event_type,
                1000000 + item AS product_id,
                2053 + item % 300 AS category_id,
                CASE WHEN item % 3 > 0 THEN 'home.kind' || item % 300 END AS category_code,
                CASE WHEN item % 8 > 0 THEN 'brand' || item % 997 END AS brand,
                CASE WHEN {uniform(4, "n")} < 0.0005 THEN 'n/a' ELSE {price}::VARCHAR END AS price,
                CASE WHEN {uniform(7, "n")} >= 0.0005 THEN 5000000
                    + floor({uniform(8, "session")} * {shoppers})::BIGINT END AS user_id,
                printf('%08x', session * 2654435761 % 4294967296) AS user_session
            FROM placed) TO '{path}' (FORMAT csv, HEADER true)""")
    with path.open("a") as file:
        file.write("2019-10-31 23:59:59 UTC,view,1000001\n" * max(1, num_rows // 100_000))


def read_alone(path: Path) -> None:
    """Read all columns of all rows with the options of the reader, and keep nothing."""
    with duckdb.connect() as db:
        db.execute("SET enable_progress_bar = false")
        Rees46(path=str(path)).read(db)
        columns = [row[0] for row in db.execute("DESCRIBE csv_rows").fetchall()]
        db.execute(f"SELECT {', '.join(f'count({c})' for c in columns)} FROM csv_rows").fetchall()


def clean(path: Path, folder: Path, memory_limit: str) -> dict[str, Any]:
    """Clean the log in a process of its own: its seconds, peak memory and rows."""
    command = [sys.executable, "-c", CLEAN, str(path), str(folder), memory_limit]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))  # DuckDB may draw its progress before


def ingest(
    num_rows: int = 20_000_000, repeats: int = REPEATS, memory_limit: str = MEMORY_LIMIT
) -> Figure:
    """Rows cleaned a second; the limit is rows read a second, by the engine that cleans them."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "log.csv", Path(folder) / "out"
        write_log(path, num_rows)
        read_s = seconds(lambda: read_alone(path), repeats=repeats)
        cleaned = [clean(path, out, memory_limit) for _ in range(repeats)]
        with duckdb.connect() as db:
            threads = db.execute("SELECT current_setting('threads')").fetchall()[0][0]
        rows = cleaned[0]["rows"]
        values = [rows["in"] / run["seconds"] for run in cleaned]
        limit = rows["in"] / statistics.median(read_s)
        return Figure(
            figure="ingest",
            values=values,
            unit="rows/s",
            limit=limit,
            ratio=statistics.median(values) / limit,
            goal=GOAL,
            settings={
                "rows": rows["in"],
                "kept": rows["kept"],
                "set_aside": rows["set_aside"],
                "bytes": path.stat().st_size,
                "read_s": read_s,
                "read": "count of every column, as text, with the reader's CSV options",
                "clean_s": [run["seconds"] for run in cleaned],
                "peak_mib": max(run["peak_mib"] for run in cleaned),
                "memory_limit": memory_limit,
                "repeats": repeats,
                "threads": threads,
                "duckdb": duckdb.__version__,
            },
        )
