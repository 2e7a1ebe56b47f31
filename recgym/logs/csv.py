"""Any CSV or Parquet log, through a mapping of column and event names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

from recgym.errors import UserError
from recgym.logs.base import ReaderBase
from recgym.logs.rules import EVENT_COLUMNS, EVENTS, REQUIRED
from recgym.logs.source import columns_of, identifier, is_parquet, load_csv, load_parquet


@dataclass(kw_only=True)
class Csv(ReaderBase):
    """One row an event: CSV or Parquet, plain or .gz, a file or a folder of files."""

    name: str = "csv"
    columns: Mapping[str, str | None] = field(default_factory=dict)  # ours -> theirs; None: ignore
    separator: str = ","

    def column(self, ours: str) -> str:
        """Their name of our column."""
        return self.columns.get(ours) or ours

    def remedy(self, override: str) -> str:
        """The override as it is: this reader takes it."""
        return override

    def read(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create raw_events."""
        self._check_mapping()
        files = self.files()
        if is_parquet(files[0]):
            load_parquet(db, "given_rows", files)
        else:
            load_csv(db, "given_rows", files, self.separator)
        present = columns_of(db, "given_rows")
        chosen = []
        for ours in EVENT_COLUMNS:
            theirs = self.columns.get(ours, ours)
            if theirs is not None and theirs in present:
                chosen.append(f"{identifier(theirs)} AS {ours}")
            elif ours in REQUIRED["events"] or (theirs is not None and theirs != ours):
                raise UserError(
                    f"{files[0]} lacks the column {self.column(ours)!r} for {ours!r}; found "
                    f"{', '.join(map(repr, present))}; set log.columns.{ours}=NAME"
                )
        db.execute(f"CREATE VIEW raw_events AS SELECT {', '.join(chosen)} FROM given_rows")

    def _check_mapping(self) -> None:
        for ours in self.columns:
            if ours not in EVENT_COLUMNS:
                raise UserError(
                    f"log.columns.{ours}: expected one of {', '.join(EVENT_COLUMNS)} on the left "
                    f"and your column on the right; set log.columns.shopper=NAME and so on"
                )
        for theirs, ours in self.events.items():
            if ours not in EVENTS:
                raise UserError(
                    f"log.events.{theirs}={ours!r}: expected your event name on the left and one "
                    f"of {', '.join(EVENTS)} on the right; set +log.events.{theirs}=view"
                )
