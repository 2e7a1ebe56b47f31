"""What a row of a coupon file must hold, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from recgym.errors import UserError
from recgym.logs.source import (
    check_whole,
    columns_of,
    first_line,
    identifier,
    literal,
    load_csv,
    reject_lines,
)

NUM_SLOTS = 3
SLOTS = range(1, NUM_SLOTS + 1)
ORDER = ("orderID", "orderTime", "userID", "couponsReceived")
OFFER = ("couponID", "price", "basePrice", "reward", "premiumProduct", "brand", "productGroup",
         "categoryIDs")  # fmt: skip
ANSWER = (*(f"coupon{k}Used" for k in SLOTS), "basketValue")
SEPARATOR = "|"
TIME = "%Y-%m-%d %H:%M:%S"  # of the shop's clock; read as UTC, only differences count


def _number(name: str) -> str:
    return f"try_cast({identifier(name)} AS DOUBLE)"


def _not(test: str) -> str:
    """A test that also holds where what it looks at is absent or unreadable."""
    return f"NOT coalesce({test}, false)"


def _least(name: str, bound: str) -> str:
    return _not(f"isfinite({_number(name)}) AND {_number(name)} {bound}")


def _flag(name: str) -> str:
    return _not(f"{identifier(name)} IN ('0', '1')")


def time_of(name: str) -> str:
    """SQL of a time; NULL where it is unreadable."""
    return f"try_strptime({identifier(name)}, {literal(TIME)})"


def reasons_of(kind: str) -> dict[str, str]:
    """SQL of what makes a row useless -> the reason; the first that holds counts."""
    reasons = {'try_cast("orderID" AS BIGINT) IS NULL': "no order number"}
    if kind != "answers":
        reasons |= {
            '"userID" IS NULL': "no shopper",
            f"{time_of('orderTime')} IS NULL": "order time unreadable",
            f"{time_of('couponsReceived')} IS NULL": "time received unreadable",
            f"{time_of('couponsReceived')} > {time_of('orderTime')}": "received after the order",
        }
        for k in SLOTS:
            reasons |= {
                f'"couponID{k}" IS NULL OR "productGroup{k}" IS NULL': f"no coupon {k}",
                _least(f"price{k}", "> 0"): f"price {k} not above 0",
                _least(f"basePrice{k}", ">= 0"): f"base price {k} not a number from 0",
                _least(f"reward{k}", ">= 0"): f"reward {k} not a number from 0",
                _flag(f"premiumProduct{k}"): f"premium product {k} neither 0 nor 1",
            }
    if kind != "held_out":
        reasons |= {_flag(f"coupon{k}Used"): f"coupon {k} neither used nor not" for k in SLOTS}
        reasons[_least("basketValue", ">= 0")] = "basket not a number from 0"
    return reasons


def load(db: duckdb.DuckDBPyConnection, kind: str, file: Path) -> int:
    """Make table ``kind`` of the file, with a reason for each row of no use; lines that broke."""
    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty (0 bytes): expected columns separated by |.")
    check_whole(file)
    if SEPARATOR not in first_line(file):
        raise UserError(f"{file}: no | in its first line: expected columns separated by |.")
    load_csv(db, "given_rows", [file], SEPARATOR)
    found = columns_of(db, "given_rows")
    wanted = list(ANSWER)
    if kind == "answers":
        wanted.insert(0, "orderID")
    else:
        wanted = [*ORDER, *(f"{name}{k}" for k in SLOTS for name in OFFER), *wanted]
    for name in wanted:
        if name not in found:
            raise UserError(
                f"{file} lacks the column {name!r}; found {', '.join(map(repr, found))}: expected "
                f"the published layout, separated by |."
            )
    names = ", ".join(map(identifier, wanted))
    trimmed = ", ".join(f"nullif(trim({identifier(n)}), '') AS {identifier(n)}" for n in wanted)
    db.execute(
        f"CREATE TABLE text AS SELECT row_number() OVER () AS row, {trimmed} FROM given_rows"
    )
    malformed = _malformed(db, file)
    reasons = reasons_of(kind) | {
        f"row_number() OVER (PARTITION BY {names} ORDER BY row) > 1": "exact duplicate",
        'row_number() OVER (PARTITION BY "orderID" ORDER BY row) > 1': "order number given before",
    }
    whens = " ".join(f"WHEN {test} THEN {literal(said)}" for test, said in reasons.items())
    db.execute(f"CREATE TABLE {kind} AS SELECT *, CASE {whens} END AS reason FROM text")
    db.execute("DROP TABLE text; DROP VIEW given_rows")
    return malformed


def _malformed(db: duckdb.DuckDBPyConnection, file: Path) -> int:
    """Lines of the file that could not be split into columns."""
    if not reject_lines(db):
        return 0
    # of a whole file the last reading leaves no trace, and an earlier file's lines are found
    count = db.execute("SELECT count(*) FROM raw_rejects WHERE file = ?", [str(file)]).fetchone()
    db.execute("DROP TABLE raw_rejects")
    return int(count[0]) if count else 0


def join_answers(db: duckdb.DuckDBPyConnection) -> None:
    """Of the later week, set aside the orders without an answer and the answers without an order.

    Also makes ``orders``, all that are kept.
    """
    number = 'CAST(o."orderID" AS BIGINT) = CAST(a."orderID" AS BIGINT)'
    for one, other, said in (
        ("held_out", "answers", "no answer"),
        ("answers", "held_out", "no such order"),
    ):
        db.execute(
            f"UPDATE {one} AS o SET reason = {literal(said)} WHERE o.reason IS NULL AND NOT EXISTS "
            f"(SELECT 1 FROM {other} a WHERE a.reason IS NULL AND {number})"
        )
    answers = ", ".join(f"a.{identifier(name)}" for name in ANSWER)
    without = ", ".join(map(identifier, ANSWER))
    db.execute(
        f"CREATE TABLE orders AS SELECT *, false AS later FROM train WHERE reason IS NULL "
        f"UNION ALL BY NAME SELECT o.* EXCLUDE ({without}), {answers}, true AS later "
        f"FROM held_out o JOIN answers a ON {number} WHERE o.reason IS NULL AND a.reason IS NULL"
    )


def account(db: duckdb.DuckDBPyConnection, kind: str, malformed: int) -> dict[str, Any]:
    """Rows in, rows kept, and rows set aside by reason."""
    counts = dict(db.execute(f"SELECT reason, count(*) FROM {kind} GROUP BY ALL").fetchall())
    kept = counts.pop(None, 0)
    aside = {str(reason): int(count) for reason, count in sorted(counts.items())}
    aside |= {"malformed line": malformed} if malformed else {}
    return {"in": kept + sum(aside.values()), "kept": kept, "set_aside": aside}


def check_share(
    db: duckdb.DuckDBPyConnection, kind: str, file: Path, rows: dict[str, Any], most: float
) -> None:
    """Stop where more than this share of a file's rows is of no use for one reason."""
    for reason, count in rows["set_aside"].items():
        if count > most * rows["in"]:
            first = db.execute(f"SELECT min(row) FROM {kind} WHERE reason = ?", [reason]).fetchone()
            where = f", first in row {first[0]}" if first and first[0] else ""
            raise UserError(
                f"{file}: {count} of {rows['in']} rows are of no use ({reason}{where}): expected "
                f"at most {most:.0%} for one reason; mend the file or set max_set_aside=0.5."
            )
    if not rows["kept"]:
        raise UserError(f"{file} holds no order: expected the published layout; set data=DIR.")
