"""``python -m recgym.replay run=DIR shopper=N``: one shopper's session, page by page, and why."""

from __future__ import annotations

import sys

from omegaconf import DictConfig
from rich.console import Console

from recgym import progress
from recgym.cli import command, use_threads
from recgym.errors import UserError
from recgym.explain.figure import explained_text
from recgym.files import write_text
from recgym.replay import wording
from recgym.replay.explaining import Explained, explained
from recgym.replay.opening import Opened, open_run
from recgym.replay.page import page
from recgym.replay.playing import play
from recgym.replay.steps import Session
from recgym.replay.text import needed, pair_text, session_text
from recgym.runs import run_folder
from recgym.shops import choose_device


@command("replay")
def main(cfg: DictConfig) -> None:
    """Show one shopper's session, or the same shopper's under two policies."""
    folder = run_folder(cfg)
    if not isinstance(cfg.html, bool):
        raise UserError(f"html={cfg.html}: expected true or false.")
    for name in ("page", "methods"):
        if cfg[name] is not None and cfg.explain is None:
            raise UserError(
                f"{name}={cfg[name]} is about an explanation: set explain=click too, or another of "
                f"its questions, or leave {name} out."
            )
    use_threads(cfg.num_threads)
    run = open_run(folder, choose_device(cfg.device))
    sessions = played(run, cfg)
    reasons = []
    if cfg.explain is not None:
        reasons = [
            explained(run.model, session, str(cfg.explain), cfg.page, cfg.methods)
            for session in sessions
        ]
    show(sessions, reasons)
    if run.assumed:
        progress.say(f"assumed: {run.assumed}")
    if cfg.html:
        target = folder / file_name(sessions)
        write_text(target, page(sessions, reasons, run.assumed))
        progress.say(f"files        {target}")


def played(run: Opened, cfg: DictConfig) -> list[Session]:
    """The sessions asked for, after all that is wrong with the settings is said."""
    seed = run.seed_of(cfg.shopper)
    names = [str(run.agent if cfg.policy is None else cfg.policy)]
    if cfg.against is not None:
        names.append(str(cfg.against))
    shop = str(cfg.shop).lower()  # Hydra reads true as a truth value
    found = [(name, run.find(shop, name)) for name in names]
    return [
        play(
            turns,
            seed,
            names=(name, shop, int(cfg.shopper)),
            category_I=run.model.catalog.category,
        )
        for name, turns in found
    ]


def show(sessions: list[Session], reasons: list[Explained]) -> None:
    """All of it in the terminal."""
    console = progress.console
    if not console.is_terminal:  # and has no width to keep to
        console = Console(width=needed(sessions[0].has_ads), highlight=False)
    if len(sessions) == 1:
        console.print(session_text(sessions[0]))
    else:
        console.print(pair_text(*sessions, width=console.width))
    for reason in reasons:
        title = f"Page {reason.page} under {reason.policy}, {reason.question}"
        console.print(explained_text(title, reason.labels, reason.explanations))
        progress.say()
    for session in sessions:
        progress.say(wording.closing(session))
    if len(sessions) == 2:
        progress.say(wording.compared(*sessions))
    progress.say(wording.legend(sessions[0]))


def file_name(sessions: list[Session]) -> str:
    """Of the page, within the run's folder."""
    first = sessions[0]
    names = "-".join(session.policy.replace(":", ".").replace(" ", "_") for session in sessions)
    return f"replay-{first.shop}-shopper{first.shopper}-{names}.html"


if __name__ == "__main__":
    sys.exit(main())
