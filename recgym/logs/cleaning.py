"""Raw rows to accepted rows and rows set aside: every row is one or the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb

from recgym.errors import UserError
from recgym.logs.columns import (
    IDS,
    INTEGERS,
    given_text,
    given_time,
    kept_time,
    plain_time,
    plain_name,
    time_format,
    time_ms,
    typed,
    whole,
)
from recgym.logs.rules import (
    EVENT_COLUMNS,
    IMPRESSION_COLUMNS,
    MALFORMED,
    REPEATS,
    REQUIRED,
    RULES,
    Rule,
)
from recgym.logs.source import columns_of, identifier, literal, reject_lines

if TYPE_CHECKING:
    from recgym.logs.base import Reader

TABLES = ("events", "impressions", "items", "shoppers")
KNOWN = {"events": EVENT_COLUMNS, "impressions": IMPRESSION_COLUMNS}
GUESS_ROWS = 1000  # from which the types of the columns are guessed
NOT_WHOLE = "not a whole number: "


def check_tables(db: duckdb.DuckDBPyConnection, reader: Reader, max_set_aside: float) -> None:
    """Make ``NAME_good`` of each raw table, and one table ``set_aside`` of all other rows."""
    db.execute(
        "CREATE TABLE set_aside (input VARCHAR, row BIGINT, reason VARCHAR, shopper VARCHAR, "
        "time VARCHAR, event VARCHAR, item VARCHAR, price VARCHAR, quantity VARCHAR, "
        "page VARCHAR, position VARCHAR, line VARCHAR)"
    )
    db.execute("CREATE TABLE rows_in (input VARCHAR, rows BIGINT)")
    found: list[str] = []
    for table in TABLES:
        raw_columns = columns_of(db, f"raw_{table}")
        if not raw_columns and table == "events":
            raise UserError(f"{reader.path}: reader {reader.name} gave no events: expected rows")
        if raw_columns:
            _require_columns(reader, table, raw_columns)
            _load_rows(db, reader, table)
            _refuse_common_reasons(db, reader, table, max_set_aside)
            found.append(table)
    _view_good(db, reader, found)


def _require_columns(reader: Reader, table: str, present: dict[str, str]) -> None:
    for column in REQUIRED[table]:
        if column not in present:
            remedy = reader.remedy(f"set log.columns.{column}=NAME")
            raise UserError(
                f"{reader.path}: {table} lack the column {reader.column(column)!r}; found "
                f"{', '.join(map(repr, present))}; {remedy}"
            )


def _load_rows(db: duckdb.DuckDBPyConnection, reader: Reader, table: str) -> None:
    """Read the raw rows once, into ``NAME_in``: as given, small on disk, with their reason.

    What a column holds (which unit of time, ids that are numbers) is guessed from the first rows;
    a guess that does not hold for all rows is dropped, and the rows are read again.
    """
    raw = _Raw(db, reader, table)
    while True:
        try:
            db.execute(f"CREATE OR REPLACE TABLE {table}_in AS {raw.rows_with_reason()}")
        except duckdb.InvalidInputException as error:
            wrong = [c for c in raw.numbered if NOT_WHOLE + c in str(error)]
            if not wrong:
                raise
            raw.numbered -= set(wrong)
            continue
        if raw.unit_holds():
            break
    malformed = 0
    if table == "events" and reject_lines(db):
        db.execute(
            f"INSERT INTO set_aside (input, row, reason, line) "
            f"SELECT 'events', line, '{MALFORMED}', text FROM raw_rejects"
        )
        malformed = count(db, "raw_rejects")
    db.execute(f"INSERT INTO rows_in VALUES ('{table}', {count(db, f'{table}_in') + malformed})")
    _view_typed(db, reader, table, f"{table}_checked", raw.absent, columns="reason, ")
    for reason, key in REPEATS[table]:
        _mark_repeats(db, table, reason, key)
    _set_aside(db, table, raw)


class _Raw:
    """How the raw rows of a table are read; the guesses change as they fail."""

    def __init__(self, db: duckdb.DuckDBPyConnection, reader: Reader, table: str) -> None:
        self.db, self.reader, self.table = db, reader, table
        self.kinds = {c: k for c, k in columns_of(db, f"raw_{table}").items() if c != "row"}
        known = KNOWN.get(table)
        if known:
            self.kinds = {c: self.kinds[c] for c in known if c in self.kinds}
        self.absent = _absent(table, self.kinds)
        self.timed = table in ("events", "impressions")
        self.unit = self._unit(f"(SELECT * FROM raw_{table} LIMIT {GUESS_ROWS})")
        self.numbered = self._guess_numbered()

    def _guess_numbered(self) -> set[str]:
        ids = [c for c in IDS if self.kinds.get(c, "").startswith(("VARCHAR", *INTEGERS))]
        if not ids:
            return set()
        sums = ", ".join(f"bool_and({whole(_text(c))})" for c in ids)
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

    def unit_holds(self) -> bool:
        """Whether the commonest format is the one guessed; takes the right one where not."""
        if self.reader.time_unit != "auto" or not self.timed:
            return True
        found = self.db.execute(
            f"SELECT time_format FROM {self.table}_in WHERE time_format IS NOT NULL "
            f"GROUP BY ALL ORDER BY count(*) DESC, time_format LIMIT 1"
        ).fetchone()
        guessed, self.unit = self.unit, str(found[0]) if found else "iso"
        return guessed == self.unit

    def rows_with_reason(self) -> str:
        """SQL that reads the raw rows: each column as given, time_ms and the reason."""
        given = [f"{identifier(c)} AS {identifier('given_' + c)}" for c in self.kinds]
        kinds = self.kinds | dict.fromkeys(self.absent, "VARCHAR")
        seen = {n: sql for c, k in kinds.items() for n, sql in self._typed(c, k).items()}
        stored = [self._stored(c) for c in self.kinds]
        before = _nulls(self.absent)
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
        cases = " ".join(f"WHEN {r.condition} THEN {literal(r.reason)}" for r in RULES[self.table])
        names = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in seen.items())
        return (
            f"SELECT {', '.join(stored)}, CASE {cases} END AS reason FROM (SELECT "
            f"{', '.join(given)}, {names} FROM (SELECT *{before} "
            f"FROM raw_{self.table}))"
        )

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
        return {column: f"CASE WHEN {whole(_text(column))} THEN {number} ELSE {wrong} END"}


def _text(column: str) -> str:
    return f"CAST({column} AS VARCHAR)"


def _absent(table: str, present: Iterable[str]) -> list[str]:
    """Known columns that the input lacks."""
    known = KNOWN.get(table) or (("price",) if table == "items" else ())
    return [c for c in known if c not in present]


def _nulls(columns: Iterable[str]) -> str:
    return "".join(f", NULL::VARCHAR AS {c}" for c in columns)


def _view_typed(
    db: duckdb.DuckDBPyConnection,
    reader: Reader,
    table: str,
    view: str,
    absent: list[str],
    *,
    columns: str = "",
    where: str = "",
    ids: Mapping[str, str] | None = None,
) -> None:
    """Make ``view`` of the rows of ``NAME_in`` with their numbers from 1 and typed columns.

    ``ids`` are types for the ids; without, each has the type it was stored with.
    """
    kinds = columns_of(db, f"{table}_in") | dict.fromkeys(absent, "VARCHAR")
    timed = "time_ms" in kinds and table in ("events", "impressions")
    ours = ("reason", *(("time", "time_ms", "time_format") if timed else ()))
    chosen = ["time_ms"] if timed else []
    for column, kind in kinds.items():
        if column not in ours:
            sql = typed(column, kind, reader)[column]
            as_type = (ids or {}).get(column)
            sql = f"CAST({sql} AS {as_type})" if as_type else sql
            chosen.append(f"{sql} AS {identifier(column)}")
    db.execute(
        f"CREATE VIEW {view} AS SELECT row, {columns}{', '.join(chosen)} FROM "
        f"(SELECT rowid + 1 AS row, *{_nulls(absent)} FROM {table}_in {where})"
    )


def _mark_repeats(db: duckdb.DuckDBPyConnection, table: str, reason: str, key: str) -> None:
    """Give every row but the first of a key the reason, looking closely only at equal hashes."""
    hashes = db.execute(
        f"SELECT hash({key}) AS h FROM {table}_checked WHERE reason IS NULL"
    ).fetchnumpy()["h"]
    hashes.sort()
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(twice):
        return
    db.register("twice", {"h": twice})
    db.execute(
        f"UPDATE {table}_in SET reason = {literal(reason)} WHERE rowid IN (SELECT row - 1 FROM "
        f"(SELECT row, row_number() OVER (PARTITION BY {key} ORDER BY row) AS copy "
        f"FROM {table}_checked WHERE reason IS NULL AND hash({key}) IN (SELECT h FROM twice)) "
        f"WHERE copy > 1)"
    )
    db.unregister("twice")


def _set_aside(db: duckdb.DuckDBPyConnection, table: str, raw: _Raw) -> None:
    """Copy the rows with a reason to ``set_aside``, as they were given."""
    shown = ("shopper", "time", "event", "item", "price", "quantity", "page", "position")
    texts = [_text(c) if c in raw.kinds else "NULL" for c in shown]
    if raw.timed:
        texts[1] = given_time("time", "time_ms", raw.unit)
    db.execute(
        f"INSERT INTO set_aside SELECT '{table}', rowid + 1, reason, {', '.join(texts)}, NULL "
        f"FROM {table}_in WHERE reason IS NOT NULL ORDER BY rowid"
    )


def _view_good(db: duckdb.DuckDBPyConnection, reader: Reader, tables: list[str]) -> None:
    """Make ``NAME_good`` of each table: accepted rows, each id of one type in all tables."""
    ids = {c: "BIGINT" if _all_whole(db, reader, tables, c) else "VARCHAR" for c in IDS}
    for table in tables:
        absent = _absent(table, columns_of(db, f"{table}_in"))
        _view_typed(
            db, reader, table, f"{table}_good", absent, where="WHERE reason IS NULL", ids=ids
        )


def _all_whole(
    db: duckdb.DuckDBPyConnection, reader: Reader, tables: list[str], column: str
) -> bool:
    """Whether an id is a whole number, written like one, in every table that has it."""
    for table in tables:
        kind = columns_of(db, f"{table}_in").get(column)
        if kind in (None, "BIGINT"):
            continue
        if column not in ("shopper", "item"):
            return False
        found = db.execute(
            f"SELECT coalesce(bool_and({whole(column)}), true) FROM {table}_checked "
            f"WHERE reason IS NULL"
        ).fetchall()
        if not found[0][0]:
            return False
    return True


def _refuse_common_reasons(
    db: duckdb.DuckDBPyConnection, reader: Reader, table: str, max_set_aside: float
) -> None:
    total = db.execute("SELECT rows FROM rows_in WHERE input = ?", [table]).fetchall()[0][0]
    if total == 0 and table == "events":
        raise UserError(f"{reader.path} holds no rows: expected events; set log.path=PATH")
    reasons = db.execute(
        "SELECT reason, count(*) AS rows, min(row) FROM set_aside WHERE input = ? "
        "GROUP BY reason ORDER BY rows DESC, reason",
        [table],
    ).fetchall()
    for reason, rows, first in reasons:
        if rows > max_set_aside * total:
            raise UserError(_refusal(db, reader, table, reason, rows, first, total))


def _refusal(
    db: duckdb.DuckDBPyConnection,
    reader: Reader,
    table: str,
    reason: str,
    rows: int,
    first: int,
    total: int,
) -> str:
    share = f"{rows} of {total} rows of the {table}"
    enough = min(1.0, rows / total + 0.005)
    accept = f" or accept the loss with log.max_set_aside={enough:.2f}" if enough < 0.5 else ""
    rule = next((r for r in RULES[table] if r.reason == reason), None)
    if reason == MALFORMED:
        line = db.execute("SELECT line, text, said FROM raw_rejects ORDER BY line").fetchall()[0]
        return (
            f"{reader.path}: {share} are malformed (line {line[0]}, {line[1][:80]!r}: {line[2]}): "
            f"expected UTF-8 text with as many fields as columns; mend the lines, "
            f"set log.separator=semicolon if another sign divides the columns{accept}"
        )
    if rule is None or rule.column is None:
        return (
            f"{reader.path}: {share} have the reason {reason!r} (first in row {first}): expected "
            f"each row once; remove the copies{accept}"
        )
    example = _example(db, table, rule, first)
    earliest, latest = (day(ms) for ms in reader.time_span_ms())
    expected = rule.expected.format(earliest=earliest, latest=latest)
    remedy = reader.remedy(rule.remedy.format(name=plain_name(example or "NAME")))
    return (
        f"{reader.path}: {share} have the reason {reason!r} in column "
        f"{reader.column(rule.column)!r} (row {first}: {example!r}): expected {expected}; "
        f"{remedy}{accept}"
    )


def _example(db: duckdb.DuckDBPyConnection, table: str, rule: Rule, row: int) -> str | None:
    found = db.execute(
        f"SELECT {rule.column} FROM set_aside WHERE input = ? AND row = ? AND reason = ?",
        [table, row, rule.reason],
    ).fetchone()
    return None if found is None or found[0] is None else str(found[0])[:80]


def day(time_ms: int) -> str:
    """The UTC date of a time."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).date().isoformat()


def count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows of a table."""
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
