"""The sessions of the official GRU4Rec comparison, as its authors made them.

Paper: Hidasi and Czapp 2023, "The effect of third party implementations on reproducibility",
section 4, and the scripts published with it, which settle what the paper leaves open:
1. events in the order of owner, time and item;
2. where the log names no sessions, a session ends where the next event comes more than 3,600 s
   later. The events are those of all types (of `rees46` the authors' script looks at views alone:
   ``gaps="views"``); then views alone are kept;
3. of a view after one of the same item in the session the second is dropped;
4. sessions of one view, then items of fewer than 5 views, are dropped until nothing changes;
5. test: sessions that begin in the last days; training: all views before these days, so that a
   session across the cut is trained on up to it, and sessions of two views or more;
6. every view of a test session but its first is ranked among the items of the training sessions;
   views of other items are taken out of test sessions first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.publishing.layouts import Layout
from recgym.errors import UserError
from recgym.logs.catalog import ints
from recgym.logs.cleaning import count
from recgym.types import DAY_MS

GAP_MS = 3_600_000
LEAST_VIEWS = 5  # of an item
ORDER = "ORDER BY time_ms, place, row"
GAPS = ("all", "views")


@dataclass(frozen=True)
class Prepared:
    """Sessions in the order of their starts, those of the training first; V views, B sessions."""

    item: Tensor  # [V] int64, in [0, num_items)
    time_ms: Tensor  # [V] int64
    offset: Tensor  # [B + 1] int64
    is_test: Tensor  # [B] bool
    num_items: int
    counts: dict[str, int]


def prepare(db: duckdb.DuckDBPyConnection, layout: Layout, gaps: str = "all") -> Prepared:
    """From the table ``raw`` of `layouts.read`.

    Raises:
        UserError: if nothing is left to train on or to test.
    """
    if gaps not in GAPS:
        raise UserError(f"gaps={gaps}: expected one of {', '.join(GAPS)}.")
    counts = _sessions(db, layout, gaps)
    _filter(db)
    if not count(db, "views"):
        raise UserError(
            f"no session is left of {counts['views']} views: expected sessions of two views or "
            f"more, of items with {LEAST_VIEWS} or more; use a longer log."
        )
    counts |= _counted(db, "views", "kept")
    _split(db, layout)
    for table in ("train", "test"):
        counts |= _counted(db, table, table)
        if not counts[f"{table}_views"]:
            raise UserError(
                f"no session is left to {table} on: expected sessions on both sides of the cut "
                f"{layout.days} day(s) before the end of the log; use a longer log."
            )
    return _tensors(db, counts)


def _sessions(db: duckdb.DuckDBPyConnection, layout: Layout, gaps: str) -> dict[str, int]:
    """Make ``views``: of each its session, without immediate repeats."""
    owner = "PARTITION BY owner ORDER BY time_ms, place, row"
    if layout.by_gap:
        chosen = "viewed" if gaps == "views" else "true"
        db.execute(
            "CREATE TABLE placed AS WITH rested AS (SELECT *, coalesce(time_ms - lag(time_ms) OVER "
            f"({owner}) > {GAP_MS}, false) AS opens FROM raw WHERE {chosen}) SELECT * EXCLUDE "
            f"(opens), sum(opens::INT) OVER ({owner} ROWS UNBOUNDED PRECEDING) AS part FROM rested"
        )
    else:
        db.execute("CREATE VIEW placed AS SELECT *, 0 AS part FROM raw")
    db.execute(
        "CREATE TABLE viewing AS SELECT owner, part, item, place, time_ms, row, item IS NOT "
        f"DISTINCT FROM lag(item) OVER (PARTITION BY owner, part {ORDER}) AS again "
        "FROM placed WHERE viewed"
    )
    db.execute("CREATE TABLE views AS SELECT * EXCLUDE (again) FROM viewing WHERE NOT again")
    views = count(db, "viewing")
    return {"views": views, "repeats": views - count(db, "views")}


def _filter(db: duckdb.DuckDBPyConnection) -> None:
    """Drop short sessions and rare items until nothing changes."""
    before = -1
    while before != (before := count(db, "views")):
        for key, least in (("owner, part", 2), ("item", LEAST_VIEWS)):
            _keep(db, "views", key, least)


def _keep(db: duckdb.DuckDBPyConnection, table: str, key: str, least: int) -> None:
    db.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT * EXCLUDE (times) FROM (SELECT *, count(*) "
        f"OVER (PARTITION BY {key}) AS times FROM {table}) WHERE times >= {least}"
    )


def _split(db: duckdb.DuckDBPyConnection, layout: Layout) -> None:
    """Make ``train`` and ``test``."""
    last = int(db.execute("SELECT max(time_ms) FROM views").fetchall()[0][0])
    cut = -(-last // layout.end_ms) * layout.end_ms - layout.days * DAY_MS
    db.execute(
        "CREATE VIEW begun AS SELECT *, min(time_ms) OVER (PARTITION BY owner, part) AS start "
        "FROM views"
    )
    db.execute(f"CREATE TABLE train AS SELECT * FROM begun WHERE time_ms < {cut}")
    _keep(db, "train", "owner, part", 2)
    db.execute(f"CREATE TABLE test AS SELECT * FROM begun WHERE start >= {cut}")


def _counted(db: duckdb.DuckDBPyConnection, table: str, name: str) -> dict[str, int]:
    query = f"SELECT count(*), count(DISTINCT (owner, part)), count(DISTINCT item) FROM {table}"
    found = db.execute(query).fetchall()[0]
    keys = (f"{name}_views", f"{name}_sessions", f"{name}_items")
    return dict(zip(keys, map(int, found), strict=True))


def _tensors(db: duckdb.DuckDBPyConnection, counts: dict[str, int]) -> Prepared:
    db.execute(
        "CREATE TABLE known AS SELECT item, row_number() OVER (ORDER BY item) - 1 AS code "
        "FROM (SELECT DISTINCT item FROM train)"
    )
    both = " UNION ALL ".join(
        f"SELECT *, {number} AS is_test FROM {table}"
        for number, table in enumerate(("train", "test"))
    )
    found = db.execute(
        f"SELECT is_test, code, time_ms, dense_rank() OVER (ORDER BY is_test, start, owner, part) "
        f"- 1 AS session FROM ({both}) JOIN known USING (item) "
        "ORDER BY session, time_ms, place, row"
    ).fetchnumpy()
    session_V, is_test_V = ints(found["session"]), ints(found["is_test"]).astype(bool)
    first_B: NDArray[Any] = np.flatnonzero(np.diff(session_V, prepend=-1))
    offset = np.append(first_B, len(session_V))
    is_test_B = is_test_V[first_B]
    unknown = counts["test_views"] - int(is_test_V.sum())
    next_views = int(is_test_V.sum() - is_test_B.sum())
    if not next_views:
        raise UserError(
            "no test session has two views of items met in training, so that nothing can be "
            "ranked: use a longer log."
        )
    return Prepared(
        item=torch.from_numpy(ints(found["code"])),
        time_ms=torch.from_numpy(ints(found["time_ms"])),
        offset=torch.from_numpy(offset),
        is_test=torch.from_numpy(is_test_B),
        num_items=counts["train_items"],
        counts=counts | {"test_unknown": unknown, "test_ranked": next_views},
    )
