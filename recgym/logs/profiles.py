"""What a cleaned log knows of its shoppers, as fields and as one row of numbers each.

What is coded follows the training sessions alone. A text column has one entry for each of the
commonest levels that training shoppers have, and one for all others: what is met only later is
among these. Where nothing is known all its entries are 0. A number that some shoppers lack has the
mean of the known ones there, and a second entry which says so.
"""

from __future__ import annotations

import duckdb
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recgym.logs.catalog import floats, ints
from recgym.logs.cleaning import count
from recgym.logs.source import columns_of, identifier
from recgym.types import Field, Split

MAX_LEVELS = 20  # commonest values of a text column, one entry each
TRAINED = f"SELECT shopper FROM sessions WHERE split = {int(Split.TRAIN)}"
Block = tuple[Field, npt.NDArray[np.float64]]


def build_profiles(db: duckdb.DuckDBPyConnection) -> tuple[list[Field], Tensor]:
    """The fields of a profile, and that of each shopper, [shoppers, P].

    A user model standardises for itself: what it was fitted on must mean the same in any shop.
    """
    blocks = [
        _texts(db, column) if kind in ("VARCHAR", "BOOLEAN") else _numbers(db, column)
        for column, kind in columns_of(db, "shoppers").items()
        if column not in ("code", "shopper")
    ]
    parts = [np.zeros((count(db, "shoppers"), 0)), *(part for _, part in blocks)]
    profile = torch.from_numpy(np.concatenate(parts, axis=1)).float()
    return [field for field, _ in blocks], profile


def _texts(db: duckdb.DuckDBPyConnection, column: str) -> Block:
    text = f"CAST({identifier(column)} AS VARCHAR)"
    rows = db.execute(
        f"SELECT {text} AS level FROM shoppers WHERE level IS NOT NULL AND shopper IN ({TRAINED}) "
        f"GROUP BY level ORDER BY count(*) DESC, level LIMIT {MAX_LEVELS}"
    ).fetchall()
    levels = [level for (level,) in rows]
    found = db.execute(
        f"SELECT coalesce(list_position(?::VARCHAR[], {text}), 0) AS place, "
        f"{text} IS NOT NULL AS known FROM shoppers ORDER BY code",
        [levels],
    ).fetchnumpy()
    place, known = ints(found["place"], 0), ints(found["known"], 0)
    which = np.where(known == 0, -1, np.where(place > 0, place - 1, len(levels)))
    coded = np.asarray(which[:, None] == np.arange(len(levels) + 1), dtype=np.float64)
    return Field(column, levels, True), coded


def _numbers(db: duckdb.DuckDBPyConnection, column: str) -> Block:
    rows = db.execute(
        f"SELECT try_cast({identifier(column)} AS DOUBLE) AS value FROM shoppers ORDER BY code"
    ).fetchnumpy()
    value = floats(rows["value"])
    known = np.isfinite(value)
    mean = value[known].mean() if known.any() else 0.0
    # a column without any number says nothing, and that it is missing neither
    lacking = bool(known.any() and not known.all())
    parts = [np.where(known, value, mean), *([~known] if lacking else [])]
    return Field(column, None, lacking), np.stack(parts, axis=1).astype(np.float64)
