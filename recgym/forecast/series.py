"""A log as series of sales and traffic, and the rules for what is awkward in them.

- *Span.* The first and the last calendar day are left out: a log may begin and end within them.
  Days and hours are of the log's clock (UTC).
- *Zeros.* A step without an event is a 0 where the shop was open.
- *Closed hours.* A place in the week (weekday, or weekday and hour) at which the whole shop had no
  event before the validation block is closed: forecast as 0 by every model, and not scored, since
  it would flatter all of them. What happens there later all the same is counted in the report.
- *Closed days (gaps).* A day on which the whole shop had no event at all is not scored, and takes
  the values of a week before, so that no model learns from it and none sees past its origin.
- *Returns.* The log format has no event for them: units and revenue are gross.
- *Late items.* A series begins with its first value above 0; what comes before is not learned from.
  One that leaves less than a window and a horizon before the validation block is set aside, as is
  one of zeros alone, and what ranks beyond the largest `max_series`; each with its reason.
- *Constant series* are forecast like any other; their MASE is not defined and not averaged.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from recgym.errors import UserError
from recgym.forecast.blocks import Blocks
from recgym.forecast.clock import STEP_MS, Bools, Clock, Floats, Ints
from recgym.logs.log import Log
from recgym.logs.source import columns_of
from recgym.types import DAY_MS

MEASURES = ("units", "revenue", "sessions", "views")
LEVELS = ("shop", "category", "item")
NEEDS = {"units": "purchase", "revenue": "purchase", "views": "view"}  # measure -> event
KEYS = {
    "shop": "'shop'",
    "category": "coalesce(CAST(i.category AS VARCHAR), 'unknown')",
    "item": "CAST(e.item AS VARCHAR)",
}
AMOUNTS = {"units": "coalesce(e.quantity, 1)", "revenue": "e.price * coalesce(e.quantity, 1)",
           "views": "1"}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """Series of one measure at one level."""

    measure: str
    level: str
    names: list[str]  # of the S series kept, the largest first
    value: Floats  # [S, T], closed days filled
    start: Ints  # [S] step of the first value above 0
    set_aside: dict[str, int]  # reason -> number of series


def measures_of(log: Log) -> list[str]:
    """Measures that the log holds."""
    held = set(log.meta["events"])
    found = [m for m in MEASURES if NEEDS.get(m) is None or NEEDS[m] in held]
    priced = "price" in columns_of(log.db, "events")
    return [m for m in found if m != "revenue" or priced]


def check_measures(log: Log, asked: list[str] | None) -> list[str]:
    """The measures to forecast: those asked for, or all that the log holds."""
    held = measures_of(log)
    missing = [m for m in asked or [] if m not in held]
    if missing:
        what = "prices" if missing[0] == "revenue" and "units" in held else NEEDS[missing[0]] + "s"
        raise UserError(
            f"measures={asked}: the log {log.meta['source']} holds no {what}, so it has no "
            f"{missing[0]}; expected some of {', '.join(held)}."
        )
    return asked or held


def whole_days(log: Log, until: str | None) -> tuple[int, int]:
    """First whole day, in days since 1970, and the number of whole days."""
    first, last = log.db.execute("SELECT min(time), max(time) FROM events").fetchall()[0]
    begin, end = first // DAY_MS + 1, last // DAY_MS
    if until is not None:
        try:
            end = min(end, int(np.datetime64(until, "D").astype(np.int64)))
        except ValueError:
            raise UserError(f"until={until}: expected a day such as 2011-10-15.") from None
    return begin, max(0, end - begin)


def make_clock(log: Log, step_name: str, blocks: Blocks, begin: int, num_days: int) -> Clock:
    """The time axis, with what of it is open; opening hours are read before the validation block.

    The horizon after the log's end has the usual hours too.
    """
    per_day = DAY_MS // STEP_MS[step_name]
    length = num_days * per_day
    step = np.arange(length + blocks.horizon)
    blank = Clock(step_name, begin * DAY_MS, length, np.ones(0, dtype=bool), np.ones(0, dtype=bool))
    count_T = _sums(log, "SELECT 'shop', time, 1.0 FROM events", blank)[1][0]
    slot, known = blank.slot(step), slice(0, blocks.valid[0])
    usual = (np.bincount(slot[known], count_T[known], minlength=blank.season) > 0)[slot]
    busy = np.bincount(step[:length] // per_day, count_T) > 0
    open_T = usual[:length] & busy[step[:length] // per_day]
    return Clock(step_name, begin * DAY_MS, length, usual, open_T)


def closed_days(log: Log, clock: Clock) -> Bools:
    """Steps of days on which the whole shop had no event, [T]."""
    count_T = _sums(log, "SELECT 'shop', time, 1.0 FROM events", clock)[1][0]
    day_T = np.arange(clock.num_steps) // clock.per_day
    closed: Bools = np.bincount(day_T, count_T)[day_T] == 0
    return closed


def outside_hours(log: Log, clock: Clock) -> int:
    """Events on steps that are taken for closed."""
    count_T = _sums(log, "SELECT 'shop', time, 1.0 FROM events", clock)[1][0]
    return int(count_T[~clock.usual[: clock.num_steps]].sum())


def make_panel(
    log: Log, measure: str, level: str, clock: Clock, blocks: Blocks, max_series: int
) -> Panel:
    """The series that can be forecast, by the rules above."""
    names, value_ST = _sums(log, _rows(log, measure, level), clock)
    before, aside = blocks.valid[0], Counter[str]()
    total = value_ST[:, :before].sum(1)
    start = np.where(total > 0, (value_ST > 0).argmax(1), clock.num_steps)
    late = start > before - blocks.window - blocks.horizon
    aside["nothing before the validation block"] = int((total <= 0).sum())
    aside["begins too late for a window and a horizon"] = int((late & (total > 0)).sum())
    kept = np.flatnonzero(~late)
    kept = kept[np.argsort(-total[kept], kind="stable")]
    aside["beyond max_series"] = max(0, len(kept) - max_series)
    kept = kept[:max_series]
    value_ST = filled(value_ST[kept], closed_days(log, clock), clock.season)
    value_ST = np.where(clock.usual[: clock.num_steps], value_ST, 0.0)
    given = {reason: number for reason, number in aside.items() if number}
    return Panel(measure, level, [names[i] for i in kept], value_ST, start[kept], given)


def filled(value_ST: Floats, closed_T: Bools, season: int) -> Floats:
    """Values with those of a week before on closed days; 0 where that is before the log."""
    value_ST = value_ST.copy()
    for t in np.flatnonzero(closed_T):
        if t >= season:
            value_ST[:, t] = value_ST[:, t - season]
    return value_ST


def _rows(log: Log, measure: str, level: str) -> str:
    """SQL for key, time and amount of each row that counts."""
    key = KEYS[level]
    joined = "events e JOIN items i USING (item)"
    if measure == "sessions":  # a session counts where it first touched the key
        return f"SELECT {key}, min(e.time), 1.0 FROM {joined} GROUP BY e.session, {key}"
    amount = AMOUNTS[measure]
    if "quantity" not in columns_of(log.db, "events"):
        amount = amount.replace("coalesce(e.quantity, 1)", "1")
    return f"SELECT {key}, e.time, {amount} FROM {joined} WHERE e.event = '{NEEDS[measure]}'"


def _sums(log: Log, rows: str, clock: Clock) -> tuple[list[str], Floats]:
    """Keys in their order, and the sums [S, T] of their amounts."""
    found = log.db.execute(
        f"WITH given(key, time, amount) AS ({rows}) SELECT dense_rank() OVER (ORDER BY key) - 1 "
        f"AS series, key, CASE WHEN time < {clock.start_ms} THEN -1 "  # // rounds towards 0
        f"ELSE (time - {clock.start_ms}) // {STEP_MS[clock.step]} END AS step, "
        f"CAST(coalesce(sum(amount), 0) AS DOUBLE) AS amount FROM given GROUP BY key, step "
        f"ORDER BY key"
    ).fetchnumpy()
    series = np.asarray(found["series"], dtype=np.int64)
    names = [str(key) for key in found["key"][np.unique(series, return_index=True)[1]]]
    step = np.asarray(found["step"], dtype=np.int64)
    value_ST = np.zeros((max(1, len(names)), clock.num_steps))
    inside = (step >= 0) & (step < clock.num_steps)
    np.add.at(value_ST, (series[inside], step[inside]), found["amount"][inside])
    return names or ["shop"], value_ST
