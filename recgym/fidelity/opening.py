"""A finished run opened again, and the two sides that its scorecard compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recgym.errors import UserError
from recgym.fidelity.counts import blocks_of
from recgym.fidelity.frame import make_frame
from recgym.fidelity.score import Sides, make_plan
from recgym.fidelity.trace import SEED_BASE, STRANGERS, Trace, of_log, of_shop
from recgym.logging_policy import EmptyPages
from recgym.logs.base import ReaderBase
from recgym.logs.log import Log, open_log
from recgym.record import TrueShopLog
from recgym.runs import read_run
from recgym.stages.log import logging_policy, open_reader
from recgym.types import Split
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import rows_of
from recgym.users.store import load_model

LEAST_SESSIONS = 100  # of the real side: halves of fewer tell nothing
TRUE_SHOP, HELD_OUT = "true shop", "held-out log"


@dataclass(frozen=True)
class Run:
    """What `agents.train` or `recgym.fit` left in a folder."""

    folder: Path
    settings: dict[str, Any]
    summary: dict[str, Any]
    model: SequenceModel
    log: Log
    reader: ReaderBase


def open_run(folder: Path, device: torch.device) -> Run:
    """Open a run folder.

    Raises:
        UserError: if it is none, is damaged, or its log is gone.
    """
    settings, summary = read_run(folder, fits=True)
    model = load_model(folder / "model", device)
    model.requires_grad_(False)
    log = open_log(summary["log"]["folder"])
    return Run(folder, settings, summary, model, log, open_reader(settings["log"]))


@dataclass(frozen=True)
class Compared:
    """The sides of a scorecard and where they come from."""

    sides: Sides
    training: Trace  # the log's own
    reference: str  # TRUE_SHOP or HELD_OUT
    num_cut: int  # held-out sessions left out, since the log's end may have cut them off


def compare(
    run: Run, *, sessions: int, seed: int, halvings: int, resamples: int, device: torch.device
) -> Compared:
    """Simulate the run's learned shop, and gather what it is held against.

    Against a true shop ``sessions`` fresh sessions are played in both; against a log, as many are
    simulated as its held-out sessions number, at most ``sessions``.
    """
    log, reader, catalog = run.log, run.reader, run.model.catalog
    num_slots, num_cut = log.sessions().page.item.shape[1], 0
    world = reader.true_shop(str(device)) if isinstance(reader, TrueShopLog) else None
    if world is not None and isinstance(reader, TrueShopLog):
        # both sides under pages that both can be shown: see `recgym.stages.log.logging_policy`
        theirs = logging_policy(log, reader, world) or reader.logging_policy(world)
        first = SEED_BASE + STRANGERS + (seed << 32)
        real = of_shop(world, theirs, reader.num_slots, sessions, first)
        real = real if num_slots else real.without_pages()
    else:
        row_B, num_cut = log.held_out()
        _check_enough(len(row_B), num_cut, run)
        row_B = row_B[torch.randperm(len(row_B), generator=torch.Generator().manual_seed(seed))]
        real = of_log(log, row_B[:sessions].sort().values)
    policy = logging_policy(log, reader, world) or EmptyPages(num_slots)
    first, count = SEED_BASE + (seed << 32), real.num_sessions
    simulated = of_shop(run.model, policy, num_slots, count, first)
    if _whole_seconds(real):
        simulated = simulated.rounded()
    training = of_log(log, rows_of(log.sessions(), Split.TRAIN))
    rng = np.random.default_rng(seed)
    blocks = blocks_of(simulated, rng), blocks_of(real, rng)
    plan = make_plan(int(blocks[1].max()) + 1, int(blocks[0].max()) + 1, halvings, resamples, seed)
    frame = make_frame(real, training, catalog)
    sides = Sides(simulated, real, *blocks, frame, plan, world is not None)
    return Compared(sides, training, HELD_OUT if world is None else TRUE_SHOP, num_cut)


def _whole_seconds(real: Trace) -> bool:
    """Whether the site's clock ticks in seconds: that is no habit of its shoppers."""
    gap_S = real.sessions.event.gap
    return bool((gap_S == gap_S.round()).all())


def _check_enough(count: int, num_cut: int, run: Run) -> None:
    if count < LEAST_SESSIONS:
        cut = f", {num_cut:,} more may be cut off by the log's end" if num_cut else ""
        raise UserError(
            f"the log of run={run.folder} has {count:,} whole held-out sessions{cut}: expected at "
            f"least {LEAST_SESSIONS}; train on a longer log, or with a larger log.test_share."
        )
