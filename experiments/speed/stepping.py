"""Figures of the simulator alone, over a learned and over the true shop."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

import recgym.choice
import recgym.organic
import recgym.rng
import recgym.visit
from experiments.speed import shops, work
from experiments.speed.figure import Figure
from experiments.speed.machine import Machine, Work, limit_seconds, measure
from experiments.speed.setting import SLOTS, Setting
from experiments.speed.timing import interleaved, medians, parts_of
from recgym.compiling import compiled
from recgym.simulator import SimState, Simulator
from recgym.types import Outcome
from recgym.users.base import Shoppers
from recgym.users.lstm import LSTMUserModel
from recgym.users.sequence import SequenceModel

LANES = 4096
WORLD_LANES = 10_000  # as many as RecSim NG was measured with
SLATES = 16  # pages of all lanes drawn beforehand
PEERS_LEARNED = {"RL4RS": 800.0, "KuaiSim": 850.0}  # steps/s, the best of each; see the guide
PEER_WORLD = 379_000.0  # steps/s of RecSim NG with 10,000 users; see the guide


class Stepping:
    """The simulator alone: a page shown in every lane, and lanes that left begin anew.

    One call is the prices of the page, `Simulator.step`, and the next session in the lanes whose
    shopper left, as `ShopCore` begins it. The pages are drawn beforehand; nothing is observed.
    """

    def __init__(
        self, simulator: Simulator, lanes: int, slots: int = SLOTS, *, compile: bool = False
    ) -> None:
        items, device = simulator.catalog.num_items, simulator.catalog.category.device
        self.simulator = simulator
        self.pages: Iterator[Tensor] = cycle(
            [shops.slates(items, lanes, slots, seed).to(device) for seed in range(SLATES)]
        )
        seed_N = torch.arange(lanes, device=device)
        self.state = simulator.reset(seed_N, torch.zeros_like(seed_N))
        self.outcome: Outcome  # of the last page
        self._turn = compiled(self._turned) if compile else self._turned

    def __call__(self) -> None:
        """Step all lanes once."""
        self.state, self.outcome = self._turn(self.state, next(self.pages))

    def _turned(self, state: SimState, item_NK: Tensor) -> tuple[SimState, Outcome]:
        page = self.simulator.page(state, item_NK)
        state, outcome = self.simulator.step(state, page)
        return self.simulator.renew(state, outcome.left), outcome

    def records(self) -> int:
        """Bytes of records that a step moves."""
        return work.records_moved(self.state, self.outcome)


def simulator_of(shop: Shoppers, slots: int = SLOTS) -> Simulator:
    """The simulator that the environments run on: no expectation over all items is asked for."""
    encoder = shop if isinstance(shop, SequenceModel) else None
    return Simulator(shop, encoder=encoder, num_slots=slots)


def learned_of(setting: Setting) -> LSTMUserModel:
    """The learned shop of the setting's sizes."""
    return shops.learned(
        setting.items, hidden=setting.hidden, embedding=setting.hidden, device=setting.device
    )


def watched(stepping: Stepping) -> list[tuple[Any, str, str]]:
    """Which function counts as which part of a step; the rest is bookkeeping."""
    shop: Any = stepping.simulator.shop
    answers, rng = getattr(shop, "answers", None), recgym.rng
    return [
        (shop, "observe", "LSTM" if isinstance(shop, LSTMUserModel) else "shopper's state"),
        (shop, "read", "heads"),
        (shop, "respond", "organic choice"),
        (recgym.organic, "log_prob", "organic choice"),
        (recgym.organic, "draw", "sampling"),
        (recgym.choice, "law", "page choice"),
        (answers, "response", "page choice"),
        (answers, "laws", "segments"),
        (shop, "after", "after"),
        (shop, "gap", "gap"),
        (recgym.choice, "sample", "sampling"),
        (rng, "page_keys", "noise"),
        (rng, "uniform", "noise"),
        (rng, "normal", "noise"),
        (recgym.visit, "advance", "visit"),
        (stepping.simulator, "page", "prices of the page"),
        (stepping.simulator, "renew", "refill"),
    ]


def simulator(setting: Setting) -> Figure:
    """Steps/s of learned shoppers."""
    return _learned("simulator", setting, compile=False)


def simulator_compiled(setting: Setting) -> Figure:
    """The same through `torch.compile`."""
    return _learned("simulator_compiled", setting, compile=True)


def _learned(name: str, setting: Setting, *, compile: bool) -> Figure:
    shop = learned_of(setting)
    stepping = Stepping(simulator_of(shop), setting.lanes_or(LANES), compile=compile)
    stepping()
    lanes = setting.lanes_or(LANES)
    needed = work.learned_work(shop, lanes, SLOTS, stepping.records())
    values, told = _stepped(stepping, lanes, needed, setting)
    limit: float = told.pop("limit")
    value = statistics.median(values)
    peers = {name: round(value / peer, 1) for name, peer in PEERS_LEARNED.items()}
    return Figure(
        figure=name,
        values=values,
        unit="steps/s",
        limit=limit,
        ratio=value / limit,
        goal="ratio at least 0.5, stretch 0.8; at least 50 times RL4RS and KuaiSim",
        settings={**told, "times_peer": peers, "hidden": setting.hidden, "items": setting.items},
    )


def true_shop(setting: Setting) -> Figure:
    """Steps/s of the true shop."""
    shop = shops.world(setting.items, setting.device)
    lanes = setting.lanes_or(WORLD_LANES)
    stepping = Stepping(simulator_of(shop), lanes)
    stepping()
    needed = work.true_work(shop, lanes, SLOTS, stepping.records())
    values, told = _stepped(stepping, lanes, needed, setting)
    limit: float = told.pop("limit")
    value = statistics.median(values)
    return Figure(
        figure="true_shop",
        values=values,
        unit="steps/s",
        limit=limit,
        ratio=value / limit,
        goal="at least RecSim NG's 379,000 steps/s; no goal for the ratio",
        settings={
            **told,
            "times_peer": {"RecSim NG": round(value / PEER_WORLD, 3)},
            "items": setting.items,
        },
    )


def _stepped(
    stepping: Stepping, lanes: int, needed: Work, setting: Setting
) -> tuple[list[float], dict[str, Any]]:
    """Steps/s, one a repeat, and what stands beside them in the settings."""
    state = stepping.state
    page = stepping.simulator.page(state, next(stepping.pages))
    before = rates(needed, setting)
    taken = interleaved(
        {"stepping": stepping, "step": lambda: stepping.simulator.step(state, page)}, setting
    )
    machine = before.best(rates(needed, setting))
    limit = limit_seconds(needed, machine)
    return [lanes / passed for passed in taken["stepping"]], {
        "limit": lanes / limit.seconds,
        "lanes": lanes,
        "slots": SLOTS,
        "step_without_refill": lanes / medians(taken)["step"],
        "parts": _parts(stepping, setting),
        "flops_a_step": needed.flops / lanes,
        "bytes_a_step": needed.moved / lanes,
        "limit_of": limit.described(),
        "limit_at_square_rate": lanes / limit_seconds(needed, machine.at_square_rate()).seconds,
        "machine": machine.described(),
    }


def _parts(stepping: Stepping, setting: Setting) -> dict[str, float]:
    """Of the plain program: a compiled one has no functions left to watch."""
    plain = Stepping(stepping.simulator, len(stepping.state.noise))
    return parts_of(plain, watched(plain), setting, rest="bookkeeping")


def rates(needed: Work, setting: Setting) -> Machine:
    """The machine as it is now."""
    return measure(
        setting.device,
        needed.products,
        row=setting.hidden,
        rows=setting.items,
        sync=setting.sync(),
    )
