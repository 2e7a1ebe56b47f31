"""Taobao UserBehavior (Alibaba Tianchi): one CSV without a header, plain or .gz."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from recgym.errors import UserError
from recgym.logs.base import ReaderBase
from recgym.logs.source import check_whole, existing, find_files, first_line, load_csv
from recgym.types import DAY_MS

NAMES = ("user", "item", "category", "behaviour", "seconds")
COLUMNS = {"shopper": "user", "time": "seconds", "event": "behaviour"}  # ours -> theirs
EVENTS = {"pv": "view", "fav": "favourite", "buy": "purchase"}
FIRST_DAY_MS = 1_511_481_600_000  # 2017-11-24 UTC; published span 11-25 to 12-03, China time
LAST_DAY_MS = 1_512_345_600_000  # 2017-12-04 UTC


@dataclass(kw_only=True)
class Taobao(ReaderBase):
    """Whole histories of shoppers over nine days; no prices, no session ids, no impressions."""

    name: str = "taobao"

    def __post_init__(self) -> None:
        self.events = EVENTS
        self.time_unit = "s"

    def files(self) -> list[Path]:
        """The file, or the one of that name in the folder."""
        return find_files(existing(self.path, self.name), preferred="UserBehavior*")

    def column(self, ours: str) -> str:
        """Their name of our column; the file itself has no header."""
        return COLUMNS.get(ours, ours)

    def time_span_ms(self) -> tuple[int, int]:
        """The published span, a day more on either side; the file holds a few stray dates."""
        return FIRST_DAY_MS - DAY_MS, LAST_DAY_MS + 2 * DAY_MS

    def read(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create raw_events."""
        for file in self.files():
            found = _num_columns(file)
            if found != len(NAMES):
                raise UserError(
                    f"{file} has {found} column(s): expected the {len(NAMES)} of UserBehavior.csv "
                    f"({', '.join(NAMES)}), comma-separated, without a header; "
                    f"{self.remedy('set log.columns.NAME=YOURS')}"
                )
        load_csv(db, "csv_rows", self.files(), names=NAMES)
        db.execute(
            "CREATE VIEW raw_events AS SELECT user AS shopper, seconds AS time, "
            "behaviour AS event, item, category FROM csv_rows"
        )


def _num_columns(file: Path) -> int:
    check_whole(file)
    return first_line(file).count(",") + 1
