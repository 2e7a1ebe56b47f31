"""A cleaned log: its folder, opened as tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.logs import card as cards
from recgym.logs.catalog import build_catalog, open_tables
from recgym.logs.cleaning import count
from recgym.logs.profiles import build_profiles
from recgym.logs.source import plain_errors
from recgym.logs.steps import Shown, Steps, rows_to_steps
from recgym.logs.tensors import (
    build_sessions,
    met_in_training,
    read_propensities,
    read_rows,
    read_shown,
    session_stats,
)
from recgym.types import Catalog, Field, Sessions, SessionStats, Split

SCHEMA_VERSION = 1
META = "meta.json"  # written last: it says that the folder is whole


def open_log(folder: str | Path) -> Log:
    """Open a cleaned log."""
    file = Path(folder) / META
    if not file.exists():
        raise UserError(
            f"{folder} is no cleaned log (it lacks {META}): expected a folder that cleaning "
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
