"""A session, or two side by side, in the terminal."""

from __future__ import annotations

from itertools import zip_longest

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from recgym.replay import wording
from recgym.replay.steps import Session, Step

WIDTH = 66  # columns of one session
GUTTER = 3


def step_text(step: Step, kinds: bool) -> RenderableType:
    """One page."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for number, name in enumerate(wording.head(kinds)):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    last = ""
    for cells, chosen in wording.rows(step, kinds):
        group = cells[0] if cells[0] in ("unshown", "alone") else "slot"
        if last and group != last:
            table.add_section()
        last = group
        style = "bold green" if chosen else "dim" if group != "slot" else None
        table.add_row(*cells, style=style)
    lines: list[RenderableType] = [Text(wording.title(step), style="bold"), table]
    lines.append(Text(f"chances  {wording.chances(step.chances)}"))
    if kinds:
        lines.append(Text(f"drawn    {wording.chances(step.drawn)}", style="dim"))
    lines.append(Text(f"shopper  {wording.happened(step)}", style="bold green"))
    if step.follows:
        lines.append(Text(f"then     {wording.followed(step)}"))
    return Group(*lines, Text(wording.money(step), style="dim"), Text())


def session_text(session: Session) -> RenderableType:
    """One session."""
    steps = [step_text(step, session.kinds) for step in session.steps]
    return Group(Text(wording.opening(session), style="bold"), Text(), *steps)


def pair_text(one: Session, other: Session, *, width: int) -> RenderableType:
    """The same shopper under two policies: side by side, or in turns where that is too wide."""
    lines: list[RenderableType] = [Text(wording.opening(one), style="bold"), Text()]
    beside = width >= needed()
    grid = Table.grid(padding=(0, GUTTER, 0, 0))
    for _ in range(2):
        grid.add_column(width=WIDTH, no_wrap=False)
    if beside:
        grid.add_row(Text(one.policy, style="bold cyan"), Text(other.policy, style="bold cyan"))
    for first, second in zip_longest(one.steps, other.steps):
        cells = [
            step_text(step, session.kinds) if step else Text("(over)", style="dim")
            for step, session in ((first, one), (second, other))
        ]
        if beside:
            grid.add_row(*cells)
        else:
            for session, cell in zip((one, other), cells, strict=True):
                lines += [Text(session.policy, style="bold cyan"), cell]
    return Group(*lines, grid) if beside else Group(*lines)


def needed() -> int:
    """Columns of two sessions side by side."""
    return 2 * (WIDTH + GUTTER)
