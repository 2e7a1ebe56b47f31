"""Raw rows to accepted rows and rows set aside: every row is one or the other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from recgym.errors import UserError
from recgym.logs.columns import IDS, given_time, plain_name, typed, whole
from recgym.logs.loading import Raw, absent_columns, as_text, nulls
from recgym.logs.reader import Part, Reader
from recgym.logs.rules import MALFORMED, REPEATS, REQUIRED, Rule, rules_of
from recgym.logs.source import columns_of, identifier, literal, reject_lines

TABLES = ("events", "impressions", "items", "shoppers")
# counts of accepted events: all, those that hold a column, and those at price 0
FILLED = ("rows", "session", "price", "quantity", "page", "position", "sponsored", "free")


def check_tables(
    db: duckdb.DuckDBPyConnection,
    reader: Reader,
    max_set_aside: float,
    folder: Path,
    part: Part | None = None,
) -> None:
    """Make ``NAME_good`` of each raw table, and one table ``set_aside`` of all other rows.

    What was read is kept in ``folder`` for as long as the tables are used. Of a ``part`` its own
    rows alone are read, and none is refused: a share of all rows is not known yet.
    """
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
        of_another = table == "items" and part is not None and part.number > 0
        if raw_columns and not of_another:
            _require_columns(reader, table, raw_columns)
            _load_rows(db, reader, table, folder, part)
            if part is None:
                refuse_common_reasons(db, reader, table, max_set_aside)
            found.append(table)
    _view_good(db, reader, found)
    _count_filled(db)


def _require_columns(reader: Reader, table: str, present: dict[str, str]) -> None:
    for column in REQUIRED[table]:
        if column not in present:
            remedy = reader.remedy(f"set log.columns.{column}=NAME")
            raise UserError(
                f"{reader.path}: {table} lack the column {reader.column(column)!r}; found "
                f"{', '.join(map(repr, present))}; {remedy}"
            )


def _load_rows(
    db: duckdb.DuckDBPyConnection, reader: Reader, table: str, folder: Path, part: Part | None
) -> None:
    """Read the raw rows into ``NAME_in`` and give each bad one its reason."""
    raw = Raw(db, reader, table, part)
    raw.load(folder)
    malformed = 0
    first = part is None or part.number == 0
    if table == "events" and first and reject_lines(db):
        db.execute(
            f"INSERT INTO set_aside (input, row, reason, line) "
            f"SELECT 'events', line, '{MALFORMED}', text FROM raw_rejects"
        )
        malformed = count(db, "raw_rejects")
    db.execute(f"INSERT INTO rows_in VALUES ('{table}', {count(db, f'{table}_in') + malformed})")
    _view_typed(db, reader, table, f"{table}_checked", raw.absent)
    db.execute(f"CREATE TABLE {table}_repeated (row BIGINT, reason VARCHAR)")
    for reason, key in REPEATS[table]:
        _find_repeats(db, table, reason, key)
    _set_aside(db, table, raw)


def _view_typed(
    db: duckdb.DuckDBPyConnection,
    reader: Reader,
    table: str,
    view: str,
    absent: list[str],
    ids: Mapping[str, str] | None = None,
) -> None:
    """Make ``view`` of the rows of ``NAME_in`` without a reason, with typed columns.

    ``ids`` are types for the ids; without, each has the type it was stored with.
    """
    kinds = columns_of(db, f"{table}_in") | dict.fromkeys(absent, "VARCHAR")
    timed = "time_ms" in kinds and table in ("events", "impressions")
    ours = ("row", "reason", *(("time", "time_ms", "time_format") if timed else ()))
    chosen = ["time_ms"] if timed else []
    for column, kind in kinds.items():
        if column not in ours:
            sql = typed(column, kind, reader)[column]
            as_type = (ids or {}).get(column)
            sql = f"CAST({sql} AS {as_type})" if as_type else sql
            chosen.append(f"{sql} AS {identifier(column)}")
    db.execute(
        f"CREATE VIEW {view} AS SELECT row, {', '.join(chosen)} FROM "
        f"(SELECT *{nulls(absent)} FROM {table}_in WHERE reason IS NULL)"
    )


def _find_repeats(db: duckdb.DuckDBPyConnection, table: str, reason: str, key: str) -> None:
    """Note every row but the first of a key, looking closely only where hashes are equal."""
    rows = f"{table}_checked ANTI JOIN {table}_repeated USING (row)"
    hashes = db.execute(f"SELECT hash({key}) AS h FROM {rows}").fetchnumpy()["h"]
    hashes.sort()
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(twice):
        return
    db.register("twice", {"h": twice})
    db.execute(
        f"INSERT INTO {table}_repeated SELECT row, {literal(reason)} FROM "
        f"(SELECT row, row_number() OVER (PARTITION BY {key} ORDER BY row) AS copy "
        f"FROM {rows} WHERE hash({key}) IN (SELECT h FROM twice)) WHERE copy > 1"
    )
    db.unregister("twice")


def _set_aside(db: duckdb.DuckDBPyConnection, table: str, raw: Raw) -> None:
    """Copy the rows with a reason to ``set_aside``, as they were given."""
    shown = ("shopper", "time", "event", "item", "price", "quantity", "page", "position")
    texts = [as_text(c) if c in raw.kinds else "NULL" for c in shown]
    if raw.timed:
        texts[1] = given_time("time", "time_ms", raw.unit)
    for rows in (
        f"(SELECT * FROM {table}_in WHERE reason IS NOT NULL)",
        f"(SELECT i.* REPLACE (r.reason AS reason) FROM {table}_in i "
        f"JOIN {table}_repeated r USING (row))",
    ):
        db.execute(
            f"INSERT INTO set_aside SELECT '{table}', row, reason, {', '.join(texts)}, NULL "
            f"FROM {rows}"
        )


def _view_good(db: duckdb.DuckDBPyConnection, reader: Reader, tables: list[str]) -> None:
    """Make ``NAME_good`` of each table: accepted rows, each id of one type in all tables."""
    ids = {c: "BIGINT" if _all_whole(db, reader, tables, c) else "VARCHAR" for c in IDS}
    for table in tables:
        absent = absent_columns(table, columns_of(db, f"{table}_in"))
        _view_typed(db, reader, table, f"{table}_typed", absent, ids)
        db.execute(
            f"CREATE VIEW {table}_good AS SELECT u.* FROM {table}_typed u "
            f"ANTI JOIN {table}_repeated USING (row)"
        )


def _count_filled(db: duckdb.DuckDBPyConnection) -> None:
    """Make ``filled`` of one row: `FILLED`, and whether there is a column of positions at all."""
    counts = {"rows": "count(*)", "free": "count(*) FILTER (price = 0)"}
    chosen = ", ".join(f"{counts.get(c, f'count({c})')} AS {c}" for c in FILLED)
    given = "position" in columns_of(db, "events_in")
    db.execute(f"CREATE TABLE filled AS SELECT {chosen}, {given} AS positions FROM events_good")


def filled(db: duckdb.DuckDBPyConnection, column: str) -> int:
    """How many accepted events hold a column."""
    return int(db.execute(f"SELECT {column} FROM filled").fetchall()[0][0])


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
            f"ANTI JOIN {table}_repeated USING (row)"
        ).fetchall()
        if not found[0][0]:
            return False
    return True


def refuse_common_reasons(
    db: duckdb.DuckDBPyConnection, reader: Reader, table: str, max_set_aside: float
) -> None:
    """Stop where more than a share of the rows of a table was set aside for one reason."""
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
    rule = next((r for r in rules_of(table, reader.own_rules) if r.reason == reason), None)
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
