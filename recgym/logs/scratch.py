"""Where cleaning works: a database on disk, and a folder that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from recgym.errors import UserError
from recgym.logs.source import plain_errors

MEMORY_LIMIT = "1500MB"  # of DuckDB; the process stays below 2 GB, larger tables go to disk
WORK = "work"  # folder within the unfinished one, for what is read


def scratch(folder: Path, memory_limit: str) -> duckdb.DuckDBPyConnection:
    """A database on disk, so that a log larger than memory passes through."""
    folder.mkdir()
    db = duckdb.connect(str(folder / "work.duckdb"))
    db.execute("SET TimeZone = 'UTC'")
    try:
        db.execute(f"SET memory_limit = '{memory_limit}'")
    except duckdb.Error as error:
        raise UserError(
            f"log.memory_limit={memory_limit!r}: expected a size; set log.memory_limit=4GB"
        ) from error
    return db


@contextmanager
def whole(folder: Path, source: Path, finished: str) -> Iterator[Path]:
    """A folder to write to; it replaces ``folder`` where the block ends well.

    Args:
        folder: to be made.
        source: the input, which is never written over.
        finished: name of the file that an older folder holds if it may be replaced.
    """
    _check_target(folder, source, finished)
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with plain_errors(source):
            temporary.mkdir(parents=True)
            yield temporary
            shutil.rmtree(temporary / WORK, ignore_errors=True)
            _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_target(folder: Path, source: Path, finished: str) -> None:
    """Never write over the input, nor over a folder that is not a log."""
    inside = folder.resolve() == source.resolve() or folder.resolve() in source.resolve().parents
    if inside:
        raise UserError(f"{folder} holds the input {source}: expected another folder to write to")
    other = folder.is_dir() and any(folder.iterdir()) and not (folder / finished).exists()
    if folder.is_file() or other:
        raise UserError(
            f"{folder} exists and is no log: expected a new folder, or a log to replace; "
            f"remove it or name another"
        )


def _replace(folder: Path, temporary: Path) -> None:
    """Put the finished folder in place of an older one."""
    old = temporary.with_suffix(".old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)
