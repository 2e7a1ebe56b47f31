"""A session, or two side by side, in the terminal."""

from __future__ import annotations

from itertools import zip_longest

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from recgym.replay import wording
from recgym.replay.steps import Session, Step

WIDTH, AD_WIDTH = 66, 72  # columns of one session
GUTTER = 3


def step_text(step: Step, session: Session) -> RenderableType:
    """One page."""
    table = _table(wording.head(session))
    last = ""
    for cells, chosen in wording.rows(step, session):
        group = cells[0] if cells[0] in ("unshown", "alone") else "slot"
        if last and group != last:
            table.add_section()
        last = group
        style = "bold green" if chosen else "dim" if group != "slot" else None
        table.add_row(*cells, style=style)
    lines: list[RenderableType] = [Text(wording.title(step), style="bold"), table]
    lines.append(Text(f"chances  {wording.chances(step.chances)}"))
    if session.kinds:
        lines.append(Text(f"drawn    {wording.chances(step.drawn)}", style="dim"))
    lines.append(Text(f"shopper  {wording.happened(step)}", style="bold green"))
    if step.follows:
        lines.append(Text(f"then     {wording.followed(step)}"))
    if step.ads:
        for head, rows in wording.decided(step.ads):
            told = _table(head)
            for cells, chosen in rows:
                told.add_row(*cells, style="bold cyan" if chosen else "dim")
            lines += [Text(), told]
        lines.append(Text(f"ads      {wording.ad_money(step.ads)}", style="bold cyan"))
    return Group(*lines, Text(wording.money(step), style="dim"), Text())


def _table(head: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def session_text(session: Session) -> RenderableType:
    """One session."""
    steps = [step_text(step, session) for step in session.steps]
    return Group(Text(wording.opening(session), style="bold"), Text(), *steps)


def pair_text(one: Session, other: Session, *, width: int) -> RenderableType:
    """The same shopper under two policies: side by side, or in turns where that is too wide."""
    lines: list[RenderableType] = [Text(wording.opening(one), style="bold"), Text()]
    beside = width >= needed(one.has_ads)
    grid = Table.grid(padding=(0, GUTTER, 0, 0))
    for _ in range(2):
        grid.add_column(width=AD_WIDTH if one.has_ads else WIDTH, no_wrap=False)
    if beside:
        grid.add_row(Text(one.policy, style="bold cyan"), Text(other.policy, style="bold cyan"))
    for first, second in zip_longest(one.steps, other.steps):
        cells = [
            step_text(step, session) if step else Text("(over)", style="dim")
            for step, session in ((first, one), (second, other))
        ]
        if beside:
            grid.add_row(*cells)
        else:
            for session, cell in zip((one, other), cells, strict=True):
                lines += [Text(session.policy, style="bold cyan"), cell]
    return Group(*lines, grid) if beside else Group(*lines)


def needed(has_ads: bool) -> int:
    """Columns of two sessions side by side."""
    return 2 * ((AD_WIDTH if has_ads else WIDTH) + GUTTER)
