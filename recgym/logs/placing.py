"""Accepted rows to sessions, splits and the Parquet files of a cleaned log."""

from __future__ import annotations

from pathlib import Path

import duckdb

from recgym.errors import UserError
from recgym.logs.cleaning import count, filled
from recgym.logs.source import PARQUET, columns_of, identifier, literal
from recgym.types import Split


def place_in_sessions(
    db: duckdb.DuckDBPyConnection, path: object, session_gap_minutes: float
) -> None:
    """Make ``session`` (numbered from 0 by start), ``event_placed`` and ``page_placed``."""
    shown = bool(columns_of(db, "impressions_good"))
    if shown:
        _check_session_columns(db, path)
    impressions = (
        "UNION ALL SELECT 1, min(row), shopper, session, min(time_ms), page "
        "FROM impressions_good GROUP BY shopper, session, page"
        if shown
        else ""
    )
    # A visit is an event or a page shown. Rows without a session id are cut where the shopper
    # rests for longer than the gap; rows with one are not, and need no window.
    gap_ms = round(session_gap_minutes * 60_000)
    some = shown or filled(db, "session") < filled(db, "rows")
    db.execute(
        f"CREATE VIEW any_visit AS SELECT 0 AS shown, row, shopper, session, time_ms, page "
        f"FROM events_good {impressions}"
    )
    db.execute(
        f"CREATE TABLE cut_visit AS WITH rested AS (SELECT *, coalesce(time_ms - lag(time_ms) "
        f"OVER mine > {gap_ms}, false) AS opens FROM any_visit "
        f"WHERE {'session IS NULL' if some else 'false'} "
        f"WINDOW mine AS (PARTITION BY shopper ORDER BY time_ms, shown, row)) "
        f"SELECT * EXCLUDE (opens), CAST(sum(opens::INT) OVER (PARTITION BY shopper "
        f"ORDER BY time_ms, shown, row ROWS UNBOUNDED PRECEDING) AS BIGINT) AS part FROM rested"
    )
    db.execute(
        "CREATE VIEW visit AS SELECT *, 0::BIGINT AS part FROM any_visit "
        "WHERE session IS NOT NULL UNION ALL SELECT * FROM cut_visit"
    )
    db.execute(
        "CREATE TABLE session AS SELECT row_number() OVER (ORDER BY start, "
        "CAST(shopper AS VARCHAR), CAST(given AS VARCHAR) NULLS LAST, part) - 1 AS session, * "
        "FROM (SELECT shopper, session AS given, part, min(time_ms) AS start "
        "FROM visit GROUP BY ALL)"
    )
    _place_events(db)
    _number_pages(db)


def _check_session_columns(db: duckdb.DuckDBPyConnection, path: object) -> None:
    """Sessions of events and impressions can only be joined where both are named alike."""
    named = [
        db.execute(f"SELECT count(session) > 0 FROM {table}").fetchall()[0][0]
        for table in ("events_good", "impressions_good")
    ]
    if named[0] != named[1] and count(db, "events_good"):
        holds, lacks = ("events", "impressions") if named[0] else ("impressions", "events")
        raise UserError(
            f"{path}: the {holds} name a 'session' but the {lacks} do not: expected both or "
            f"neither; write the column 'session' into the {lacks} or leave it out of both"
        )


def _place_events(db: duckdb.DuckDBPyConnection) -> None:
    """Make ``event_in_session``: a session is found by its id, or else by the row."""
    by_id = (
        "SELECT e.* EXCLUDE (session), s.session FROM events_good e JOIN session s "
        "ON e.shopper = s.shopper AND e.session = s.given"
    )
    by_row = (
        " UNION ALL SELECT e.* EXCLUDE (session), s.session FROM events_good e "
        "JOIN cut_visit v ON v.shown = 0 AND v.row = e.row "
        "JOIN session s ON v.shopper = s.shopper AND s.given IS NULL AND v.part = s.part "
        "WHERE e.session IS NULL"
    )
    some = count(db, "cut_visit") > 0
    db.execute(f"CREATE VIEW event_in_session AS {by_id}{by_row if some else ''}")


def _number_pages(db: duckdb.DuckDBPyConnection) -> None:
    """Number pages from 0 by session and time, since page ids may repeat between sessions."""
    shown = bool(columns_of(db, "impressions_good"))
    if not shown and not filled(db, "page"):
        db.execute(
            "CREATE VIEW event_placed AS SELECT * REPLACE (NULL::BIGINT AS page) "
            "FROM event_in_session"
        )
        return
    db.execute(
        "CREATE TABLE placed AS SELECT v.shown, v.row, v.page, s.session, v.time_ms "
        "FROM visit v JOIN session s ON v.shopper = s.shopper "
        "AND v.session IS NOT DISTINCT FROM s.given AND v.part = s.part"
    )
    db.execute(
        "CREATE TABLE page AS SELECT row_number() OVER (ORDER BY session, start, first) - 1 "
        "AS number, session, page FROM (SELECT session, page, min(time_ms) AS start, "
        "min(row) AS first FROM placed WHERE page IS NOT NULL GROUP BY ALL)"
    )
    db.execute(
        "CREATE VIEW event_placed AS SELECT e.* REPLACE (g.number AS page) "
        "FROM event_in_session e LEFT JOIN page g ON g.session = e.session AND g.page = e.page"
    )
    if shown:
        db.execute(
            "CREATE TABLE page_placed AS SELECT i.shopper, i.session, i.page, g.session AS "
            "session_number, g.number FROM impressions_good i JOIN placed p ON p.shown = 1 "
            "AND p.row = i.row JOIN page g ON g.session = p.session AND g.page = p.page"
        )
    db.execute("DROP TABLE placed")


def split_by_time(
    db: duckdb.DuckDBPyConnection, path: object, valid_share: float, test_share: float
) -> None:
    """Make ``session_split``: the last sessions to start are test, those before them valid."""
    if not (0 < valid_share < 1 and 0 < test_share < 1 and valid_share + test_share < 1):
        raise UserError(
            f"log.valid_share={valid_share} and log.test_share={test_share}: expected shares "
            f"above 0 whose sum is below 1; set log.valid_share=0.1 log.test_share=0.1"
        )
    sessions = count(db, "session")
    test, valid = (max(1, round(sessions * share)) for share in (test_share, valid_share))
    if sessions - test - valid < 1:
        raise UserError(
            f"{path} holds {sessions} session(s), too few to split: expected at least one each "
            f"for training, validation and test; use a longer log, or set "
            f"log.session_gap_minutes to a shorter rest if sessions run together"
        )
    first_valid, first_test = sessions - test - valid, sessions - test
    db.execute(
        f"CREATE TABLE session_split AS SELECT session, s.shopper, start, CASE "
        f"WHEN session < {first_valid} THEN {int(Split.TRAIN)} "
        f"WHEN session < {first_test} THEN {int(Split.VALID)} "
        f"WHEN t.shopper IS NULL THEN {int(Split.TEST_NEW)} "
        f"ELSE {int(Split.TEST)} END AS split FROM session s LEFT JOIN "
        f"(SELECT DISTINCT shopper FROM session WHERE session < {first_valid}) t USING (shopper)"
    )


def check_variety(db: duckdb.DuckDBPyConnection, path: object) -> None:
    """Refuse a log in which there is nothing to choose or nobody to compare."""
    tables = [t for t in ("events_good", "impressions_good") if columns_of(db, t)]
    for what in ("shopper", "item"):
        ends = " UNION ALL ".join(f"SELECT min({what}) a, max({what}) b FROM {t}" for t in tables)
        first, last = db.execute(f"SELECT min(a), max(b) FROM ({ends})").fetchall()[0]
        if first is None:
            raise UserError(f"{path} holds no usable row: expected events; set log.path=PATH")
        if first == last:
            raise UserError(
                f"{path} holds one {what} only ({str(first)!r}): expected at least two; "
                f"check the column with log.columns.{what}=NAME or use a longer log"
            )


def write_tables(db: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write the Parquet files of a cleaned log."""
    _copy(
        db,
        f"SELECT shopper, session, time_ms AS time, event, item, {_optional(db)}row "
        f"FROM event_placed ORDER BY session, time_ms, row",
        folder / "events.parquet",
    )
    if columns_of(db, "impressions_good"):
        # Columns that the logging policy wrote, such as its propensity, pass through.
        _copy(
            db,
            "SELECT number AS page, shopper, session_number AS session, time_ms AS time, "
            "CAST(position AS BIGINT) AS position, item, price, sponsored, propensity, policy, "
            "row FROM (SELECT i.*, p.number, p.session_number FROM impressions_good i "
            "JOIN page_placed p ON i.shopper = p.shopper AND i.page = p.page "
            "AND i.session IS NOT DISTINCT FROM p.session) ORDER BY number, position",
            folder / "impressions.parquet",
        )
    _copy(
        db, "SELECT session, shopper, start, split FROM session_split ORDER BY session",
        folder / "sessions.parquet",
    )  # fmt: skip
    _copy(db, _items(db), folder / "items.parquet")
    _copy(db, _shoppers(db), folder / "shoppers.parquet")
    _copy(db, "SELECT * FROM set_aside ORDER BY input, row, reason", folder / "set_aside.parquet")


def _copy(db: duckdb.DuckDBPyConnection, query: str, file: Path) -> None:
    db.execute(f"COPY ({query}) TO {literal(file)} {PARQUET}")


def _optional(db: duckdb.DuckDBPyConnection) -> str:
    """Optional event columns that hold anything at all.

    A position column that holds nothing says, of pages that were shown, that none was ever clicked.
    """
    columns = {
        "price": "price", "quantity": "quantity", "page": "page",
        "position": "CAST(position AS BIGINT) AS position", "sponsored": "sponsored",
    }  # fmt: skip
    kept = {column for column in columns if filled(db, column)}
    if columns_of(db, "impressions_good"):
        kept |= {"position"} if filled(db, "positions") else set()
    return "".join(f"{sql}, " for column, sql in columns.items() if column in kept)


def _items(db: duckdb.DuckDBPyConnection) -> str:
    """Items as listed, in the order of the file, then items only met in events, by id."""
    met = (
        "SELECT item, arg_min(category, row) AS category, arg_min(brand, row) AS brand "
        "FROM events_good GROUP BY item"
    )
    if columns_of(db, "impressions_good"):
        met += (
            " UNION ALL SELECT DISTINCT item, NULL, NULL FROM impressions_good "
            "WHERE item NOT IN (SELECT item FROM events_good)"
        )
    listed = columns_of(db, "items_good")
    if not listed:
        return f"SELECT item, category, brand, NULL::DOUBLE AS price FROM ({met}) ORDER BY item"
    merged = [
        f"coalesce(CAST(l.{c} AS VARCHAR), m.{c}) AS {c}" if c in listed else f"m.{c} AS {c}"
        for c in ("category", "brand")
    ]
    rest = [f"l.{identifier(c)}" for c in listed if c not in ("row", "item", "category", "brand")]
    return (
        f"SELECT item, * EXCLUDE (item, row) FROM (SELECT item, "
        f"{', '.join(merged + rest)}, l.row AS row FROM items_good l FULL JOIN ({met}) m "
        f"USING (item)) ORDER BY row NULLS LAST, item"
    )


def _shoppers(db: duckdb.DuckDBPyConnection) -> str:
    """Shoppers as listed, then those only met in sessions, by id."""
    met = "SELECT DISTINCT shopper FROM session"
    if not columns_of(db, "shoppers_good"):
        return f"SELECT shopper FROM ({met}) ORDER BY shopper"
    return (
        f"SELECT shopper, * EXCLUDE (shopper, row) FROM (SELECT l.* EXCLUDE (shopper), "
        f"shopper FROM shoppers_good l FULL JOIN ({met}) m USING (shopper)) "
        f"ORDER BY row NULLS LAST, shopper"
    )
