"""What cleaning asks of a data set, and the part of its rows that one machine takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import duckdb

from recgym.errors import UserError
from recgym.logs.rules import Rule

DIGITS = 8  # of the MD5, hexadecimal


class Reader(Protocol):
    """One data set: gives raw rows under our column names, judges none of them."""

    name: str
    path: str | None
    events: Mapping[str, str]  # their name of an event -> ours
    time_unit: str  # auto, s, ms or iso
    own_rules: ClassVar[tuple[Rule, ...]]  # why a row of this data set is no event, before RULES

    def source(self) -> str:
        """Where the log comes from, for its card."""
        ...

    def content_hash(self) -> str:
        """Hash of the bytes of the input."""
        ...

    def read(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create raw_events and, where there are any, raw_impressions, raw_items, raw_shoppers."""
        ...

    def column(self, ours: str) -> str:
        """Their name of our column, for messages."""
        ...

    def remedy(self, override: str) -> str:
        """What to do, where the csv reader would take ``override``."""
        ...

    def time_span_ms(self) -> tuple[int, int]:
        """Times outside are impossible."""
        ...


@dataclass(frozen=True)
class Part:
    """One of ``count`` parts of a log, numbered from 0."""

    number: int
    count: int

    def __post_init__(self) -> None:
        for name, value, least in (("parts", self.count, 1), ("part", self.number, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(
                    f"log.{name}={value!r}: expected a whole number of at least {least}; "
                    f"set log.parts=4 log.part=0,1,2,3 with -m"
                )
        if self.number >= self.count:
            raise UserError(
                f"log.part={self.number}: expected a number below log.parts={self.count}, how many "
                f"parts there are, the first being 0"
            )

    def holds(self, shopper: str) -> str:
        """SQL for whether a row is in this part, from the shopper's id as SQL."""
        digits = f"substr(md5(CAST({shopper} AS VARCHAR)), 1, {DIGITS})"
        return f"coalesce(CAST('0x' || {digits} AS UBIGINT) % {self.count}, 0) = {self.number}"
