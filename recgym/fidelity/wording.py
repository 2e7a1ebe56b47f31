"""The rows in words: numbers as they are printed, and the table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from recgym.fidelity.verdicts import FAIL, PASS, Row

NO_NUMBER = "-"


def number(value: float | None, form: str) -> str:
    """A number as its row prints it."""
    if value is None:
        return NO_NUMBER
    if form == "percent":
        return f"{value:.2%}" if abs(value) < 0.0995 else f"{value:.1%}"
    return f"{value:.3f}" if abs(value) < 9.95 else f"{value:.2f}"


def interval(row: Row) -> str:
    """The interval, as far as it is known."""
    if row.low is None or row.high is None:
        return NO_NUMBER
    return f"[{number(row.low, row.form)}, {number(row.high, row.form)}]"


def target(row: Row) -> str:
    """The target with its direction."""
    if row.target is None:
        return NO_NUMBER
    return f"{'>=' if row.higher else '<='} {number(row.target, row.form)}"


def outcome(row: Row) -> str:
    """The verdict; of a row that passes by its floor alone, that it does."""
    missed = row.value is not None and row.target is not None and (
        row.value < row.target if row.higher else row.value > row.target
    )  # fmt: skip
    return "pass (by the floor)" if row.verdict == PASS and missed else row.verdict


def said(row: Row) -> tuple[str, str]:
    """What is said of the row, and a remark."""
    if row.value is None:
        return row.verdict, row.note.removeprefix(row.verdict).lstrip(": ")
    return "FAIL" if row.verdict == FAIL else outcome(row), row.note


def table_lines(rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Lines of the table with the verdict of their row; of the head, an empty one."""
    width = max(len(row.title) for row in rows)
    head = ("value", "95 % interval", "noise floor", "target")
    yield f"{'row':<{width}}{head[0]:>9}{head[1]:>20}{head[2]:>13}{head[3]:>11}  verdict", ""
    for row in rows:
        line = (
            f"{row.title:<{width}}{number(row.value, row.form):>9}{interval(row):>20}"
            f"{number(row.floor, row.form):>13}{target(row):>11}  "
        )
        verdict, remark = said(row)
        yield f"{line}{verdict}{f' ({remark})' if remark else ''}", row.verdict
