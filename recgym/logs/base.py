"""The schema of a log, cleaning it into a folder, and opening that folder as tensors."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import duckdb
import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.logs import card as cards
from recgym.logs.catalog import build_catalog, open_tables
from recgym.logs.cleaning import check_tables, count
from recgym.logs.parts import open_parts
from recgym.logs.placing import check_variety, place_in_sessions, split_by_time, write_tables
from recgym.logs.profiles import build_profiles
from recgym.logs.rules import EARLIEST_MS, Rule
from recgym.logs.scratch import MEMORY_LIMIT, WORK, scratch, whole
from recgym.logs.source import content_hash, existing, find_files, plain_errors
from recgym.logs.steps import Shown, Steps, rows_to_steps
from recgym.logs.tensors import (
    build_sessions,
    met_in_training,
    read_propensities,
    read_rows,
    read_shown,
    session_stats,
)
from recgym.types import DAY_MS, Catalog, Field, Sessions, SessionStats, Split

SCHEMA_VERSION = 1
FINISHED = "meta.json"
MAX_GAP_MINUTES = 1e6  # about two years
SETTINGS = {"session_gap_minutes": 30, "valid_share": 0.1, "test_share": 0.1, "max_set_aside": 0.02}


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
    with whole(folder, source, FINISHED) as place, ThreadPoolExecutor(max_workers=1) as beside:
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
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def open_log(folder: str | Path) -> Log:
    """Open a cleaned log."""
    file = Path(folder) / "meta.json"
    if not file.exists():
        raise UserError(
            f"{folder} is no cleaned log (it lacks meta.json): expected a folder that cleaning "
            f"wrote; clean the log first"
        )
    try:
        meta = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}): clean the log again") from error
    if meta.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{file} has schema_version {meta.get('schema_version')!r}: expected {SCHEMA_VERSION}; "
            f"clean the log again with this version of RecGym"
        )
    return Log(Path(folder), meta)


@dataclass
class Log:
    """A cleaned log. Tensors are built on first use and kept."""

    folder: Path
    meta: dict[str, Any]

    @cached_property
    def db(self) -> duckdb.DuckDBPyConnection:
        """The Parquet files as views."""
        with plain_errors(self.folder):
            return open_tables(self.folder)

    @cached_property
    def _catalog(self) -> Catalog:
        with plain_errors(self.folder):
            return build_catalog(self.db)

    def catalog(self) -> Catalog:
        """What the site knows of its items; row i is row i of items.parquet."""
        return self._catalog

    @cached_property
    def shown(self) -> Shown:
        """What was shown on each page."""
        with plain_errors(self.folder):
            return read_shown(self.db, self.catalog())

    @cached_property
    def steps(self) -> Steps:
        """Steps of all sessions, as arrays."""
        with plain_errors(self.folder):
            rows = read_rows(self.db, self.catalog())
            return rows_to_steps(rows, count(self.db, "sessions"), self.shown)

    @cached_property
    def _sessions(self) -> Sessions:
        with plain_errors(self.folder):
            return build_sessions(self.db, self.steps, self.shown)

    def sessions(self) -> Sessions:
        """All sessions of all splits."""
        return self._sessions

    def fields(self) -> list[Field]:
        """What the log knows of a shopper, in the order of a profile's numbers."""
        with plain_errors(self.folder):
            return build_profiles(self.db)[0]

    def propensities(self) -> Tensor | None:
        """Chance of each shown item given those above it, [S, K]; None where the log has none."""
        with plain_errors(self.folder):
            return read_propensities(self.db, self.steps, self.shown)

    def seen_item(self) -> Tensor:
        """Items met in training, [I] bool: in an event or on a page."""
        with plain_errors(self.folder):
            return met_in_training(self.db)

    def stats(self, *splits: Split) -> SessionStats:
        """Sums per session, of all sessions or of some splits; credited_revenue is revenue."""
        sessions = self.sessions()
        stats = session_stats(sessions, torch.from_numpy(self.steps.paid))
        if not splits:
            return stats
        wanted = torch.tensor([int(split) for split in splits])
        return stats.lanes(torch.isin(sessions.split, wanted))

    def held_out(self) -> tuple[Tensor, int]:
        """Rows of the test sessions that the log saw to their end, and how many it cut off.

        A session whose last event lies within the session gap of the log's last one may have gone
        on: beside whole sessions it would count as a short one that bought nothing.
        """
        sessions = self.sessions()
        tested_B = torch.isin(sessions.split, torch.tensor([Split.TEST, Split.TEST_NEW]))
        gap_ms = round(self.meta["settings"]["session_gap_minutes"] * 60_000)
        last_B = sessions.time_ms[sessions.offset[1:] - 1]
        cut_B = tested_B & (last_B + gap_ms >= sessions.time_ms.max())
        return (tested_B & ~cut_B).nonzero().squeeze(-1), int(cut_B.sum())

    def card(self) -> str:
        """The log in a page of text: what it holds, lacks, and what was set aside."""
        return cards.card(self.folder, self.meta)
