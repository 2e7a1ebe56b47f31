"""One progress bar a stage; silent where the output is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

console = Console(highlight=False, soft_wrap=True)
_running: ContextVar[tuple[Progress, TaskID] | None] = ContextVar("running", default=None)


@contextmanager
def stage(title: str, total: float, seconds: dict[str, float] | None = None) -> Iterator[None]:
    """Show a bar until the block ends; its duration is added to ``seconds[title]``."""
    begun = time.perf_counter()
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        token = _running.set((bar, task))
        try:
            yield
            bar.update(task, completed=total)
        finally:
            _running.reset(token)
            if seconds is not None:
                passed = time.perf_counter() - begun
                seconds[title] = seconds.get(title, 0.0) + passed


def advance(amount: float) -> None:
    """Move the running stage's bar on; without one, nothing happens."""
    running = _running.get()
    if running is not None:
        running[0].advance(running[1], amount)


def say(text: str = "") -> None:
    """A line for the user."""
    console.print(text, markup=False)


@contextmanager
def into(file: Path) -> Iterator[None]:
    """Write lines to this file, after what it holds, and show no bars, until the block ends."""
    before = console._file  # its property would set standard output for ever
    with file.open("a") as stream:
        console._file = stream
        try:
            yield
        finally:
            console._file = before
