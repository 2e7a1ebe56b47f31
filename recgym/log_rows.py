"""The rows of a log's files, made of what was recorded of each step; see `recgym.record`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from torch import Tensor

from recgym.types import DAY_MS, After, Catalog, Kind
from recgym.visit import CART_PLACES
from recgym.worlds.base import TrueShop

AFTER_EVENT = {After.FAVOURITE: "favourite", After.CART: "cart", After.BUY: "purchase"}
AFTER_DELAY_MS = 1  # what follows a view is written right behind it

Columns = dict[str, "np.ndarray[Any, Any]"]


def within(steps: Columns, catalog: Catalog, num_sessions: int, max_sessions: int) -> Columns:
    """The steps of sessions that begin within the calendar, of the first shoppers' sessions."""
    session = steps["session"]
    first = np.unique(session, return_index=True)[1]
    begun = np.repeat(steps["time"][first], np.diff([*first, len(session)]))
    inside = begun < catalog.start_ms + catalog.price.shape[0] * DAY_MS
    kept = np.unique(session[inside])
    last = kept[min(num_sessions, len(kept)) - 1] // max_sessions
    if len(kept) > num_sessions and kept[num_sessions] // max_sessions == last:
        last -= 1  # the shopper whose sessions would be cut
    inside &= session // max_sessions <= last
    return {name: value[inside] for name, value in steps.items()}


def event_rows(steps: Columns, shopper: Any, impressions: bool) -> Columns:
    """All events, by session and time; ``shopper`` is that of each session number."""
    viewed, checkout = steps["kind"] == Kind.VIEW, steps["kind"] == Kind.CHECKOUT
    parts: list[Columns] = []

    def add(mask: Any, event: str, delay_ms: int = 0, **changed: Any) -> None:
        part = {
            "shopper": shopper[steps["session"][mask]],
            "session": steps["session"][mask],
            "time": steps["time"][mask] + delay_ms,
            "event": np.full(int(mask.sum()), event),
            "item": steps["item"][mask],
            "price": steps["price"][mask],
            "quantity": np.ones(int(mask.sum()), dtype=np.int64),
            "page": steps["page"][mask],
            "position": steps["slot"][mask] if event == "view" else np.full(int(mask.sum()), -1),
        }
        parts.append({**part, **changed})

    add(viewed, "view")
    for after, name in AFTER_EVENT.items():
        add(viewed & (steps["after"] == after), name, AFTER_DELAY_MS)
    for place in range(CART_PLACES):
        mask = checkout & (steps["cart_item"][:, place] >= 0)
        # alike places of a cart are one row with a quantity: alike rows would be duplicates
        alike = (steps["cart_item"] == steps["cart_item"][:, [place]]) & (
            steps["cart_price"] == steps["cart_price"][:, [place]]
        )
        mask &= ~alike[:, :place].any(1)
        add(
            mask, "purchase",
            item=steps["cart_item"][mask, place], price=steps["cart_price"][mask, place],
            quantity=alike[mask].sum(1),
        )  # fmt: skip
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((rows["time"], rows["session"]))
    rows = {name: value[order] for name, value in rows.items()}
    if not impressions:
        del rows["page"], rows["position"]
    return rows


def impression_rows(steps: Columns, shopper: Any) -> Columns:
    """All items shown."""
    num_slots = steps["page_item"].shape[1]
    shown = steps["page_item"] >= 0
    row, _ = np.nonzero(shown)
    return {
        "page": steps["page"][row],
        "shopper": shopper[steps["session"][row]],
        "session": steps["session"][row],
        "time": steps["time"][row],
        "position": np.tile(np.arange(num_slots), len(shown))[shown.ravel()],
        "item": steps["page_item"][shown],
        "price": steps["page_price"][shown],
        "sponsored": steps["page_sponsored"][shown]
        if "page_sponsored" in steps
        else np.zeros(len(row), dtype=bool),
        "propensity": steps["propensity"][shown],
    }


def item_rows(world: TrueShop) -> Columns:
    """What the site knows of its items."""
    catalog = world.catalog
    return {
        "item": np.arange(catalog.num_items),
        "category": catalog.category.cpu().numpy(),
        "brand": world.brand.cpu().numpy(),
        "price": catalog.price.mean(0).cpu().numpy(),
    }


def shopper_rows(world: TrueShop, seed_B: Tensor, shopper: Any) -> Columns:
    """What the site knows of its shoppers; ``seed_B`` and ``shopper`` by session number."""
    first = np.unique(shopper, return_index=True)[1]
    seed_J = seed_B[torch.from_numpy(first)].to(world.catalog.category.device)
    profile = world.arrive(seed_J, torch.zeros_like(seed_J)).profile.cpu().numpy()
    columns = {f"profile_{j}": profile[:, j] for j in range(profile.shape[1])}
    return {"shopper": shopper[first], **columns}


def write(db: duckdb.DuckDBPyConnection, path: Path, columns: Columns) -> None:
    """As Parquet."""
    db.register("columns_to_write", columns)
    chosen = ", ".join(
        f'nullif("{name}", -1) AS "{name}"' if name == "position" else f'"{name}"'
        for name in columns
    )
    db.execute(f"COPY (SELECT {chosen} FROM columns_to_write) TO '{path}' (FORMAT parquet)")
    db.unregister("columns_to_write")
