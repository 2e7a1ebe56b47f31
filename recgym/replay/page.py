"""A session, or two side by side, as one HTML page: no script, no network, light and dark."""

from __future__ import annotations

from html import escape
from itertools import zip_longest

from recgym.explain.figure import TITLES, figure
from recgym.fidelity.page import STYLE
from recgym.replay import wording
from recgym.replay.explaining import Explained
from recgym.replay.steps import Session, Step

MORE = """
body { max-width: 96rem; }
table { font-size: .86rem; }
td:last-child, th:last-child { text-align: right; }
.steps { display: grid; gap: .5rem 2rem; align-items: start; }
.one { max-width: 46rem; }
.two { grid-template-columns: 1fr 1fr; }
@media (max-width: 60rem) { .two { grid-template-columns: 1fr; } }
.step { border-top: 2px solid var(--line); padding-top: .4rem; min-width: 0; }
.step h3 { font-size: 1rem; margin: .2rem 0; }
.did { color: var(--green); font-weight: 700; margin: .3rem 0; }
.chances { margin: .2rem 0; color: var(--ink); }
tr.chosen td { color: var(--green); font-weight: 700; }
tr.beside td { color: var(--faint); }
td .bar { display: inline-block; height: .6rem; background: var(--green); opacity: .55;
  margin-right: .4rem; vertical-align: middle; }
.fails { color: var(--red); }
.pictures { grid-template-columns: repeat(auto-fit, minmax(min(32rem, 100%), 1fr)); }
figure { max-width: 40rem; }
"""


def page(sessions: list[Session], explained: list[Explained], assumed: str | None) -> str:
    """The whole page of one session, or of two."""
    first = sessions[0]
    names = " and ".join(session.policy for session in sessions)
    grid = "steps two" if len(sessions) == 2 else "steps one"
    lines = [f"<p>{escape(wording.closing(session))}.</p>" for session in sessions]
    if len(sessions) == 2:
        lines.append(f"<p>{escape(wording.compared(*sessions))}</p>")
    if assumed:
        lines.append(f"<p>assumed: {escape(assumed)}</p>")
    heads = "".join(f"<h2>{escape(session.policy)}</h2>" for session in sessions)
    steps = "\n".join(
        _step(step, session)
        for row in zip_longest(*(session.steps for session in sessions))
        for step, session in zip(row, sessions, strict=True)
    )
    reasons = "\n".join(_explained(one) for one in explained)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shopper {first.shopper} under {escape(names)}</title>
<style>{STYLE}{MORE}</style>
</head>
<body>
<h1>{escape(wording.opening(first))}</h1>
{"".join(lines)}
{reasons}
<div class="{grid}">
{heads}
{steps}
</div>
<p>{escape(wording.legend(first))}</p>
</body>
</html>
"""


def _step(step: Step | None, session: Session) -> str:
    if step is None:
        return '<div class="step faint">(over)</div>'
    chance = wording.HEAD.index("chance")
    rows = []
    for cells, chosen in wording.rows(step, session):
        beside = cells[0] in ("unshown", "alone")
        kind = "chosen" if chosen else "beside" if beside else ""
        row = [f"<td>{escape(cell)}</td>" for cell in cells]
        if cells[chance]:
            width = float(cells[chance].split()[0])
            row[chance] = (
                f'<td><span class="bar" style="width:{width * 0.1:.2f}rem"></span>'
                f"{escape(cells[chance])}</td>"
            )
        rows.append(f'<tr class="{kind}">{"".join(row)}</tr>')
    lines = [f"chances: {wording.chances(step.chances)}"]
    if session.kinds:
        lines.append(f"drawn: {wording.chances(step.drawn)}")
    told = "".join(f'<p class="chances">{escape(line)}</p>' for line in lines)
    then = f'<p class="chances">then: {escape(wording.followed(step))}</p>' if step.follows else ""
    return (
        f'<div class="step"><h3>{escape(wording.title(step))}</h3>'
        f"{_table(wording.head(session), rows)}{told}"
        f'<p class="did">{escape(wording.happened(step))}</p>{then}{_ads(step)}'
        f"<p>{escape(wording.money(step))}</p></div>"
    )


def _table(head: tuple[str, ...], rows: list[str]) -> str:
    """Of rows that are HTML already."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return (
        f'<div class="scroll"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _ads(step: Step) -> str:
    """What was decided about the page's ads, and what they brought."""
    if step.ads is None:
        return ""
    tables = []
    for head, rows in wording.decided(step.ads):
        drawn = [
            f'<tr class="{"chosen" if chosen else ""}">'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + "</tr>"
            for cells, chosen in rows
        ]
        tables.append(_table(head, drawn))
    return f'{"".join(tables)}<p class="did">{escape(wording.ad_money(step.ads))}</p>'


def _explained(one: Explained) -> str:
    drawn = []
    for explanation in one.explanations:
        kind = "" if explanation.holds else ' class="fails"'
        drawn.append(
            f"<figure>{figure(one.labels, explanation)}<figcaption>"
            f"{escape(TITLES.get(explanation.method, explanation.method))}: "
            f"<span{kind}>{escape(explanation.verdict)}</span></figcaption></figure>"
        )
    chance = one.explanations[0].log_prob
    return (
        f"<h2>{escape(one.policy)}, page {one.page}: {escape(one.question)}</h2>"
        f"<p>Log-probability {chance:.3f}, to which each earlier event adds (nats):</p>"
        f'<div class="pictures">{"".join(drawn)}</div>'
    )
