"""A probe shop in the shape of a user model: what agents that score items build on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from probe_shop import START_MS, ProbeShop, found_alone
from tiny import agent_settings
from torch import Tensor

from agents.valuing import make_agent
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Arrival, Catalog, Observation
from recgym.users.memory import Nothing
from recgym.users.states import SequenceState
from recgym.users.tastes import Belief

ITEMS, SIZE, SLOTS = 20, 6, 3


class ModelState(SequenceState):
    """The probe shop's memory in the shape of a user model's state."""

    @property
    def views(self) -> Tensor:
        return self.h[:, 0]

    @classmethod
    def of(cls, views_N: Tensor) -> ModelState:
        none_N0 = views_N.unsqueeze(-1)[:, :0]
        belief = Belief(none_N0, none_N0, none_N0.unsqueeze(-1), none_N0.unsqueeze(-1))
        first = views_N.unsqueeze(-1), Nothing(), none_N0, none_N0, none_N0
        return cls(*first, belief, none_N0, none_N0, none_N0, none_N0.long(), 0 * views_N.long())


class ProbeModel(ProbeShop):
    """Items of one price that all appeal alike, told apart by their vectors alone."""

    num_encoded = 1

    def __init__(self, num_items: int = ITEMS) -> None:
        super().__init__(appeal=2.0)
        vector_ID = torch.randn(num_items, SIZE, generator=torch.Generator().manual_seed(0))
        self.catalog = Catalog(
            price=torch.full((1, num_items), 10.0),
            category=torch.zeros(num_items, dtype=torch.int64),
            feature=vector_ID,
            start_ms=START_MS,
            num_categories=1,
        )
        self.found = found_alone((1 / num_items,) * num_items, self.catalog.category, torch.float32)
        self.tables = SimpleNamespace(vector_ID=vector_ID, mean_log_price=torch.tensor(10.0).log())
        self.answers = SimpleNamespace(page_weight=self.page_weight)

    def init_state(self, arrival: Arrival) -> Any:
        return ModelState.of(super().init_state(arrival).views)

    def observe(self, state: Any, *seen: Any) -> Any:
        return ModelState.of(super().observe(state, *seen).views)

    def typical(self, reading: Any) -> Any:
        return reading

    def encode(self, state: Any) -> Tensor:
        encoded: Tensor = state.h
        return encoded


MODEL = ProbeModel()
SPEC = ObservationSpec(Simulator(MODEL, encoder=MODEL, num_slots=SLOTS), "encoder")

# What a click on each item is worth, nothing to do with its price: linear in its vector.
WORTH = 10.0 * MODEL.tables.vector_ID @ torch.tensor([1.0, -1.0, 0.5, 0.0, 1.0, -0.5])


def first_pages(num: int) -> Observation:
    seed = torch.arange(num)
    return SPEC.observe(SPEC.simulator.reset(seed, torch.zeros_like(seed)))


def made(name: str, model: Any, spec: ObservationSpec, seed: int = 0, **changed: Any) -> Any:
    """An entry of ``conf/agent`` for a probe shop, as small and as quick as a test wants it."""
    num_items = model.catalog.num_items
    offered = {
        "model": model,
        "user_model": model,
        "num_features": spec.num_features,
        "num_items": num_items,
        "num_slots": spec.simulator.num_slots,
        "views_I": torch.arange(num_items),
        "view_V2": torch.arange(2 * num_items).view(num_items, 2) % num_items,
        "cart_paid": 0.3,
        "seed": seed,
    }
    quick = {"hidden": 32, "batch_size": 64, "learning_starts": 64, "updates": 1}
    settings = agent_settings(name)
    settings |= {key: value for key, value in quick.items() if key in settings}
    return make_agent(settings | changed, offered)


def agent_named(name: str, **changed: Any) -> Any:
    """The same for the shop of this file."""
    return made(name, MODEL, SPEC, **changed)
