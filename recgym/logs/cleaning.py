"""Raw rows to accepted rows and rows set aside: every row is one or the other."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb

from recgym.errors import UserError
from recgym.logs.rules import (
    EVENT_COLUMNS,
    EVENTS,
    IMPRESSION_COLUMNS,
    MALFORMED,
    REPEATS,
    REQUIRED,
    RULES,
    Rule,
)
from recgym.logs.source import columns_of, identifier, literal

if TYPE_CHECKING:
    from recgym.logs.base import Reader

SECONDS_BELOW = 1e11  # a time number below is in seconds (until the year 5138), above in ms
NUMBERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL",
)  # fmt: skip
TABLES = ("events", "impressions", "items", "shoppers")


def check_tables(db: duckdb.DuckDBPyConnection, reader: Reader, max_set_aside: float) -> None:
    """Make ``NAME_good`` of each raw table, and one table ``set_aside`` of all other rows."""
    db.execute(
        "CREATE TABLE set_aside (input VARCHAR, row BIGINT, reason VARCHAR, shopper VARCHAR, "
        "time VARCHAR, event VARCHAR, item VARCHAR, price VARCHAR, quantity VARCHAR, "
        "page VARCHAR, position VARCHAR, line VARCHAR)"
    )
    db.execute("CREATE TABLE rows_in (input VARCHAR, rows BIGINT)")
    for table in TABLES:
        raw_columns = columns_of(db, f"raw_{table}")
        if not raw_columns and table == "events":
            raise UserError(f"{reader.path}: reader {reader.name} gave no events: expected rows")
        if raw_columns:
            _require_columns(reader, table, raw_columns)
            _number_rows(db, table, raw_columns)
            _check_rows(db, reader, table)
            _divide(db, reader, table, max_set_aside)


def _require_columns(reader: Reader, table: str, present: dict[str, str]) -> None:
    for column in REQUIRED[table]:
        if column not in present:
            remedy = reader.remedy(f"set log.columns.{column}=NAME")
            raise UserError(
                f"{reader.path}: {table} lack the column {reader.column(column)!r}; found "
                f"{', '.join(map(repr, present))}; {remedy}"
            )


def _number_rows(db: duckdb.DuckDBPyConnection, table: str, present: dict[str, str]) -> None:
    """Give each raw row its number, from 1, and every known column, NULL where absent."""
    known = {"events": EVENT_COLUMNS, "impressions": IMPRESSION_COLUMNS}.get(table)
    if known is None:
        columns = [identifier(c) for c in present if c != "row"]
        if table == "items" and "price" not in present:
            columns.append("NULL AS price")
    else:
        columns = [c if c in present else f"NULL::VARCHAR AS {c}" for c in known]
    db.execute(
        f"CREATE TABLE {table}_in AS SELECT row_number() OVER () AS row, {', '.join(columns)} "
        f"FROM raw_{table}"
    )
    malformed = 0
    if table == "events" and columns_of(db, "raw_rejects"):
        db.execute(
            f"INSERT INTO set_aside (input, row, reason, line) "
            f"SELECT 'events', line, '{MALFORMED}', text FROM raw_rejects"
        )
        malformed = count(db, "raw_rejects")
    db.execute(f"INSERT INTO rows_in VALUES ('{table}', {count(db, f'{table}_in') + malformed})")


def _check_rows(db: duckdb.DuckDBPyConnection, reader: Reader, table: str) -> None:
    """Type the columns and find the first reason against each row."""
    kinds = columns_of(db, f"{table}_in")
    typed = [_typed(column, kinds[column], reader) for column in kinds]
    if "time" in kinds and table in ("events", "impressions"):
        unit = _time_unit(db, table, kinds["time"], reader)
        earliest, latest = reader.time_span_ms()
        typed.append(f"{_time_ms(kinds['time'], unit)} AS time_ms")
        typed.append(f"{literal(unit)} AS time_unit, {earliest} AS earliest_ms")
        typed.append(f"{latest} AS latest_ms, {_time_format('time', kinds['time'], reader)}")
    cases = " ".join(f"WHEN {r.condition} THEN {literal(r.reason)}" for r in RULES[table])
    db.execute(
        f"CREATE TABLE {table}_checked AS SELECT *, CASE {cases} END AS reason "
        f"FROM (SELECT {', '.join(typed)} FROM {table}_in)"
    )
    for reason, key in REPEATS[table]:
        db.execute(
            f"UPDATE {table}_checked SET reason = {literal(reason)} WHERE row IN (SELECT row FROM "
            f"(SELECT row, row_number() OVER (PARTITION BY {key} ORDER BY row) AS copy "
            f"FROM {table}_checked WHERE reason IS NULL) WHERE copy > 1)"
        )


def _typed(column: str, kind: str, reader: Reader) -> str:
    """SQL that gives a column its type; text stays beside numbers, to tell absent from wrong."""
    text = f"nullif(trim(CAST({identifier(column)} AS VARCHAR)), '')"
    if column in ("price", "quantity", "position"):
        is_number = kind.startswith(NUMBERS)
        number = f"try_cast({column if is_number else text} AS DOUBLE)"
        given = f"CASE WHEN {column} IS NOT NULL THEN 'a number' END" if is_number else text
        absent = f"CASE WHEN isnan({number}) THEN NULL ELSE"
        return f"{absent} {given} END AS {column}_text, {absent} {number} END AS {column}"
    if column == "event":
        names = {name: name for name in EVENTS}
        names |= {plain_name(str(theirs)): ours for theirs, ours in reader.events.items()}
        whens = " ".join(f"WHEN {literal(k)} THEN {literal(v)}" for k, v in names.items())
        plain = f"regexp_replace(lower({text}), '[^\\p{{L}}\\p{{N}}]+', '_', 'g')"
        return f"CASE {plain} {whens} END AS event"
    if column in ("shopper", "session", "item", "page", "category", "brand"):
        if kind in ("FLOAT", "DOUBLE"):  # whole ids that a table with gaps has turned into 7.0
            whole = f"{column} = floor({column}) AND abs({column}) < 1e15"
            text = (
                f"CASE WHEN isfinite({column}) THEN CASE WHEN {whole} "
                f"THEN CAST(CAST({column} AS BIGINT) AS VARCHAR) ELSE {text} END END"
            )
        return f"{text} AS {column}"
    if column == "time" and kind == "VARCHAR":
        return f"{text} AS {column}"
    return identifier(column)


def plain_name(name: str) -> str:
    """An event name in lower case with one underscore for all that Hydra's keys cannot hold."""
    return re.sub(r"[\W_]+", "_", name.lower())


def _is_time(kind: str) -> bool:
    return kind.startswith(("TIMESTAMP", "DATE"))


def _time_format(column: str, kind: str, reader: Reader) -> str:
    """SQL for the format of one time: iso, s, ms, or NULL where it is none of these."""
    if _is_time(kind):
        return f"CASE WHEN {column} IS NOT NULL THEN 'iso' END AS time_format"
    number = f"try_cast({column} AS DOUBLE)"
    by_size = f"CASE WHEN abs({number}) < {SECONDS_BELOW} THEN 's' ELSE 'ms' END"
    unit = literal(reader.time_unit) if reader.time_unit in ("s", "ms") else by_size
    return (
        f"CASE WHEN isfinite({number}) THEN {unit} "
        f"WHEN try_cast(CAST({column} AS VARCHAR) AS TIMESTAMPTZ) IS NOT NULL THEN 'iso' "
        f"END AS time_format"
    )


def _time_unit(db: duckdb.DuckDBPyConnection, table: str, kind: str, reader: Reader) -> str:
    """The format of the whole column: as given, else the commonest."""
    units = ("auto", "s", "ms", "iso")
    if reader.time_unit not in units:
        raise UserError(
            f"log.time_unit={reader.time_unit!r}: expected one of {', '.join(units)}; "
            f"set log.time_unit=auto"
        )
    if reader.time_unit != "auto":
        return reader.time_unit
    found = db.execute(
        f"SELECT time_format FROM (SELECT {_time_format('time', kind, reader)} FROM {table}_in) "
        f"WHERE time_format IS NOT NULL GROUP BY ALL ORDER BY count(*) DESC, time_format LIMIT 1"
    ).fetchone()
    return str(found[0]) if found else "iso"


def _time_ms(kind: str, unit: str) -> str:
    if unit == "iso":
        moment = "time" if _is_time(kind) else "CAST(time AS VARCHAR)"
        return f"epoch_ms(try_cast(try_cast({moment} AS TIMESTAMPTZ) AS TIMESTAMP))"
    factor = 1000 if unit == "s" else 1
    return f"try_cast(round(try_cast(time AS DOUBLE) * {factor}) AS BIGINT)"


def _divide(
    db: duckdb.DuckDBPyConnection, reader: Reader, table: str, max_set_aside: float
) -> None:
    """Move the rows with a reason to ``set_aside``, or stop where one reason is too common."""
    present = columns_of(db, f"{table}_in")
    shown = ("shopper", "time", "event", "item", "price", "quantity", "page", "position")
    texts = ", ".join(f"CAST(i.{c} AS VARCHAR)" if c in present else "NULL" for c in shown)
    db.execute(
        f"INSERT INTO set_aside SELECT '{table}', c.row, c.reason, {texts}, NULL "
        f"FROM {table}_checked c JOIN {table}_in i USING (row) "
        f"WHERE c.reason IS NOT NULL ORDER BY c.row"
    )
    _refuse_common_reasons(db, reader, table, max_set_aside)
    extra = [c for c in columns_of(db, f"{table}_checked") if c.endswith(("_text", "_unit"))]
    extra += [c for c in ("time_format", "earliest_ms", "latest_ms", "reason")]
    dropped = [c for c in extra if c in columns_of(db, f"{table}_checked")]
    names = ", ".join(identifier(c) for c in dict.fromkeys(dropped))
    db.execute(
        f"CREATE TABLE {table}_good AS SELECT * EXCLUDE ({names}) FROM {table}_checked "
        f"WHERE reason IS NULL"
    )
    db.execute(f"DROP TABLE {table}_checked; DROP TABLE {table}_in")


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
