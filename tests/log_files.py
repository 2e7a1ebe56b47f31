"""Small logs written to disk, for the tests of recgym.logs."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

START_S = 1_600_000_000  # 2020-09-13 12:26:40 UTC
HEADER = ("shopper", "session", "time", "event", "item", "price", "quantity")


def event(
    shopper: object,
    session: object,
    seconds: float,
    name: str,
    item: object,
    price: object = None,
    quantity: object = None,
    **more: object,
) -> dict[str, Any]:
    """One event, ``seconds`` after the start."""
    row = {"shopper": shopper, "session": session, "time": START_S + seconds, "event": name}
    return row | {"item": item, "price": price, "quantity": quantity} | more


def filler(sessions: int = 4, first: int = 10) -> list[dict[str, Any]]:
    """Later sessions of one view each by other shoppers, so that a log can be split."""
    return [
        event(f"f{i}", f"g{i}", 100_000 * (i + first), "view", "A", 10) for i in range(sessions)
    ]


def csv_text(rows: Sequence[dict[str, Any]], separator: str = ",") -> str:
    """The rows as CSV with a header."""
    columns = list(dict.fromkeys(name for row in rows for name in row)) or list(HEADER)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def write_csv(file: Path, rows: Sequence[dict[str, Any]], separator: str = ",") -> Path:
    """Write the rows, gzipped where the name ends in .gz."""
    return write_text(file, csv_text(rows, separator))


def write_text(file: Path, text: str) -> Path:
    """Write text, gzipped where the name ends in .gz."""
    data = text.encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file


def write_parquet(file: Path, rows: Sequence[dict[str, Any]], types: dict[str, str]) -> Path:
    """Write the rows as Parquet with the columns and SQL types given."""
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE t ({', '.join(f'{c} {t}' for c, t in types.items())})")
        marks = ", ".join("?" for _ in types)
        for row in rows:
            db.execute(f"INSERT INTO t VALUES ({marks})", [row.get(c) for c in types])
        db.execute(f"COPY t TO '{file}' (FORMAT parquet)")
    return file


def read_rows(file: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    """Rows of a Parquet file, in its order."""
    with duckdb.connect() as db:
        return db.execute(f"SELECT {columns} FROM read_parquet('{file}')").fetchall()
