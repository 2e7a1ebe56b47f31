"""Every user model of conf/user_model on one small catalogue, and what all of them must obey.

Run as a program it prints the fingerprints of all kinds: another process must print the same.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from simulated_log import simulate
from tiny import compose
from torch import Tensor

from agents.baselines import Random
from recgym import choice, visit
from recgym.build import build
from recgym.simulator import Simulator
from recgym.types import Arrival, Kind, Sessions
from recgym.users.base import after_log_probs, by_segment
from recgym.users.sequence import SequenceModel
from recgym.worlds.taste import TasteShop

KINDS = sorted(path.stem for path in (Path("conf") / "user_model").glob("*.yaml"))
ITEMS, SLOTS, WINDOW = 40, 3, 3
F64 = torch.float64
OFTEN = 4.5  # on logits of coming back to an item, which begin at once in a hundred
LEAVING = 1.5  # on its logit: sessions of some twenty pages at most, that is, and seconds
SMALL = {"hidden": 8, "embedding": 4, "classes": 4, "segments": 2, "num_tastes": 3}


def settings_of(name: str) -> dict[str, Any]:
    """Of the YAML, small, and with a window that sessions outgrow."""
    chosen: dict[str, Any] = compose("fit", f"user_model={name}")["user_model"]["model"] | SMALL
    return chosen | {"window": WINDOW} if "window" in chosen else chosen


def made(name: str, seed: int = 0, dtype: torch.dtype = F64) -> SequenceModel:
    """An untrained model of the kind, its parameters away from their symmetric start."""
    catalog = TasteShop(num_items=ITEMS).catalog
    profile_BP = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))  # of one log
    torch.manual_seed(seed)
    model: SequenceModel = build(
        settings_of(name),
        catalog=catalog,
        seen_I=torch.ones(ITEMS, dtype=torch.bool),
        profile_BP=profile_BP,
        start_ms_B=catalog.start_ms + torch.arange(50) * 3_600_000,
    )
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    with torch.no_grad():
        model.heads.of("upper")[1][0] += LEAVING
        if model.repeats is not None:
            model.repeats.place += OFTEN
        if model.successors is not None:  # each item's are the next ones, the nearest the commonest
            of = model.successors
            place_M = torch.arange(1, of.next_XM.shape[1] + 1)
            of.next_XM[:] = (torch.arange(len(of.next_XM)).unsqueeze(-1) + place_M) % ITEMS
            of.log_share_XM[:] = -place_M.log() - 2.0
            of.log_count_X[:] = 1.0
    model.project()
    return model.to(dtype).eval()


@torch.no_grad()
def played(shop: Any, num_lanes: int, steps: int = 6, dtype: torch.dtype = F64) -> list[Tensor]:
    """All that a roll-out says, [N, ...] each: what happened, when, and what it was worth."""
    simulator = Simulator(shop, num_slots=SLOTS, dtype=dtype)
    seed_N = torch.arange(num_lanes)
    state, said = simulator.reset(seed_N, torch.zeros_like(seed_N)), []
    for step in range(steps):
        item_NK = (seed_N.unsqueeze(-1) + torch.arange(SLOTS) + step) % ITEMS
        state, outcome = simulator.step(state, simulator.page(state, item_NK))
        event = outcome.event
        said += [event.kind, event.item, event.slot, event.after, event.gap]
        said.append(outcome.expected_revenue)
    return said


def log_of(num_sessions: int, dtype: torch.dtype = F64) -> Sessions:
    """Sessions of the shoppers of one of the kinds, some of which outgrow any window."""
    shop = made("attention", dtype=dtype)
    simulator = Simulator(shop, num_slots=SLOTS, expected_revenue=False, dtype=dtype)
    return simulate(simulator, Random(num_slots=SLOTS), num_sessions)[0]


@torch.no_grad()
def stepwise(model: SequenceModel, sessions: Sessions, b: int) -> Tensor:
    """Log-likelihood of each step of session b, from a plain loop over the protocol's verbs."""
    first, last = int(sessions.offset[b]), int(sessions.offset[b + 1])
    arrival = Arrival(
        torch.tensor([b]), torch.tensor([0]), sessions.profile[b : b + 1],
        sessions.time_ms[first : first + 1],
    )  # fmt: skip
    state = model.init_state(arrival)
    now = visit.begin(arrival.start_ms, sessions.page.item.shape[1], F64)
    values = []
    for s in range(first, last):
        event, page = sessions.event.lanes(slice(s, s + 1)), sessions.page.lanes(slice(s, s + 1))
        reading = model.read(state)
        chance = torch.zeros(1, dtype=F64)
        for share, supposed in by_segment(model, reading, page, now):
            law = choice.law(model.respond(supposed, page, now), now)
            of_segment = choice.log_prob(law, event)
            item, clicked = event.item.clamp(min=0).unsqueeze(-1), (event.slot >= 0).unsqueeze(-1)
            logits = model.after(supposed, item, event.price.unsqueeze(-1), clicked)
            if event.kind == Kind.VIEW:
                of_segment = of_segment + after_log_probs(logits)[0, 0, event.after]
            chance = chance + share[:, 0] * of_segment.exp()
        value = chance.log()
        if s > first and event.kind != Kind.LEAVE:
            mean, std = model.gap(state)
            z = (event.gap.log() - mean) / std
            value = value - 0.5 * z.square() - std.log() - 0.9189385332046727  # log sqrt(2 pi)
        values.append(value)
        state = model.observe(reading, page, event, now)
        # the gap belongs to the step it ends with: the visit learns it one step later
        gap = sessions.event.gap[s + 1 : s + 2] if s + 1 < last else torch.zeros(1, dtype=F64)
        now = visit.advance(now, page, event, gap)
    return torch.cat(values)


def fingerprint(name: str) -> str:
    """Of the model as a seed makes it, and of what its shoppers do."""
    model = made(name)
    found = hashlib.sha256()
    for value in [*model.state_dict().values(), *played(model, 16, 3)]:
        found.update(value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: fingerprint(name) for name in KINDS}))
