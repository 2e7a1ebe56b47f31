"""``python -m experiments.benchmark``: which agent earns how much where the truth is known?

Every agent of ``conf/agent``, and DQN and PPO of Stable-Baselines3, are trained in true shops and
valued there, each seed on the same shoppers for all. What they see is read by a fit to the shop's
log, so that they know what a site can know. Scores are (V - V_random) ÷ (V_oracle - V_random) of
revenue a session; see `experiments.benchmarking.scores`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from experiments.benchmarking.cell import (
    DONE,
    FAILED,
    CellSettings,
    attempt,
    file_of,
    shop_of,
)
from experiments.benchmarking.plan import cells_of
from experiments.benchmarking.report import plot, table
from experiments.benchmarking.verdict import Outcome, content_of
from recgym import progress
from recgym.cli import command, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.shops import choose_device

SCHEMA_VERSION = 1
Attempt = tuple[int, str, dict[str, Any]]  # number of the cell, state, result or reason


def run_all(
    cells: list[CellSettings], folder: Path, cache: Path, device: torch.device, processes: int
) -> list[Outcome]:
    """Every cell's outcome; one that lies in ``folder`` is not run again."""
    missing = [i for i, cell in enumerate(cells) if not file_of(cell, folder).exists()]
    for cell in {cells[i].shop: cells[i] for i in missing}.values():
        progress.say(f"log and fit of {cell.shop}")
        shop_of(cell, cache, device)  # once, before cells run side by side
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    run = partial(_numbered, folder=folder, cache=cache, device=device)
    numbered = [(i, cells[i]) for i in missing]
    attempts = map(run, numbered) if processes == 1 else _side_by_side(run, numbered, processes)
    for count, (i, state, result) in enumerate(attempts, 1):
        found[i] = state, result
        cell, taken = cells[i], result.get("seconds")
        told = f"{taken:.1f} s of training" if state == DONE else f"{state}: {result['reason']}"
        progress.say(f"{count} of {len(missing)}: {cell.shop}, {cell.agent}, {cell.seed}: {told}")
    for i, cell in enumerate(cells):
        if i not in found:
            found[i] = attempt(cell, folder, cache, device)
    return [Outcome(cell, *found[i]) for i, cell in enumerate(cells)]


def _numbered(
    numbered: tuple[int, CellSettings], folder: Path, cache: Path, device: torch.device
) -> Attempt:
    number, cell = numbered
    return number, *attempt(cell, folder, cache, device)


def _side_by_side(
    run: Callable[[tuple[int, CellSettings]], Attempt],
    numbered: list[tuple[int, CellSettings]],
    processes: int,
) -> Iterator[Attempt]:
    """As they end; a fork would share torch's threads and locks, so each process starts anew."""
    if not numbered:
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_quiet)
    try:
        for future in as_completed([pool.submit(run, one) for one in numbered]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _quiet() -> None:
    """Two processes must not draw their bars over each other."""
    use_threads(1)
    progress.console.quiet = True


@command("benchmark")
def main(cfg: DictConfig) -> None:
    """Run all cells that are missing, then say what they show."""
    use_threads(1)
    planned, device = cells_of(cfg), choose_device(cfg.device)
    folder, begun = Path(cfg.folder), time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = run_all(planned, folder, Path(cfg.cache_dir), device, int(cfg.processes))
    budget: Any = OmegaConf.to_container(cfg.budgets[cfg.budget])
    content = {
        "schema_version": SCHEMA_VERSION,
        "budget": {"name": str(cfg.budget), **budget},
        "num_slots": int(cfg.num_slots),
        "processes": int(cfg.processes),
        **content_of(outcomes, str(cfg.compare_with)),
    }
    write_json(folder / "benchmark.json", content)
    text = table(content)
    (folder / "benchmark.md").write_text(text + "\n")
    plot(content, folder / "benchmark.png")
    progress.say("\n" + text)
    progress.say(f"files        {folder / 'benchmark.json'}, benchmark.md, benchmark.png")
    progress.say(f"done in {time.perf_counter() - begun:.0f} s")
    failed = [o for o in outcomes if o.state == FAILED]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(outcomes)} cells failed, the first one {failed[0].cell.key()} "
            f"({failed[0].result['reason']}): see {failed[0].result['trace']}; the same command "
            "runs them again."
        )


if __name__ == "__main__":
    main()
