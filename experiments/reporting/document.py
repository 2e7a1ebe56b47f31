"""A report's parts, and the same parts as Markdown and as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from experiments.reporting.figures import Figure, html_of


@dataclass(frozen=True)
class Table:
    """Rows of text; ``shade`` of a cell is a share of a colour from 0 to 1."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    shade: Sequence[Sequence[float | None]] | None = None
    bold: int | None = None  # a row
    wraps: bool = False  # whether its cells are sentences


@dataclass(frozen=True)
class Cards:
    """Questions with a short answer and what it rests on."""

    rows: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Lines:
    """Sentences, as a list."""

    rows: Sequence[str]
    warning: bool = False


Block = str | Table | Cards | Lines | Figure


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    title: str
    blocks: Sequence[Block]
    level: int = 2


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The document without its figures."""
    lines = [f"# {title}", ""]
    for section in sections:
        parts = [_as_markdown(block) for block in section.blocks if not isinstance(block, Figure)]
        if parts:
            lines += [f"{'#' * section.level} {section.title}", "", *(p + "\n" for p in parts)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _as_markdown(block: Block) -> str:
    if isinstance(block, Table):
        body = [
            [f"**{text}**" if number == block.bold else text for text in row]
            for number, row in enumerate(block.rows)
        ]
        rows = [list(block.head), ["---"] * len(block.head), *body]
        shown = [f"| {' | '.join(text.replace('|', '/') for text in row)} |" for row in rows]
        return "\n".join([*([f"{block.title}\n"] if block.title else []), *shown])
    if isinstance(block, Cards):
        return "\n".join(f"- {question} **{short}** {more}" for question, short, more in block.rows)
    if isinstance(block, Lines):
        mark = "- Warning: " if block.warning else "- "
        return "\n".join(f"{mark}{line}" for line in block.rows)
    return str(block)


def html(sections: Sequence[Section]) -> str:
    """The document's body, one element a section."""
    parts = []
    for number, section in enumerate(sections):
        body = "".join(_as_html(block, f"s{number}-") for block in section.blocks)
        level = section.level
        parts.append(
            f"<section><h{level}>{escape(section.title)}</h{level}>{_in_rows(body)}</section>"
        )
    return "\n".join(parts)


def _in_rows(body: str) -> str:
    """Neighbouring figures side by side."""
    return re.sub(
        r"(?:<figure .*?</figure>)+", lambda m: f'<div class="figures">{m[0]}</div>', body,
        flags=re.DOTALL,
    )  # fmt: skip


def _as_html(block: Block, prefix: str) -> str:
    if isinstance(block, Figure):
        return html_of(block, prefix)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Cards):
        cards = [
            f'<div class="card"><h3>{escape(question)}</h3><p class="short">{escape(short)}</p>'
            f"<p>{escape(more)}</p></div>"
            for question, short, more in block.rows
        ]
        return f'<div class="cards">{"".join(cards)}</div>'
    if isinstance(block, Lines):
        kind = ' class="warning"' if block.warning else ""
        return f"<ul{kind}>{''.join(f'<li>{escape(line)}</li>' for line in block.rows)}</ul>"
    return f"<p>{escape(block)}</p>"


def _table(block: Table) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in block.head)
    rows = []
    for number, row in enumerate(block.rows):
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        for column, text in enumerate(row[1:], 1):
            shade = block.shade[number][column] if block.shade else None
            style = "" if shade is None else f' style="--share:{100 * shade:.0f}%" class="shaded"'
            cells.append(f"<td{style}>{escape(text)}</td>")
        bold = ' class="bold"' if number == block.bold else ""
        rows.append(f"<tr{bold}>{''.join(cells)}</tr>")
    wraps = ' class="wraps"' if block.wraps else ""
    caption = f"<caption>{escape(block.title)}</caption>" if block.title else ""
    return (
        f'<div class="scroll"><table{wraps}>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
