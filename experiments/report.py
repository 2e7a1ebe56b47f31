"""``python -m experiments.report SWEEP_DIR``: which policy, how sure, and what will it earn?

Reads the jobs of ``python -m agents.train -m ...``, or one run, and leaves ``report.html``, which
needs nothing beside itself, ``report.md`` and ``report.csv`` in their folder.
"""

from __future__ import annotations

import sys
import time
from html import escape
from importlib.resources import files
from pathlib import Path

from omegaconf import DictConfig

from experiments.reporting import contents, trust, wording
from experiments.reporting.document import Section, html, markdown
from experiments.reporting.findings import Findings
from experiments.reporting.rows import csv_text
from experiments.reporting.runs import Sweep, read_sweep
from recgym import progress
from recgym.cli import command
from recgym.errors import UserError
from recgym.files import write_text

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{below}</p></header>
<main>
{body}
</main>
</body>
</html>
"""


def page(sweep: Sweep, parts: list[Section]) -> str:
    """The one file that is put before others."""
    style = files("experiments.reporting").joinpath("page.css").read_text(encoding="utf-8")
    below = f"{sweep.folder.resolve().name}: {len(sweep.runs)} runs that are over"
    swept = ", ".join(sweep.swept) or "seeds alone"
    return PAGE.format(
        title=contents.TITLE, style=style, below=escape(f"{below}; swept: {swept}"),
        body=html(parts),
    )  # fmt: skip


def report(folder: Path) -> list[Findings]:
    """Write the three files; returns what they say."""
    sweep = read_sweep(folder)
    every = contents.all_findings(sweep)
    parts = contents.sections(sweep, every)
    write_text(folder / "report.csv", csv_text(every))
    write_text(folder / "report.md", markdown(contents.TITLE, parts))
    write_text(folder / "report.html", page(sweep, parts))
    return every


def said(found: Findings) -> list[str]:
    """The three answers for the terminal."""
    answers = wording.answers(found)
    where = [f"\n{found.arena.title}"] if found.arena.title else [""]
    lines = [
        f"which policy?       {answers.which}. {answers.verdict}",
        f"how sure?           {answers.sure}. {answers.sure_more}",
        f"what will it earn?  {answers.earn} {answers.earn_more}",
    ]
    lines += [f"warning             {line}" for line in trust.alarms(found)]
    return [*where, *lines, *([contents.crn_line(found)] if found.trials else [])]


@command("report")
def _main(cfg: DictConfig) -> None:
    """Report on a sweep."""
    if cfg.sweep is None:
        raise UserError(
            "sweep is missing: name the folder, as in python -m experiments.report "
            "outputs/sweeps/2026-01-31_12-00-00."
        )
    begun, folder = time.perf_counter(), Path(str(cfg.sweep))
    for found in report(folder):
        for line in said(found):
            progress.say(line)
    progress.say(f"\nfiles        {folder / 'report.html'}, report.md, report.csv")
    progress.say(f"done in {time.perf_counter() - begun:.0f} s")


def named(argument: str) -> str:
    """A bare folder as the setting that Hydra reads."""
    if argument.startswith("-") or "=" in argument:
        return argument
    quoted = argument.replace("\\", "\\\\").replace("'", "\\'")
    return f"sweep='{quoted}'"


def main() -> None:
    """Take a folder by its place, as well as by its name."""
    before = sys.argv
    sys.argv = [before[0], *(named(argument) for argument in before[1:])]
    try:
        _main()
    finally:
        sys.argv = before


if __name__ == "__main__":
    main()
