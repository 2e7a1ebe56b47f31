"""Writing a log: a true shop under a logging policy, recorded as a site would record it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import torch
from torch import Tensor

from recgym import progress
from recgym.ads.logged import AdLog, RandomAds
from recgym.build import build
from recgym.confounding import SeeingPolicy, logging_spec
from recgym.log_rows import event_rows, impression_rows, item_rows, shopper_rows, within, write
from recgym.logging_policy import LoggingPolicy
from recgym.logs.folder import Folder
from recgym.logs.log import Log
from recgym.logs.parts import FREE
from recgym.rollout import rollout
from recgym.simulator import SimState
from recgym.types import Kind, Observation, Outcome, Page
from recgym.users.sponsored import AdShoppers
from recgym.worlds.base import SeeingShop, TrueShop

LAW_VERSION = 2  # raised when the same settings come to mean other shoppers: logs are kept by it
MAX_PAGES = 200  # as in `recgym.rollout`: page ids are session * MAX_PAGES + page


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
    """Collects what a site would write down of each step.

    Args:
        policy: that fills the pages.
        max_sessions: of a row of the roll-out; its sessions have numbers of their own.
        ads: that are put among its items, if any.
    """

    def __init__(
        self, policy: LoggingPolicy, max_sessions: int = 1, ads: RandomAds | None = None
    ) -> None:
        self.policy, self.max_sessions, self.ads = policy, max_sessions, ads
        self.propensity: Tensor | None = None
        self.sponsored: Tensor | None = None
        self.parts: dict[str, list[Tensor]] = {}

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        item_NK, self.propensity = self.policy.act_with_propensity(observation)
        if self.ads is not None:
            given = observation, item_NK, self.propensity
            item_NK, self.propensity, self.sponsored = self.ads.insert(*given)
        return item_NK

    def mark(self, page: Page) -> Page:
        """The page that was acted, with its ads known as such."""
        return dataclasses.replace(page, sponsored=self.sponsored)

    def step(
        self, index_N: Tensor, state: SimState, observation: Observation, outcome: Outcome
    ) -> None:
        event, page = outcome.event, outcome.page
        assert self.propensity is not None
        session_N = index_N * self.max_sessions
        if state.visit.past is not None:
            session_N = session_N + state.visit.past.sessions
        row = {
            "session": session_N,
            "page": session_N * MAX_PAGES + state.visit.page_number,
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
        if page.sponsored is not None:
            row["page_sponsored"] = page.sponsored
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
    max_sessions: int = 1,
    impressions: bool = True,
    ads: RandomAds | None = None,
    progress: Callable[[int], Any] | None = None,
) -> None:
    """Write events, impressions, items and shoppers (DESIGN's log format) into ``folder``.

    With ``impressions=False`` it is a bare click log of the same sessions: no pages, no positions.
    With ``max_sessions`` above 1 shoppers come back as the world has it, up to so many sessions
    each, until its calendar ends: what would begin later is in no log. Written are the first
    shoppers whose sessions come to no more than ``num_sessions``. With ``ads`` pages hold ads too.
    """
    spec = logging_spec(world, policy, policy.num_slots, num_sessions=max_sessions)
    if max_sessions > 1:
        seed_B = torch.arange(num_sessions) + (seed << 32)
        session_B = torch.zeros_like(seed_B)
    else:
        seed_B, session_B = shoppers_of(num_sessions, seed, mean_sessions)
    recorder = _Recorder(policy, max_sessions, ads)
    rollout(
        spec, recorder, seed_B, session_B,
        max_pages=MAX_PAGES, on_step=recorder.step, progress=progress, mark=recorder.mark,
    )  # fmt: skip
    steps = recorder.columns()
    if max_sessions > 1:
        steps = within(steps, world.catalog, num_sessions, max_sessions)
        seed_B = seed_B[: int(steps["session"][-1]) // max_sessions + 1]
    shopper = (seed_B - (seed << 32)).numpy().repeat(max_sessions)
    seed_B = seed_B.repeat_interleave(max_sessions)
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as db:
        write(db, folder / "events.parquet", event_rows(steps, shopper, impressions))
        if impressions:
            write(db, folder / "impressions.parquet", impression_rows(steps, shopper))
        write(db, folder / "items.parquet", item_rows(world))
        write(db, folder / "shoppers.parquet", shopper_rows(world, seed_B, shopper))


@dataclass(kw_only=True)
class TrueShopLog(Folder):
    """A log that a true shop writes when it is read.

    Attributes:
        world: keywords of the true shop, with its ``_target_``.
        seed: of the shoppers.
        num_sessions: sessions written.
        mean_sessions: of a shopper, whose sessions have nothing to do with one another.
        max_sessions: above 1, of a shopper who comes back as the world has it; ``mean_sessions``
            then has no part.
        num_slots: K, slots of a page.
        share: of affinity, popularity, uniform and empty pages in the logging mixture.
        sharpness: of the affinity softmax.
        impressions: False strips the log to bare clicks.
        ads: settings of `recgym.ads.logged.AdLog`, whose ads are then among the items shown, and
            whose law the shoppers obey; None for a shop without ads.
    """

    name: str = "true shop"
    world: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    num_sessions: int = 60_000
    mean_sessions: float = 2.5
    max_sessions: int = 1
    num_slots: int = 10
    share: list[float] = field(default_factory=lambda: [0.68, 0.25, 0.05, 0.02])
    sharpness: float = 2.0
    impressions: bool = True
    ads: dict[str, Any] | None = None

    def source(self) -> str:
        """Its name, since the raw files are gone once they are clean."""
        return self.name

    def content_hash(self) -> str:
        """Of the settings, which decide every row."""
        settings = {k: v for k, v in vars(self).items() if k not in FREE}
        if self.max_sessions == 1:
            del settings["max_sessions"]  # a log that was written before the setting stays that log
        del settings["ads"]  # as above
        if self.ads is not None:
            settings["ads"] = AdLog.of(self.ads).described()
        text = json.dumps({"law": LAW_VERSION, **settings}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def true_shop(self, device: str = "cpu") -> TrueShop:
        """The shop behind the log: for writing it, and for valuing policies."""
        shop: TrueShop = build(self.world, device=device)
        if self.ads is None:
            return shop
        return cast(TrueShop, AdShoppers(shop, AdLog.of(self.ads).law))

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
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{folder.name}.raw-"
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix) as raw:
            write_log(
                shop,
                self.logging_policy(shop),
                Path(raw),
                num_sessions=self.num_sessions,
                seed=self.seed,
                mean_sessions=self.mean_sessions,
                max_sessions=self.max_sessions,
                impressions=self.impressions,
                ads=None
                if self.ads is None
                else RandomAds(shop.catalog, AdLog.of(self.ads), self.num_slots),
                progress=progress.advance,
            )
            return dataclasses.replace(self, path=raw)._clean_raw(folder)

    def _clean_raw(self, folder: str | Path) -> Log:
        return super().clean(folder)
