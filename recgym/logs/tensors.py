"""A cleaned log's Parquet files as the arrays of ``steps`` and the tensors of ``types``."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recgym.logs.catalog import floats, ints
from recgym.logs.cleaning import count
from recgym.logs.profiles import build_profiles
from recgym.logs.source import columns_of
from recgym.logs.steps import Rows, Shown, Steps, of_page, page_items, page_prices, slots
from recgym.types import After, Catalog, Event, Kind, Page, Sessions, SessionStats, Split

EVENT_CODES = "CASE event WHEN 'view' THEN 0 WHEN 'favourite' THEN 1 WHEN 'cart' THEN 2 ELSE 3 END"


def read_rows(
    db: duckdb.DuckDBPyConnection, catalog: Catalog | None, sessions: range | None = None
) -> Rows:
    """The events in order, with prices from the catalogue where a row has none.

    ``sessions`` are those to read, renumbered from 0; all where None. Without a catalogue, items
    that are numbers stay as they are: the file is in order, and neither join nor sort is needed.
    """
    first, last = (sessions.start, sessions.stop) if sessions else (0, count(db, "sessions"))
    present = columns_of(db, "events")
    optional = ", ".join(
        f"e.{c}" if c in present else f"NULL::BIGINT AS {c}"
        for c in ("page", "position", "price", "quantity")
    )
    chosen = f"event <> 'remove' AND session >= {first} AND session < {last}"
    source, order = f"(SELECT * FROM events WHERE {chosen}) e", ""
    code = "e.item"
    if catalog is not None or columns_of(db, "events")["item"] != "BIGINT":
        source, code = f"{source} JOIN items i USING (item)", "i.code"
        order = "ORDER BY e.session, e.time, e.row"
    found = db.execute(
        f"SELECT e.session - {first} AS session, e.time, {EVENT_CODES} AS event, "
        f"{code} AS item, {optional} FROM {source} {order}"
    ).fetchnumpy()
    time_ms, item = ints(found["time"]), ints(found["item"])
    quantity = floats(found["quantity"])
    return Rows(
        session=ints(found["session"]),
        time_ms=time_ms,
        event=ints(found["event"]),
        item=item,
        page=ints(found["page"]),
        position=ints(found["position"]),
        price=_filled(floats(found["price"]), time_ms, item, catalog),
        quantity=np.where(np.isnan(quantity), 1.0, quantity),
    )


def _filled(
    price: npt.NDArray[np.float64],
    time_ms: npt.NDArray[np.int64],
    item: npt.NDArray[np.int64],
    catalog: Catalog | None,
) -> npt.NDArray[np.float64]:
    """Each row's own price, else the catalogue's price of that day, where there is a catalogue."""
    if catalog is None:
        return price
    day = catalog.day(torch.from_numpy(time_ms)).numpy()
    return np.where(price > 0, price, catalog.price.numpy()[day, item])


def read_shown(db: duckdb.DuckDBPyConnection, catalog: Catalog | None) -> Shown:
    """The impressions as one matrix of pages."""
    if not columns_of(db, "impressions"):
        none = np.zeros(0, dtype=np.int64)
        return Shown(np.zeros((0, 0), dtype=np.int64), np.zeros((0, 0)), none, none)
    found = db.execute(
        "SELECT p.page, p.session, p.time, p.position, p.price, i.code AS item "
        "FROM impressions p JOIN items i USING (item)"
    ).fetchnumpy()
    page, position = ints(found["page"]), ints(found["position"])
    item, time = ints(found["item"]), ints(found["time"])
    size = tuple(int(x.max()) + 1 if len(x) else 0 for x in (page, position))
    item_GK, price_GK = np.full(size, -1), np.zeros(size)
    session, time_ms = np.full(size[0], -1), np.zeros(size[0], dtype=np.int64)
    item_GK[page, position] = item
    price_GK[page, position] = _filled(floats(found["price"]), time, item, catalog)
    session[page], time_ms[page] = ints(found["session"]), time
    return Shown(item_GK, price_GK, session, time_ms)


def read_propensities(db: duckdb.DuckDBPyConnection, steps: Steps, shown: Shown) -> Tensor | None:
    """The chance of each slot's item given those above it, [S, K]; NaN where the log is silent.

    None where it holds none at all.
    """
    if "propensity" not in columns_of(db, "impressions"):
        return None
    found = db.execute("SELECT page, position, propensity FROM impressions").fetchnumpy()
    chance_GK = np.full(shown.item.shape, np.nan)
    chance_GK[ints(found["page"]), ints(found["position"])] = floats(found["propensity"])
    if np.isnan(chance_GK).all():
        return None
    return torch.from_numpy(of_page(steps, chance_GK, np.nan)).float()


def read_sponsored(db: duckdb.DuckDBPyConnection, steps: Steps, shown: Shown) -> Tensor | None:
    """Which slots held an ad, [S, K] bool; None where the log knows of none."""
    if "sponsored" not in columns_of(db, "impressions"):
        return None
    found = db.execute("SELECT page, position FROM impressions WHERE sponsored").fetchnumpy()
    if not len(found["page"]):
        return None
    ad_GK = np.zeros(shown.item.shape, dtype=bool)
    ad_GK[ints(found["page"]), ints(found["position"])] = True
    return torch.from_numpy(of_page(steps, ad_GK, False))


def build_sessions(db: duckdb.DuckDBPyConnection, steps: Steps, shown: Shown) -> Sessions:
    """The steps as tensors, with who the shopper is and which split the session is in."""
    found = db.execute(
        "SELECT h.code AS shopper, split FROM sessions s JOIN shoppers h USING (shopper) "
        "ORDER BY session"
    ).fetchnumpy()
    shopper = torch.from_numpy(ints(found["shopper"]))
    recorded = "position" in columns_of(db, "events")

    def real(value: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(value).float()

    event = Event(
        kind=torch.from_numpy(steps.kind),
        item=torch.from_numpy(steps.item),
        slot=torch.from_numpy(slots(steps, shown, recorded)),
        after=torch.from_numpy(steps.after),
        price=real(steps.price),
        quantity=real(steps.quantity),
        gap=real(steps.gap),
    )
    offset = np.searchsorted(steps.session, np.arange(len(shopper) + 1))
    return Sessions(
        event=event,
        page=Page(
            torch.from_numpy(page_items(steps, shown)),
            real(page_prices(steps, shown)),
            read_sponsored(db, steps, shown),
        ),
        time_ms=torch.from_numpy(steps.time_ms),
        offset=torch.from_numpy(offset),
        shopper=shopper,
        profile=build_profiles(db)[1][shopper],
        split=torch.from_numpy(ints(found["split"])),
    )


def session_stats(sessions: Sessions, paid_S: Tensor) -> SessionStats:
    """Sums per session; a log knows no chances, so credited_revenue is the revenue."""
    event, offset = sessions.event, sessions.offset
    owner_S = torch.repeat_interleave(torch.arange(len(offset) - 1), offset.diff())

    def total(value_S: Tensor) -> Tensor:
        zero = torch.zeros(len(offset) - 1, dtype=torch.float64)
        return zero.index_add(0, owner_S, value_S.double()).float()

    viewed, revenue = event.kind == Kind.VIEW, total(paid_S)
    return SessionStats(
        shopper=sessions.shopper,
        pages=total(torch.ones_like(event.kind)),
        views=total(viewed),
        impressions=total((sessions.page.item >= 0).sum(-1)),
        clicks=total(viewed & (event.slot >= 0)),
        carts=total(event.after == After.CART),
        orders=total((event.after == After.BUY) | (event.kind == Kind.CHECKOUT)),
        revenue=revenue,
        credited_revenue=revenue,
    )


def met_in_training(db: duckdb.DuckDBPyConnection) -> Tensor:
    """Items of an event or a page of a training session, [I] bool."""
    tables = [t for t in ("events", "impressions") if columns_of(db, t)]
    union = " UNION ".join(f"SELECT item, session FROM {t}" for t in tables)
    found = db.execute(
        f"SELECT i.code IN (SELECT i.code FROM ({union}) u JOIN sessions s USING (session) "
        f"JOIN items i USING (item) WHERE s.split = {int(Split.TRAIN)}) AS seen "
        f"FROM items i ORDER BY i.code"
    ).fetchnumpy()
    return torch.from_numpy(np.ma.filled(found["seen"], False).astype(bool))
