"""What all readers share, and cleaning what they read into a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import duckdb

from recgym.errors import UserError
from recgym.logs import card as cards
from recgym.logs.catalog import open_tables
from recgym.logs.cleaning import check_tables
from recgym.logs.log import META, SCHEMA_VERSION, Log, open_log
from recgym.logs.parts import open_parts
from recgym.logs.placing import check_variety, place_in_sessions, split_by_time, write_tables
from recgym.logs.reader import Reader
from recgym.logs.rules import EARLIEST_MS, Rule
from recgym.logs.scratch import MEMORY_LIMIT, WORK, scratch, whole
from recgym.logs.source import content_hash, existing, find_files
from recgym.types import DAY_MS

MAX_GAP_MINUTES = 1e6  # about two years
SETTINGS = {"session_gap_minutes": 30, "valid_share": 0.1, "test_share": 0.1, "max_set_aside": 0.02}


@dataclass(kw_only=True)
class ReaderBase:
    """What all readers share; a reader adds ``read`` and changes what differs."""

    path: str | None = None
    name: str = "log"
    session_gap_minutes: float = 30  # a rest longer than this ends a session, where no ids do
    valid_share: float = 0.1
    test_share: float = 0.1
    max_set_aside: float = 0.02  # of the rows of a table, for one reason
    memory_limit: str = MEMORY_LIMIT
    parts: int = 1  # that a log larger than one machine is cleaned by
    part: int | None = None  # the one to clean; None joins all of them
    events: Mapping[str, str] = field(default_factory=dict)
    time_unit: str = "auto"
    own_rules: ClassVar[tuple[Rule, ...]] = ()

    def files(self) -> list[Path]:
        """The files of the input."""
        return find_files(existing(self.path, self.name))

    def source(self) -> str:
        """Where the log comes from, for its card."""
        return str(self.path)

    def content_hash(self) -> str:
        """SHA-256 over names, sizes and bytes of the input files."""
        return content_hash(self.files())

    def column(self, ours: str) -> str:
        """Their name of our column."""
        return ours

    def remedy(self, override: str) -> str:
        """Readers of fixed layouts take no column overrides; the csv reader does."""
        return f"mend the file, or read it with log=csv, which can {override}"

    def time_span_ms(self) -> tuple[int, int]:
        """From 1990 to a day after now."""
        return EARLIEST_MS, int(time.time() * 1000) + DAY_MS

    def read(self, db: duckdb.DuckDBPyConnection) -> None:
        """Create the raw tables."""
        raise NotImplementedError("read(db) -> None creates raw_events")

    def clean(self, folder: str | Path) -> Log:
        """Clean the log into ``folder``."""
        return self.join(folder, ())

    def join(self, folder: str | Path, parts: Sequence[Path]) -> Log:
        """Clean the log into ``folder`` from the folders of its parts; whole where there are none.

        With the parts that `clean_part` wrote, all of them, it is the log that cleaning it whole
        would write.
        """
        return clean(
            self,
            Path(folder),
            session_gap_minutes=self.session_gap_minutes,
            valid_share=self.valid_share,
            test_share=self.test_share,
            max_set_aside=self.max_set_aside,
            memory_limit=self.memory_limit,
            parts=parts,
        )


def clean(
    reader: Reader,
    folder: Path,
    *,
    session_gap_minutes: float = 30,
    valid_share: float = 0.1,
    test_share: float = 0.1,
    max_set_aside: float = 0.02,
    memory_limit: str = MEMORY_LIMIT,
    parts: Sequence[Path] = (),
) -> Log:
    """Clean a log into ``folder``, whole or not at all, and open it.

    ``parts`` are folders of all its parts, if it was cleaned by parts: they are joined.
    """
    settings = {
        "session_gap_minutes": session_gap_minutes,
        "valid_share": valid_share,
        "test_share": test_share,
        "max_set_aside": max_set_aside,
    }
    _check_settings(settings)
    source = existing(reader.path, reader.name)
    # The hash needs one core and no table: it is taken while the rows are read.
    with whole(folder, source, META) as place, ThreadPoolExecutor(max_workers=1) as beside:
        content_hash = beside.submit(reader.content_hash)
        with scratch(place / WORK, memory_limit) as db:
            if parts:
                open_parts(db, reader, parts, max_set_aside)
            else:
                reader.read(db)
                check_tables(db, reader, max_set_aside, place / WORK)
            check_variety(db, source)
            place_in_sessions(db, source, session_gap_minutes)
            split_by_time(db, source, valid_share, test_share)
            write_tables(db, place)
            rows = cards.account(db)
        meta = {
            "schema_version": SCHEMA_VERSION,
            "name": reader.name,
            "source": reader.source(),
            "content_hash": content_hash.result(),
            "settings": settings,
            "rows": rows,
        }
        _write_meta(place, meta)
    return open_log(folder)


def _check_settings(settings: dict[str, float]) -> None:
    for key, value in settings.items():
        most = MAX_GAP_MINUTES if key == "session_gap_minutes" else 1.0
        if not isinstance(value, int | float) or not 0 <= value <= most:
            raise UserError(
                f"log.{key}={value!r}: expected a number from 0 to {most:g}; "
                f"set log.{key}={SETTINGS[key]}"
            )


def _write_meta(folder: Path, known: dict[str, Any]) -> None:
    """Write what is known and what the tables tell."""
    with open_tables(folder) as db:
        meta = known | cards.describe(db)
    (folder / META).write_text(json.dumps(meta, indent=2) + "\n")
