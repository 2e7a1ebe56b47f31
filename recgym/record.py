"""Writing a log: a true shop under a logging policy, recorded as a site would record it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from torch import Tensor

from recgym.logging_policy import LoggingPolicy
from recgym.rollout import rollout
from recgym.simulator import Simulator, SimState
from recgym.spaces import ObservationSpec
from recgym.types import After, Kind, Observation, Outcome
from recgym.visit import CART_PLACES
from recgym.worlds.base import TrueShop

MAX_PAGES = 200  # as in `recgym.rollout`: page ids are session * MAX_PAGES + page
AFTER_EVENT = {After.FAVOURITE: "favourite", After.CART: "cart", After.BUY: "purchase"}
AFTER_DELAY_MS = 1  # what follows a view is written right behind it


def shoppers_of(num_sessions: int, seed: int, mean_sessions: float) -> tuple[Tensor, Tensor]:
    """Lane seeds and session numbers of a log's sessions, each [B] int64.

    The number of sessions of a shopper is geometric with the given mean.
    """
    rng = np.random.default_rng(seed)
    count = rng.geometric(1.0 / mean_sessions, size=num_sessions)
    shopper = np.repeat(np.arange(num_sessions), count)[:num_sessions]
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    session = np.arange(num_sessions) - first[shopper]
    return torch.from_numpy(shopper + (seed << 32)), torch.from_numpy(session)


class _Recorder:
    """Collects what a site would write down of each step."""

    def __init__(self, policy: LoggingPolicy) -> None:
        self.policy = policy
        self.propensity: Tensor | None = None
        self.parts: dict[str, list[Tensor]] = {}

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        item_NK, self.propensity = self.policy.act_with_propensity(observation)
        return item_NK

    def step(
        self, index_N: Tensor, state: SimState, observation: Observation, outcome: Outcome
    ) -> None:
        event, page = outcome.event, outcome.page
        assert self.propensity is not None
        row = {
            "session": index_N,
            "page": index_N * MAX_PAGES + state.visit.page_number,
            "time": state.visit.time_ms,
            "kind": event.kind,
            "item": event.item,
            "slot": event.slot,
            "after": event.after,
            "price": event.price,
            "page_item": page.item,
            "page_price": page.price,
            "propensity": self.propensity,
            "cart_item": torch.where(
                (event.kind == Kind.CHECKOUT).unsqueeze(-1), state.visit.cart_item, -1
            ),
            "cart_price": state.visit.cart_price,
        }
        for name, value in row.items():
            self.parts.setdefault(name, []).append(value.cpu())

    def columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """All steps in the order of sessions and pages."""
        joined = {name: torch.cat(parts) for name, parts in self.parts.items()}
        order = joined["page"].argsort()
        return {name: value[order].numpy() for name, value in joined.items()}


def write_log(
    world: TrueShop,
    policy: LoggingPolicy,
    folder: Path,
    *,
    num_sessions: int,
    seed: int,
    mean_sessions: float = 2.5,
    impressions: bool = True,
    progress: Callable[[int], Any] | None = None,
) -> None:
    """Write events, impressions, items and shoppers (DESIGN's log format) into ``folder``.

    With ``impressions=False`` it is a bare click log of the same sessions: no pages, no positions.
    """
    simulator = Simulator(world, num_slots=policy.num_slots, expected_revenue=False)
    spec = ObservationSpec(simulator, "history")
    seed_B, session_B = shoppers_of(num_sessions, seed, mean_sessions)
    recorder = _Recorder(policy)
    rollout(
        spec, recorder, seed_B, session_B,
        max_pages=MAX_PAGES, on_step=recorder.step, progress=progress,
    )  # fmt: skip
    steps = recorder.columns()
    shopper = (seed_B - (seed << 32)).numpy()
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as db:
        _write(db, folder / "events.parquet", _event_rows(steps, shopper, impressions))
        if impressions:
            _write(db, folder / "impressions.parquet", _impression_rows(steps, shopper))
        _write(db, folder / "items.parquet", _item_rows(world))
        _write(db, folder / "shoppers.parquet", _shopper_rows(world, seed_B, shopper))


Columns = dict[str, "np.ndarray[Any, Any]"]


def _event_rows(steps: Columns, shopper: Any, impressions: bool) -> Columns:
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
            "page": steps["page"][mask],
            "position": steps["slot"][mask] if event == "view" else np.full(int(mask.sum()), -1),
        }
        parts.append({**part, **changed})

    add(viewed, "view")
    for after, name in AFTER_EVENT.items():
        add(viewed & (steps["after"] == after), name, AFTER_DELAY_MS)
    for place in range(CART_PLACES):
        mask = checkout & (steps["cart_item"][:, place] >= 0)
        add(
            mask, "purchase",
            item=steps["cart_item"][mask, place], price=steps["cart_price"][mask, place],
        )  # fmt: skip
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((rows["time"], rows["session"]))
    rows = {name: value[order] for name, value in rows.items()}
    if not impressions:
        del rows["page"], rows["position"]
    return rows


def _impression_rows(steps: Columns, shopper: Any) -> Columns:
    num_slots = steps["page_item"].shape[1]
    shown = steps["page_item"] >= 0
    row, slot = np.nonzero(shown)
    return {
        "page": steps["page"][row],
        "shopper": shopper[steps["session"][row]],
        "session": steps["session"][row],
        "time": steps["time"][row],
        "position": np.tile(np.arange(num_slots), len(shown))[shown.ravel()],
        "item": steps["page_item"][shown],
        "price": steps["page_price"][shown],
        "sponsored": np.zeros(len(row), dtype=bool),
        "propensity": steps["propensity"][shown],
    }


def _item_rows(world: TrueShop) -> Columns:
    catalog = world.catalog
    return {
        "item": np.arange(catalog.num_items),
        "category": catalog.category.cpu().numpy(),
        "brand": world.brand.cpu().numpy(),
        "price": catalog.price.mean(0).cpu().numpy(),
    }


def _shopper_rows(world: TrueShop, seed_B: Tensor, shopper: Any) -> Columns:
    first = np.unique(shopper, return_index=True)[1]
    seed_J = seed_B[torch.from_numpy(first)].to(world.catalog.category.device)
    profile = world.arrive(seed_J, torch.zeros_like(seed_J)).profile.cpu().numpy()
    columns = {f"profile_{j}": profile[:, j] for j in range(profile.shape[1])}
    return {"shopper": shopper[first], **columns}


def _write(db: duckdb.DuckDBPyConnection, path: Path, columns: Columns) -> None:
    db.register("columns_to_write", columns)
    chosen = ", ".join(
        f'nullif("{name}", -1) AS "{name}"' if name == "position" else f'"{name}"'
        for name in columns
    )
    db.execute(f"COPY (SELECT {chosen} FROM columns_to_write) TO '{path}' (FORMAT parquet)")
    db.unregister("columns_to_write")


def fingerprint(settings: dict[str, Any]) -> str:
    """A hash of settings that JSON can hold."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
