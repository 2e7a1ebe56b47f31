"""A folder of Parquet files in the project's own log format, as a true shop writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from recgym.errors import UserError
from recgym.logs.base import ReaderBase
from recgym.logs.cleaning import TABLES
from recgym.logs.source import existing, load_parquet


@dataclass(kw_only=True)
class Folder(ReaderBase):
    """events.parquet and, where there are any, impressions, items and shoppers.parquet."""

    name: str = "folder"

    def files(self) -> list[Path]:
        """The Parquet files of the format, events first."""
        path = existing(self.path, self.name)
        if not (path / "events.parquet").is_file():
            raise UserError(
                f"{path} lacks events.parquet: expected a folder in the log format; "
                f"set log.path=FOLDER, or read other files with log=csv"
            )
        files = [path / f"{table}.parquet" for table in TABLES]
        return [file for file in files if file.is_file()]

    def read(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create the raw tables."""
        for file in self.files():
            load_parquet(db, f"raw_{file.stem}", [file])
