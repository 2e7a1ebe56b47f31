"""Four published layouts, each read as views (and other events) of someone at some time.

Each makes the table ``raw``: row, owner (a session where the log names them, else a shopper), item,
its place among items at one moment, time_ms, viewed. Lines that cannot be read are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from recgym.errors import UserError
from recgym.logs.cleaning import count
from recgym.logs.source import columns_of, first_line, load_csv, plain_errors, reject_lines
from recgym.types import DAY_MS, HOUR_MS


@dataclass(frozen=True)
class Layout:
    """One log as it is published, and what was published of it.

    Attributes:
        files: all that the published figures are of; the first must be there.
        separator: of its columns.
        names: of its columns, where the files have no header.
        reads: columns that are read.
        sql: of owner, item, time_ms, viewed from ``csv_rows``.
        by_gap: whether sessions are cut where the owner rests, or are the owners.
        days: of the test, at the end.
        end_ms: the end is the last view, brought up to a multiple of this.
        recall: published Recall@20 of GRU4Rec's own implementation.
        mrr: published MRR@20.
        first_met: whether items of one moment are ordered as first met in the log, or by number.
    """

    files: tuple[str, ...]
    reads: tuple[str, ...]
    sql: str
    by_gap: bool
    days: int
    recall: float
    mrr: float
    separator: str = ","
    names: tuple[str, ...] | None = None
    end_ms: int = 1
    first_met: bool = False


def _seconds(text: str) -> str:
    """SQL of the time in ms of a text in UTC, without fractions of a second."""
    plain = f"replace(replace({text}, ' UTC', ''), 'Z', '')"
    return f"epoch_ms(date_trunc('second', try_cast({plain} AS TIMESTAMP)))"


_DAY = "epoch_ms(min(try_cast(eventdate AS TIMESTAMP)) OVER (PARTITION BY sessionId))"
LAYOUTS = {
    "retailrocket": Layout(
        files=("events.csv",),
        reads=("timestamp", "visitorid", "event", "itemid"),
        sql="visitorid AS owner, try_cast(itemid AS BIGINT) AS item, "
        "try_cast(timestamp AS BIGINT) AS time_ms, event = 'view' AS viewed",
        by_gap=True,
        days=7,
        end_ms=HOUR_MS,
        recall=0.5186,
        mrr=0.2175,
    ),
    "diginetica": Layout(
        files=("train-item-views.csv",),
        separator=";",
        reads=("sessionId", "itemId", "timeframe", "eventdate"),
        sql="sessionId AS owner, try_cast(itemId AS BIGINT) AS item, "
        f"{_DAY} + try_cast(timeframe AS BIGINT) AS time_ms, true AS viewed",
        by_gap=False,
        days=7,
        recall=0.4995,
        mrr=0.1542,
    ),
    "yoochoose": Layout(
        files=("yoochoose-clicks.dat", "yoochoose-test.dat"),
        names=("session", "time", "item", "category"),
        reads=("session", "time", "item"),
        sql="session AS owner, try_cast(item AS BIGINT) AS item, "
        f"{_seconds('time')} AS time_ms, true AS viewed",
        by_gap=False,
        days=1,
        recall=0.6789,
        mrr=0.3024,
    ),
    "rees46": Layout(
        files=("2019-Oct.csv", "2019-Nov.csv"),
        reads=("event_time", "event_type", "product_id", "user_id"),
        sql="user_id AS owner, try_cast(product_id AS BIGINT) AS item, "
        f"{_seconds('event_time')} AS time_ms, event_type = 'view' AS viewed",
        by_gap=True,
        days=1,
        end_ms=DAY_MS,
        recall=0.5293,
        mrr=0.2008,
        first_met=True,
    ),
}


def files_of(name: str, data: str | Path | None) -> dict[str, Path | None]:
    """The files of the layout in a folder, plain or .gz, in their order; None for one missing.

    Raises:
        UserError: if the folder or its first file is missing.
    """
    first = LAYOUTS[name].files[0]
    meant = f"the folder that holds {first} of {name}, plain or .gz"
    if data is None:
        raise UserError(f"data is missing: set data=DIR, {meant}.")
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise UserError(f"data={data} is no folder: expected {meant}.")
    found: dict[str, Path | None] = {}
    for file in LAYOUTS[name].files:
        places = [place for place in (folder / file, folder / f"{file}.gz") if place.is_file()]
        found[file] = places[0] if places else None
    if found[first] is None:
        raise UserError(f"data={data} lacks {first}: expected {meant}.")
    return found


def read(db: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path]) -> dict[str, int]:
    """Make ``raw``; how many rows it holds, and how many could not be read.

    Raises:
        UserError: if a column is missing, or no row can be read.
    """
    layout = LAYOUTS[name]
    if layout.names:
        for file in files:
            found = first_line(file).count(layout.separator) + 1
            if found != len(layout.names):
                raise UserError(
                    f"{file} has {found} column(s): expected the {len(layout.names)} of {name} "
                    f"({', '.join(layout.names)}), without a header; download it again."
                )
    load_csv(db, "csv_rows", files, layout.separator, layout.names)
    present = columns_of(db, "csv_rows")
    lacking = [column for column in layout.reads if column not in present]
    if lacking:
        raise UserError(
            f"{files[0]} lacks the column {lacking[0]!r} of {name}; found "
            f"{', '.join(map(repr, present))}: expected the file as it is published."
        )
    with plain_errors(files[0].parent):
        db.execute(
            f"CREATE TABLE numbered AS SELECT row, {layout.sql} FROM "
            "(SELECT row_number() OVER () AS row, * FROM csv_rows)"
        )
        bad = count(db, "raw_rejects") if reject_lines(db) else 0
        met = "min(row) OVER (PARTITION BY item)" if layout.first_met else "item"
        db.execute(
            f"CREATE TABLE raw AS SELECT *, {met} AS place FROM numbered "
            "WHERE owner IS NOT NULL AND item IS NOT NULL AND time_ms IS NOT NULL"
        )
        rows = count(db, "raw")
        bad += count(db, "numbered") - rows
        db.execute("DROP TABLE numbered")
    if not rows:
        raise UserError(
            f"{files[0]} holds no row that can be read as one of {name}: expected the file as it "
            "is published."
        )
    return {"rows": rows, "rows_not_read": bad}
