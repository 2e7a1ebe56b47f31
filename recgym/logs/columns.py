"""SQL that gives the columns of raw rows their types, and that keeps raw rows small on disk."""

from __future__ import annotations

import re

from recgym.logs.reader import Reader
from recgym.logs.rules import EVENTS
from recgym.logs.source import identifier, literal

SECONDS_BELOW = 1e11  # a time number below is in seconds (until the year 5138), above in ms
INTEGERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "UHUGEINT",
)  # fmt: skip
NUMBERS = (*INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
IDS = ("shopper", "session", "item", "page")
NAMES = (*IDS, "category", "brand")
EVENT_KIND = f"ENUM({', '.join(map(literal, EVENTS))})"  # a byte a row
PLAIN_TIME = "%Y-%m-%d %H:%M:%S UTC"  # parsed far faster than ISO 8601 in general


def typed(column: str, kind: str, reader: Reader) -> dict[str, str]:
    """SQL of a column by name; text stays beside numbers, to tell absent from wrong."""
    name = identifier(column)
    text = f"nullif(trim(CAST({name} AS VARCHAR)), '')"
    if column in ("price", "quantity", "position"):
        is_number = kind.startswith(NUMBERS)
        number = f"try_cast({column if is_number else text} AS DOUBLE)"
        given = f"CASE WHEN {column} IS NOT NULL THEN 'a number' END" if is_number else text
        return {
            f"{column}_text": f"CASE WHEN isnan({number}) THEN NULL ELSE {given} END",
            column: f"nullif({number}, 'nan'::DOUBLE)",
        }
    if column == "event":
        return {column: _event(name, text, reader)}
    if column in NAMES and not (column in IDS and kind == "BIGINT"):
        if kind in ("FLOAT", "DOUBLE"):  # whole ids that a table with gaps has turned into 7.0
            whole = f"{column} = floor({column}) AND abs({column}) < 1e15"
            text = (
                f"CASE WHEN isfinite({column}) THEN CASE WHEN {whole} "
                f"THEN CAST(CAST({column} AS BIGINT) AS VARCHAR) ELSE {text} END END"
            )
        return {column: text}
    return {column: name}


def _event(name: str, text: str, reader: Reader) -> str:
    """Their name of an event to ours, as an ENUM: a byte a row."""
    names = {name: name for name in EVENTS}
    names |= {plain_name(str(theirs)): ours for theirs, ours in reader.events.items()}
    cases = {literal(theirs): f"{literal(ours)}::{EVENT_KIND}" for theirs, ours in names.items()}
    whens = " ".join(f"WHEN {theirs} THEN {ours}" for theirs, ours in cases.items())
    plain = f"regexp_replace(lower({text}), '[^\\p{{L}}\\p{{N}}]+', '_', 'g')"
    # Most rows spell it exactly; only the others pay for the regular expression.
    return f"CASE CAST({name} AS VARCHAR) {whens} ELSE CASE {plain} {whens} END END"


def plain_name(name: str) -> str:
    """An event name in lower case with one underscore for all that Hydra's keys cannot hold."""
    return re.sub(r"[\W_]+", "_", name.lower())


def _is_time(kind: str) -> bool:
    return kind.startswith(("TIMESTAMP", "DATE"))


def plain_time(time: str, kind: str) -> str:
    """SQL for the column plain_time: a time that can be written back as it was, else NULL."""
    if kind != "VARCHAR":
        return "NULL::TIMESTAMP"
    exact = f"strlen({time}) = 23 AND {time} >= '1000'"
    return f"CASE WHEN {exact} THEN try_strptime({time}, '{PLAIN_TIME}') END"


def given_text(time: str, kind: str) -> str:
    """SQL for a time, NULL where its text is blank."""
    if kind != "VARCHAR":
        return time
    return f"CASE WHEN plain_time IS NULL THEN nullif(trim({time}), '') ELSE {time} END"


def time_format(time: str, kind: str, reader: Reader) -> str:
    """SQL for the format of one time: iso, s, ms, or NULL where it is none of these.

    This and what follows reads the column plain_time beside the time.
    """
    if _is_time(kind):
        return f"CASE WHEN {time} IS NOT NULL THEN 'iso' END"
    text = f"nullif(trim({time}), '')" if kind == "VARCHAR" else time
    number = f"try_cast({text} AS DOUBLE)"
    by_size = f"CASE WHEN abs({number}) < {SECONDS_BELOW} THEN 's' ELSE 'ms' END"
    unit = literal(reader.time_unit) if reader.time_unit in ("s", "ms") else by_size
    return (
        f"CASE WHEN plain_time IS NOT NULL THEN 'iso' WHEN isfinite({number}) THEN {unit} "
        f"WHEN try_cast(CAST({text} AS VARCHAR) AS TIMESTAMPTZ) IS NOT NULL THEN 'iso' END"
    )


def time_ms(time: str, kind: str, unit: str) -> str:
    """SQL for a time in ms since 1970."""
    text = f"nullif(trim({time}), '')" if kind == "VARCHAR" else time
    if unit != "iso":
        factor = 1000 if unit == "s" else 1
        return f"try_cast(round(try_cast({text} AS DOUBLE) * {factor}) AS BIGINT)"
    moment = text if _is_time(kind) else f"CAST({text} AS VARCHAR)"
    any_iso = f"epoch_ms(try_cast(try_cast({moment} AS TIMESTAMPTZ) AS TIMESTAMP))"
    return f"coalesce(epoch_ms(plain_time), {any_iso})"


def kept_time(time: str) -> str:
    """SQL for what is kept of a given time beside ``time_ms``: nothing where that tells it."""
    return f"CASE WHEN plain_time IS NULL THEN {time} END"


def given_time(time: str, time_ms: str, unit: str) -> str:
    """SQL for the text of a time as it was given, from ``kept_time`` and ``time_ms``."""
    text = f"CAST({time} AS VARCHAR)"
    again = f"strftime(make_timestamp({time_ms} * 1000), '{PLAIN_TIME}')"
    return f"coalesce({text}, {again})" if unit == "iso" else text


def whole(given: str) -> str:
    """SQL for whether an id is a whole number written like one, or absent."""
    return f"CAST(try_cast({given} AS BIGINT) AS VARCHAR) IS NOT DISTINCT FROM {given}"
