"""conf/: every YAML composes and builds, so that one which nobody tried cannot lie there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from probe_shop import learned_shop
from tiny import agent_settings, compose

from agents.valuing import make_agent
from recgym.build import build
from recgym.errors import UserError
from recgym.shops import open_shop
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.log import prepare_log
from recgym.types import Kind
from recgym.users.assumed import assumed_range
from recgym.users.fit_settings import FitSettings

CONF = Path(__file__).resolve().parents[1] / "conf"


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize(
    "main", ["train", "fit", "forecast", "evaluate", "coupons", "replay", "report"]
)
def test_every_main_composes(main: str) -> None:
    # Why: a default that names a missing file stops everyone.
    assert compose(main)


@pytest.mark.parametrize("name", names("log"))
@pytest.mark.parametrize("main", ["train", "fit"])
def test_every_log_builds_and_asks_for_its_path(main: str, name: str, tmp_path: Path) -> None:
    # Why: a reader that takes other keywords than its YAML holds ends in a traceback.
    settings = compose(main, f"log={name}")["log"]
    reader: Any = build(settings, recursive=False)
    assert reader.name == settings["name"]
    if "path" in settings:
        with pytest.raises(UserError, match=rf"log={name} .*log\.path"):
            prepare_log(settings, tmp_path / "cache", {})
        assert not (tmp_path / "cache").exists()
    else:
        assert reader.true_shop().catalog.num_items == settings["world"]["num_items"]


@pytest.mark.parametrize("name", names("world"))
def test_every_world_opens_and_answers(name: str) -> None:
    # Why: `shop="world:NAME"` and the log of the same world must be one shop.
    shop, _ = open_shop(f"world:{name}")
    direct: Any = build(compose("train", f"world={name}")["log"]["world"])
    assert shop.catalog.num_items > 1
    if name == "default":
        assert torch.equal(shop.catalog.price, direct.catalog.price)


@pytest.mark.parametrize("name", names("user_model"))
def test_every_user_model_builds(name: str) -> None:
    # Why: what a fit passes and what the YAML holds must fit together.
    settings = compose("fit", f"user_model={name}")["user_model"]
    catalog = learned_shop().catalog
    seen = torch.ones(catalog.num_items, dtype=torch.bool)
    start = catalog.start_ms + torch.arange(5)
    given = {"catalog": catalog, "seen_I": seen, "profile_BP": torch.randn(5, 2)}
    model: Any = build(settings["model"], **given, start_ms_B=start, quantity=1.0)
    arrival = model.arrive(torch.arange(4), torch.zeros(4, dtype=torch.int64))
    assert model.init_state(arrival) is not None
    assert FitSettings(**settings["fit"]).epochs >= 1
    assert assumed_range(settings["assumptions"], 10).page_share > 0
    assert {"seed", "sessions", "true_sessions"} == set(settings["on_policy"])


@pytest.mark.parametrize("name", [n for n in names("agent") if not n.startswith("ad_")])
def test_every_agent_builds_and_fills_pages(name: str) -> None:
    # Why: an agent is added by one file and one YAML, and the mains must be able to make it.
    model = learned_shop()
    spec = ObservationSpec(Simulator(model, encoder=model, num_slots=3), "encoder")
    offered = {
        "model": model,
        "user_model": model,
        "num_features": spec.num_features,
        "num_items": 40,
        "num_slots": 3,
        "views_I": torch.arange(40),
        "view_V2": torch.arange(80).view(40, 2) % 40,
        "cart_paid": 0.3,
        "seed": 0,
    }
    settings = compose("train", f"agent={name}")["agent"]
    assert settings == agent_settings(name)  # by which other tests make it
    agent = make_agent(settings, offered)
    seed = torch.arange(6)
    state = spec.simulator.reset(seed, torch.zeros_like(seed))
    item_NK = agent.act(spec.observe(state))
    assert item_NK.shape == (6, 3) and item_NK.dtype == torch.int64
    assert bool((item_NK >= 0).all() & (item_NK < 40).all())
    assert all(len(set(row)) == 3 for row in item_NK.tolist())
    _, outcome = spec.simulator.step(state, spec.simulator.page(state, item_NK))
    assert bool((outcome.event.kind == int(Kind.VIEW)).all())  # nobody leaves before a first view
