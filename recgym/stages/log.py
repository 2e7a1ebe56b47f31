"""The log: cleaned once for each input and settings, whole or by parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recgym import progress
from recgym.build import build
from recgym.confounding import is_confounded
from recgym.errors import UserError
from recgym.locks import made_once
from recgym.log_parts import OF_JOIN, check_parts, make_parts, part_folders
from recgym.logging_policy import LoggedPages
from recgym.logs.base import ReaderBase
from recgym.logs.log import META, SCHEMA_VERSION, Log, open_log
from recgym.logs.parts import FREE
from recgym.record import TrueShopLog
from recgym.types import Policy
from recgym.worlds.base import TrueShop

Settings = Mapping[str, Any]


def key_of(settings: Settings) -> str:
    """A short hash of settings that JSON can hold."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **settings}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_reader(settings: Settings) -> ReaderBase:
    """The reader that a ``conf/log`` entry describes."""
    # the world's own `_target_` waits until its log is written or a policy is valued in it
    reader: ReaderBase = build(settings, recursive=False)
    return reader


def prepare_log(
    settings: Settings, cache: Path, seconds: dict[str, float]
) -> tuple[Log, ReaderBase, bool]:
    """The cleaned log, its reader, and whether it was there already."""
    reader = open_reader(settings)
    if reader.part is not None:
        raise UserError(
            f"log.part={reader.part} is for python -m recgym.fit -m, which cleans each part of a "
            f"log in a job of its own: leave it out here; log.parts={reader.parts} joins the parts."
        )
    check_parts(reader)
    folder, parts = _log_folders(settings, reader, cache)
    total = reader.num_sessions if isinstance(reader, TrueShopLog) else 1

    def make() -> None:
        make_parts(reader, parts, range(len(parts)))
        reader.join(folder, parts) if parts else reader.clean(folder)

    with progress.stage("log", total, seconds):
        reused = made_once(folder, META, make)
        log = open_log(folder)
    return log, reader, reused


def prepare_part(settings: Settings, cache: Path) -> None:
    """Clean part ``log.part`` of ``log.parts``, unless it or the whole log is there already."""
    reader = open_reader(settings)
    check_parts(reader)
    folder, parts = _log_folders(settings, reader, cache)
    if (folder / META).exists():
        progress.say(f"{folder} holds the whole log already: no part is needed")
    elif reader.part is not None:
        make_parts(reader, parts, [reader.part])


def _log_folders(settings: Settings, reader: ReaderBase, cache: Path) -> tuple[Path, list[Path]]:
    """The folder of a log in the cache, however it is cleaned, and those of its parts."""
    decided = {k: v for k, v in settings.items() if k not in FREE}
    if decided.get("ads") is None:
        decided.pop("ads", None)  # a log that was kept before the setting is still found
    decided["content"] = reader.content_hash()
    of_part = {k: v for k, v in decided.items() if k not in OF_JOIN}
    return cache / f"log-{key_of(decided)}", part_folders(reader, cache, key_of(of_part))


def check_priced(log: Log, agent: str) -> None:
    """Policies are ranked by money: stop where the log holds none."""
    if not log.catalog().priced:
        raise UserError(
            f"the log {log.meta.get('source', log.folder)} holds no prices, so revenue is "
            f"undefined and agent={agent} has nothing to earn: use a log with a price column, "
            "or fit alone with python -m recgym.fit."
        )


def logging_policy(log: Log, reader: ReaderBase, shop: TrueShop | None) -> Policy | None:
    """The policy that filled the log's pages; None where the log does not say what was shown.

    Of a log from elsewhere only its pages are known: they are drawn at random. So they are where
    the policy looked at hidden taste, which a learned shop does not have.
    """
    page = log.sessions().page
    if page.item.shape[1] == 0:
        return None
    if isinstance(reader, TrueShopLog) and shop is not None:
        policy = reader.logging_policy(shop)
        if not is_confounded(policy):
            return policy
    return LoggedPages(page.item)
