"""A log larger than one machine: cleaned by parts, each on a machine of its own, then joined.

A part holds the rows of the shoppers whose id, as text without blanks around it, has an MD5 whose
first eight hexadecimal digits leave the part's number as remainder: the same on every machine and
in every version. A part reads the files once, row by row, and keeps its own rows alone, with the
numbers that they have in the whole log. Of rows it decides all that rests on one row or on one
shopper: types, reasons to set aside, repeats. Rows without a shopper, lines that are no rows and
the list of items are of part 0.

What rests on all shoppers is decided where the parts are joined, by the statements that clean a
whole log, in a database on disk under ``log.memory_limit``: whether ids are numbers, whether too
many rows were set aside, sessions and pages and their numbers, the split by time, the items. So
the joined log is, row for row, the one that cleaning it whole would have written. One thing is
looked up beforehand in each part, in a pass over the column of times: which of the formats of time
is the commonest in the whole log.

The joined log must lie on the disk of one machine, and its tensors in that machine's memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from recgym.errors import UserError
from recgym.files import write_json
from recgym.logs import card as cards
from recgym.logs.cleaning import FILLED, TABLES, check_tables, refuse_common_reasons
from recgym.logs.columns import EVENT_KIND, IDS
from recgym.logs.reader import Part, Reader
from recgym.logs.scratch import MEMORY_LIMIT, WORK, scratch, whole
from recgym.logs.source import PARQUET, columns_of, existing, identifier, literal

SCHEMA_VERSION = 1
FREE = ("path", "memory_limit", "parts", "part")  # settings that change nothing of a cleaned log
META = "part.json"
NOTES = ("set_aside", "rows_in", "filled", "raw_rejects")  # tables of a part beside its rows


def clean_part(
    reader: Reader, folder: Path, part: Part, memory_limit: str = MEMORY_LIMIT
) -> dict[str, Any]:
    """Clean one part of a log into ``folder``, whole or not at all; returns its account of rows."""
    with whole(folder, existing(reader.path, reader.name), META) as place:
        with scratch(place / WORK, memory_limit) as db:
            reader.read(db)
            check_tables(db, reader, 1.0, place / WORK, part)
            rows = cards.account(db)
            for table in (*TABLES, *NOTES):
                name = table if table in NOTES else f"{table}_good"
                if columns_of(db, name):
                    file = literal(place / f"{table}.parquet")
                    db.execute(f"COPY (SELECT * FROM {name}) TO {file} {PARQUET}")
        about = {"schema_version": SCHEMA_VERSION, "part": part.number, "parts": part.count}
        write_json(place / META, {**about, "rows": rows})
    return rows


def open_parts(
    db: duckdb.DuckDBPyConnection, reader: Reader, folders: Sequence[Path], max_set_aside: float
) -> None:
    """Make the tables that `check_tables` makes, of all parts of a log."""
    _check_complete(folders)
    found = {t: [f for p in folders if (f := p / f"{t}.parquet").exists()] for t in TABLES}
    tables = {table: files for table, files in found.items() if files}
    kinds = [_kinds(db, file) for files in tables.values() for file in files]
    ids = {
        column: "BIGINT" if all(kind.get(column) == "BIGINT" for kind in kinds if column in kind)
        else "VARCHAR"
        for column in IDS
    }  # fmt: skip
    for table, files in tables.items():
        db.execute(f"CREATE VIEW {table}_good AS {_union(db, files, ids)}")
    for note in ("set_aside", "raw_rejects"):
        files = [file for p in folders if (file := p / f"{note}.parquet").exists()]
        if files:
            db.execute(f"CREATE TABLE {note} AS {_union(db, files, {})}")
    _add_counts(db, folders)
    for table in tables:
        refuse_common_reasons(db, reader, table, max_set_aside)


def _check_complete(folders: Sequence[Path]) -> None:
    """Each part once, and all of them."""
    found = []
    for folder in folders:
        file = folder / META
        if not file.exists():
            raise UserError(f"{folder} is no part of a log (it lacks {META}): clean it first")
        about = json.loads(file.read_text())
        if about["schema_version"] != SCHEMA_VERSION:
            raise UserError(f"{folder} was written by another version of RecGym: clean it again")
        found.append((about["parts"], about["part"]))
    if sorted(found) != [(len(folders), number) for number in range(len(folders))]:
        names = ", ".join(f"{part} of {parts}" for parts, part in found)
        raise UserError(f"parts {names}: expected each part of one log once; name its folders")


def _kinds(db: duckdb.DuckDBPyConnection, file: Path) -> dict[str, str]:
    rows = db.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(file)})").fetchall()
    return {str(name): str(kind) for name, kind, *_ in rows}


def _union(db: duckdb.DuckDBPyConnection, files: Sequence[Path], ids: dict[str, str]) -> str:
    """SQL for the rows of these files, each id and the event of one type in all of them."""
    casts = {**ids, **({"event": EVENT_KIND} if ids else {})}
    selects = []
    for file in files:
        columns = [
            f"CAST({identifier(c)} AS {casts[c]}) AS {identifier(c)}" if c in casts
            else identifier(c)
            for c in _kinds(db, file)
        ]  # fmt: skip
        selects.append(f"SELECT {', '.join(columns)} FROM read_parquet({literal(file)})")
    return " UNION ALL ".join(selects)


def _add_counts(db: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """Make ``rows_in`` and ``filled``, the sums of those of the parts."""
    files = {note: [p / f"{note}.parquet" for p in folders] for note in ("rows_in", "filled")}
    order = f"list_position([{', '.join(map(literal, TABLES))}], input)"
    db.execute(
        f"CREATE TABLE rows_in AS SELECT input, CAST(sum(rows) AS BIGINT) AS rows "
        f"FROM ({_union(db, files['rows_in'], {})}) GROUP BY input ORDER BY {order}"
    )
    sums = ", ".join(f"CAST(sum({c}) AS BIGINT) AS {c}" for c in FILLED)
    db.execute(
        f"CREATE TABLE filled AS SELECT {sums}, bool_or(positions) AS positions "
        f"FROM ({_union(db, files['filled'], {})})"
    )
