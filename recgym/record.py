"""Writing a log: a true shop under a logging policy, recorded as a site would record it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch
from torch import Tensor

from recgym import progress
from recgym.build import build
from recgym.confounding import SeeingPolicy, logging_spec
from recgym.logging_policy import LoggingPolicy
from recgym.logs.base import Log
from recgym.logs.folder import Folder
from recgym.rollout import rollout
from recgym.simulator import SimState
from recgym.types import After, Kind, Observation, Outcome
from recgym.visit import CART_PLACES
from recgym.worlds.base import SeeingShop, TrueShop

LAW_VERSION = 2  # raised when the same settings come to mean other shoppers: logs are kept by it
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
    spec = logging_spec(world, policy, policy.num_slots, expected_revenue=False)
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


def _impression_rows(steps: Columns, shopper: Any) -> Columns:
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


@dataclass(kw_only=True)
class TrueShopLog(Folder):
    """A log that a true shop writes when it is read.

    Attributes:
        world: keywords of the true shop, with its ``_target_``.
        seed: of the shoppers.
        num_sessions: sessions written.
        mean_sessions: of a shopper.
        num_slots: K, slots of a page.
        share: of affinity, popularity, uniform and empty pages in the logging mixture.
        sharpness: of the affinity softmax.
        impressions: False strips the log to bare clicks.
    """

    name: str = "true shop"
    world: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    num_sessions: int = 60_000
    mean_sessions: float = 2.5
    num_slots: int = 10
    share: list[float] = field(default_factory=lambda: [0.68, 0.25, 0.05, 0.02])
    sharpness: float = 2.0
    impressions: bool = True

    def source(self) -> str:
        """The world, since the raw files are gone once they are clean."""
        return f"{self.world['_target_']}, seed {self.seed}"

    def content_hash(self) -> str:
        """Of the settings, which decide every row."""
        settings = {k: v for k, v in vars(self).items() if k not in ("path", "memory_limit")}
        text = json.dumps({"law": LAW_VERSION, **settings}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def true_shop(self, device: str = "cpu") -> TrueShop:
        """The shop behind the log: for writing it, and for valuing policies."""
        shop: TrueShop = build(self.world, device=device)
        return shop

    def logging_policy(self, shop: TrueShop) -> LoggingPolicy:
        """The policy that fills the log's pages."""
        # the site knew how famous its items were, flattened, before the log began
        popularity_I = (0.7 * shop.fame).exp()
        settings: dict[str, Any] = {
            "num_slots": self.num_slots,
            "share": tuple(self.share),
            "sharpness": self.sharpness,
        }
        if isinstance(shop, SeeingShop) and shop.logger_sees:
            return SeeingPolicy(shop, popularity_I, **settings)
        return LoggingPolicy(shop.catalog, popularity_I, **settings)

    def clean(self, folder: str | Path) -> Log:
        """Write the raw log beside ``folder``, clean it into ``folder``, remove the raw one."""
        shop = self.true_shop()
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=Path(folder).parent, prefix=".raw-") as raw:
            write_log(
                shop,
                self.logging_policy(shop),
                Path(raw),
                num_sessions=self.num_sessions,
                seed=self.seed,
                mean_sessions=self.mean_sessions,
                impressions=self.impressions,
                progress=progress.advance,
            )
            log = dataclasses.replace(self, path=raw)._clean_raw(folder)
        log.meta["source"] = self.name  # the raw files are gone
        beside = log.folder / ".meta.json.tmp"
        beside.write_text(json.dumps(log.meta, indent=2) + "\n")
        beside.rename(log.folder / "meta.json")
        return log

    def _clean_raw(self, folder: str | Path) -> Log:
        return super().clean(folder)
