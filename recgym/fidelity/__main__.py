"""``python -m recgym.fidelity run=DIR``: how far a run's learned shop can be believed."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from recgym import progress
from recgym.cli import check_numbers, command, use_threads
from recgym.fidelity.opening import LEAST_SESSIONS, compare, open_run
from recgym.fidelity.page import page
from recgym.fidelity.scorecard import Effort, as_json, make, write_json
from recgym.fidelity.verdicts import FAIL
from recgym.fidelity.wording import table_lines
from recgym.files import write_text
from recgym.runs import run_folder
from recgym.shops import choose_device

NUMBERS = {
    "sessions": LEAST_SESSIONS,
    "seed": 0,
    "halvings": 20,
    "hard_halvings": 1,
    "resamples": 20,
}


@command("fidelity")
def main(cfg: DictConfig) -> None:
    """Score a finished run: a table here, scorecard.json and scorecard.html in its folder."""
    folder = run_folder(cfg)
    check_numbers(cfg, NUMBERS)
    use_threads(cfg.num_threads)
    device = choose_device(cfg.device)
    seconds: dict[str, float] = {}
    run = open_run(folder, device)
    with progress.stage("simulate", 2 * cfg.sessions, seconds):
        compared = compare(
            run,
            sessions=cfg.sessions,
            seed=cfg.seed,
            halvings=max(cfg.halvings, cfg.hard_halvings),
            resamples=cfg.resamples,
            device=device,
        )
    with progress.stage("score", 3.2, seconds):
        card = make(run, compared, Effort(cfg.resamples, cfg.hard_halvings, cfg.seed))
    write_json(run.folder / "scorecard.json", as_json(card, run, seconds))
    write_text(run.folder / "scorecard.html", page(card, run))
    for line, verdict in table_lines(card.rows):
        progress.console.print(line, markup=False, style="red" if verdict == FAIL else None)
    progress.say(f"\n{card.headline()}")
    taken = "  ".join(f"{name} {passed:.0f} s" for name, passed in seconds.items())
    progress.say(f"time         {taken}")
    progress.say(f"files        {run.folder / 'scorecard.html'}, {run.folder / 'scorecard.json'}")


if __name__ == "__main__":
    sys.exit(main())
