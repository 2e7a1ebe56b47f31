"""The parts of a log in the cache: each is cleaned once, by whichever job comes first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recgym import progress
from recgym.errors import UserError
from recgym.locks import made_once
from recgym.logs.base import ReaderBase
from recgym.logs.parts import META, clean_part
from recgym.logs.reader import Part
from recgym.record import TrueShopLog

# settings that decide of the joined log alone: with others the parts stay as they are
OF_JOIN = ("session_gap_minutes", "valid_share", "test_share", "max_set_aside")


def check_parts(reader: ReaderBase) -> None:
    """Stop where a log cannot be cleaned by the parts asked for.

    Raises:
        UserError: naming the setting.
    """
    Part(0 if reader.part is None else reader.part, reader.parts)
    if reader.part is not None and reader.parts == 1:
        raise UserError(
            f"log.part={reader.part} is one of how many? Set log.parts=4 log.part=0,1,2,3 with -m, "
            "or leave log.part out to clean the log whole."
        )
    if isinstance(reader, TrueShopLog) and (reader.parts > 1 or reader.part is not None):
        raise UserError(
            f"log.parts={reader.parts}: the log {reader.name!r} is written by a true shop, whole; "
            "leave log.parts and log.part out."
        )


def part_folders(reader: ReaderBase, cache: Path, key: str) -> list[Path]:
    """Where the parts of a log are; none of a log that is cleaned whole."""
    if reader.parts == 1:
        return []
    return [cache / f"part-{key}-{number}-of-{reader.parts}" for number in range(reader.parts)]


def make_parts(reader: ReaderBase, folders: Sequence[Path], numbers: Sequence[int]) -> None:
    """Clean these parts one after another, each unless it is there."""
    for number in numbers:
        name, part = f"part {number} of {len(folders)}", Part(number, len(folders))

        def make(folder: Path = folders[number], name: str = name, part: Part = part) -> None:
            rows = clean_part(reader, folder, part, reader.memory_limit)["events"]
            aside = ", ".join(f"{count:,} {why}" for why, count in rows["set_aside"].items())
            progress.say(f"{name}: {rows['kept']:,} events kept, set aside: {aside or 'none'}")

        if made_once(folders[number], META, make):
            progress.say(f"{name}: reused")
