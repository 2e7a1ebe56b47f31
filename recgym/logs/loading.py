"""Raw rows into one table: read once, typed while they are read, each with its first reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from recgym.errors import UserError
from recgym.logs.columns import (
    IDS,
    INTEGERS,
    given_text,
    kept_time,
    plain_time,
    time_format,
    time_ms,
    typed,
    whole,
)
from recgym.logs.reader import Part, Reader
from recgym.logs.rules import EVENT_COLUMNS, IMPRESSION_COLUMNS, REQUIRED, rules_of
from recgym.logs.source import PARQUET, columns_of, identifier, literal

KNOWN = {"events": EVENT_COLUMNS, "impressions": IMPRESSION_COLUMNS}
GUESS_ROWS = 1000  # from which the types of the columns are guessed
ROW_OF_ALL = "row_of_all"  # number that a row of a part has in the whole log, from 1
NOT_WHOLE = "not a whole number: "  # what DuckDB says where a guess fails


class Raw:
    """How the raw rows of a table are read; the guesses change as they fail."""

    def __init__(
        self, db: duckdb.DuckDBPyConnection, reader: Reader, table: str, part: Part | None = None
    ) -> None:
        self.db, self.reader, self.table = db, reader, table
        self.kinds = {c: k for c, k in columns_of(db, f"raw_{table}").items() if c != "row"}
        known = KNOWN.get(table)
        if known:
            self.kinds = {c: self.kinds[c] for c in known if c in self.kinds}
        self.absent = absent_columns(table, self.kinds)
        self.timed = table in ("events", "impressions")
        self.part = part if "shopper" in REQUIRED[table] else None
        first = f"(SELECT * FROM raw_{table} LIMIT {GUESS_ROWS})"
        # the commonest format is that of all rows, of which a part reads some
        self.unit = self._unit(f"raw_{table}" if part else first)
        self.numbered = self._guess_numbered()

    def load(self, folder: Path) -> None:
        """Read the raw rows once, into ``NAME_in``: as given, small on disk, with their reason.

        It is a Parquet file in ``folder``, which is written with less work, and by more cores at
        once, than a table; its rows are numbered from 1.

        What a column holds (which unit of time, ids that are numbers) is guessed from the first
        rows; a guess that does not hold for all is dropped, and the rows are read again.
        """
        while True:
            file = literal(folder / f"{self.table}_in.parquet")
            try:
                self.db.execute(f"COPY ({self._rows_with_reason()}) TO {file} {PARQUET}")
            except duckdb.InvalidInputException as error:
                wrong = [c for c in self.numbered if NOT_WHOLE + c in str(error)]
                if not wrong:
                    raise
                self.numbered -= set(wrong)
                continue
            row, number = "file_row_number + 1", "file_row_number"
            if self.part:
                row, number = ROW_OF_ALL, f"file_row_number, {ROW_OF_ALL}"
            self.db.execute(
                f"CREATE OR REPLACE VIEW {self.table}_in AS SELECT {row} AS row, "
                f"* EXCLUDE ({number}) FROM read_parquet({file}, file_row_number=true)"
            )
            if self._unit_holds():
                return

    def _guess_numbered(self) -> set[str]:
        ids = [c for c in IDS if self.kinds.get(c, "").startswith(("VARCHAR", *INTEGERS))]
        if not ids:
            return set()
        sums = ", ".join(f"bool_and({whole(as_text(c))})" for c in ids)
        found = self.db.execute(
            f"SELECT {sums} FROM (SELECT * FROM raw_{self.table} LIMIT {GUESS_ROWS})"
        ).fetchall()[0]
        return {c for c, holds in zip(ids, found, strict=True) if holds}

    def _unit(self, rows: str) -> str:
        """The format of a time column: as given, else the commonest in ``rows``."""
        units = ("auto", "s", "ms", "iso")
        if self.reader.time_unit not in units:
            raise UserError(
                f"log.time_unit={self.reader.time_unit!r}: expected one of {', '.join(units)}; "
                f"set log.time_unit=auto"
            )
        if self.reader.time_unit != "auto" or not self.timed:
            return self.reader.time_unit
        format_ = time_format("time", self.kinds["time"], self.reader)
        plain = plain_time("time", self.kinds["time"])
        found = self.db.execute(
            f"SELECT {format_} AS format FROM (SELECT *, {plain} AS plain_time FROM {rows}) "
            f"WHERE format IS NOT NULL "
            f"GROUP BY format ORDER BY count(*) DESC, format LIMIT 1"
        ).fetchone()
        return str(found[0]) if found else "iso"

    def _unit_holds(self) -> bool:
        """Whether the commonest format is the one guessed; takes the right one where not."""
        if self.reader.time_unit != "auto" or not self.timed or self.part:
            return True
        found = self.db.execute(
            f"SELECT time_format FROM {self.table}_in WHERE time_format IS NOT NULL "
            f"GROUP BY ALL ORDER BY count(*) DESC, time_format LIMIT 1"
        ).fetchone()
        guessed, self.unit = self.unit, str(found[0]) if found else "iso"
        return guessed == self.unit

    def _rows_with_reason(self) -> str:
        """SQL that reads the raw rows: each column as given, time_ms and the reason."""
        given = [f"{identifier(c)} AS {identifier('given_' + c)}" for c in self.kinds]
        kinds = self.kinds | dict.fromkeys(self.absent, "VARCHAR")
        seen = {n: sql for c, k in kinds.items() for n, sql in self._typed(c, k).items()}
        stored = [self._stored(c) for c in self.kinds]
        before = nulls(self.absent)
        if self.part:
            given.append(ROW_OF_ALL)
            stored.append(ROW_OF_ALL)
        if self.timed:
            kind = self.kinds["time"]
            earliest, latest = self.reader.time_span_ms()
            seen |= {
                "time": given_text("time", kind),
                "time_ms": time_ms("time", kind, self.unit),
                "time_format": time_format("time", kind, self.reader),
                "time_unit": literal(self.unit),
                "earliest_ms": str(earliest),
                "latest_ms": str(latest),
            }
            given.append("plain_time")
            before += f", {plain_time('time', kind)} AS plain_time"
            stored.append("time_ms")
            stored += ["time_format"] if self.reader.time_unit == "auto" else []
        rules = rules_of(self.table, self.reader.own_rules)
        cases = " ".join(f"WHEN {r.condition} THEN {literal(r.reason)}" for r in rules)
        names = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in seen.items())
        return (
            f"SELECT {', '.join(stored)}, CASE {cases} END AS reason FROM (SELECT "
            f"{', '.join(given)}, {names} FROM (SELECT *{before} "
            f"FROM {self._raw_rows()}))"
        )

    def _raw_rows(self) -> str:
        """SQL for the raw rows to read: all, or those of the part, numbered as in the whole log."""
        if not self.part:
            return f"raw_{self.table}"
        shopper = typed("shopper", self.kinds["shopper"], self.reader)["shopper"]
        numbered = f"SELECT *, row_number() OVER () AS {ROW_OF_ALL} FROM raw_{self.table}"
        return f"(SELECT * FROM ({numbered}) WHERE {self.part.holds(shopper)})"

    def _stored(self, column: str) -> str:
        given = identifier("given_" + column)
        if column in self.numbered:
            return column
        if column == "time" and self.timed and self.unit == "iso":
            return f"{kept_time(given)} AS time"
        return f"{given} AS {identifier(column)}"

    def _typed(self, column: str, kind: str) -> dict[str, str]:
        if column not in self.numbered:
            return typed(column, kind, self.reader)
        wrong = f"error('{NOT_WHOLE}{column}')"
        number = f"try_cast({column} AS BIGINT)"
        return {column: f"CASE WHEN {whole(as_text(column))} THEN {number} ELSE {wrong} END"}


def as_text(column: str) -> str:
    """SQL for a column as text."""
    return f"CAST({column} AS VARCHAR)"


def absent_columns(table: str, present: Iterable[str]) -> list[str]:
    """Known columns that the input lacks."""
    known = KNOWN.get(table) or (("price",) if table == "items" else ())
    return [c for c in known if c not in present]


def nulls(columns: Iterable[str]) -> str:
    """SQL that adds absent columns to a list of columns."""
    return "".join(f", NULL::VARCHAR AS {c}" for c in columns)
