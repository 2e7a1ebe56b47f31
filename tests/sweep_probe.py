"""A sweep's folder as `agents.train` leaves it, made by hand: no training, known numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from torch.utils.tensorboard import SummaryWriter

from agents.shoppers import Columns, keep_shoppers

NUM_SHOPPERS = 2000
LIFTS = {"nothing": 0.0, "logging": 0.2, "popular": 0.3, "dqn": 1.0, "ppo": 0.6, "oracle": 1.5}
BOUGHT = 0.2  # share of shoppers who buy, whatever is shown


def shoppers_of(lift: float, rng_seed: int = 0, num_shoppers: int = NUM_SHOPPERS) -> Columns:
    """What shoppers bring under a policy that lifts each one's expectation by ``lift`` on average.

    Shopper b is the same under every policy: a willingness, and one uniform number for buying.
    """
    generator = np.random.default_rng(5)
    willing_B = generator.exponential(3.0, num_shoppers)
    uniform_B = generator.random(num_shoppers)
    own_B = np.random.default_rng(100 + rng_seed).normal(0.0, 2.0, num_shoppers) if lift else 0.0
    expected_B = willing_B + lift + own_B - (np.mean(own_B) if lift else 0.0)
    bought_B = uniform_B < BOUGHT + 0.02 * lift
    return {
        "revenue": np.float32(bought_B * 15.0),
        "credited_revenue": np.float32(expected_B),
        "converted": np.float32(bought_B),
    }


def estimate(value_B: Any) -> dict[str, float]:
    mean, error = float(np.mean(value_B)), float(np.std(value_B)) / np.sqrt(len(value_B))
    return {"mean": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error}


def run(
    folder: Path, agent: str, seed: int = 0, *, overrides: dict[str, Any] | None = None,
    log: str = "log-1", lift: float | None = None, claim: float | None = None, true: bool = True,
    kept: bool = True, curve: bool = True,
) -> None:  # fmt: skip
    """A run that is over."""
    folder.mkdir(parents=True)
    given = {"agent": agent, "seed": seed, **(overrides or {})}
    (folder / ".hydra").mkdir()
    lines = [f"{key}={value}" for key, value in given.items()]
    OmegaConf.save(OmegaConf.create(lines), folder / ".hydra" / "overrides.yaml")
    settings = {
        "seed": seed, "num_slots": 3, "user_model": {"name": "lstm"},
        "evaluation": {"seed": 0, "sessions": NUM_SHOPPERS}, "env": {"task": "recommend"},
    }  # fmt: skip
    OmegaConf.save(OmegaConf.create(settings), folder / "config.yaml")
    asked = LIFTS[agent] if lift is None else lift
    of_agent = shoppers_of(asked, seed + 1 if asked else 0)
    names = ["nothing", "logging", "popular", agent, *(["oracle"] if true else [])]
    columns = {n: of_agent if n == agent else shoppers_of(LIFTS[n]) for n in names}
    shops: dict[str, dict[str, Columns]] = {
        "learned": {n: columns[n] for n in names if n != "oracle"}
    }
    if claim is not None:
        shops["learned"][agent] = shoppers_of(claim, seed + 1)
    shops |= {"true": columns} if true else {}
    (folder / "summary.json").write_text(json.dumps(summary_of(agent, log, shops)))
    if kept:
        keep_shoppers(folder, shops, seed=0, sessions=NUM_SHOPPERS, log=log, model="model-1")
    if curve:
        writer = SummaryWriter(str(folder))
        for step in range(0, 2000, 100):
            writer.add_scalar("train/reward", asked * step / 2000 + 0.1 * seed, step)
            writer.add_scalar("train/orders_per_page", 0.01 * (1 + seed), step)
        writer.close()


def summary_of(agent: str, log: str, shops: dict[str, dict[str, Columns]]) -> dict[str, Any]:
    """As in ``summary.json``, with intervals of normal errors."""
    rows: dict[str, dict[str, Any]] = {}
    for shop, policies in shops.items():
        for name, fields in policies.items():
            money, nothing = (x["credited_revenue"] for x in (fields, policies["nothing"]))
            row = {
                "revenue_per_session": estimate(money),
                "conversion_rate": estimate(fields["converted"]),
                "incremental_revenue_per_session": estimate(money - nothing),
            }
            rows.setdefault(name, {"learned": None, "true": None})[shop] = row
    check = {
        "reference": "held-out log",
        "sessions": 100,
        "revenue_per_session": {
            "simulated": {"mean": 3.0, "low": 2.0, "high": 4.0},
            "reference": {"mean": 2.5, "low": 2.0, "high": 3.0},
            "error": 0.2,
            "noise_floor": 0.3,
        },
    }
    return {
        "agent": agent,
        "log": {"folder": f"somewhere/{log}", "source": "true shop", "sessions": 1000, "items": 30},
        "user_model": {"name": "lstm", "nll_next_view": 2.1, "popularity_nll_next_view": 2.8,
                       "on_policy": check},
        "policies": rows,
        "kendall_tau": 0.9 if "true" in shops else None,
        "exploitation_gap": 0.1 if "true" in shops else None,
    }  # fmt: skip


def returning_run(folder: Path, agent: str, back: float) -> None:
    """A run over up to two sessions, each worth 2; under ``agent`` this share comes back."""
    run(folder, "dqn", curve=False, overrides={"agent": agent})
    summary = json.loads((folder / "summary.json").read_text())
    ones_B = np.ones(NUM_SHOPPERS, np.float32)
    columns: dict[str, Columns] = {}
    for name, share in (("nothing", 0.1), ("logging", 0.2), (agent, back)):
        sessions_B = ones_B + (np.arange(NUM_SHOPPERS) < share * NUM_SHOPPERS)
        columns[name] = {
            "revenue": 2 * sessions_B, "credited_revenue": 2 * sessions_B, "converted": ones_B,
            "sessions": sessions_B,
        }  # fmt: skip
    shops = {"learned": columns, "true": columns}
    row = {"coverage": estimate([1.0])}
    summary |= {"agent": agent, "num_sessions": 2,
                "policies": {name: {shop: row for shop in shops} for name in columns}}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    keep_shoppers(folder, shops, seed=0, sessions=NUM_SHOPPERS, log="log-1", model="model-1")


def ad_run(folder: Path, agent: str, load: float, earned: float, tires: float | None) -> None:
    """A run with ads that shows ``load`` of its slots to them and earns so much a shopper.

    Each of two pages takes ``tires`` times the load off a shopper's satisfaction; None: of a
    version that did not keep it.
    """
    run(folder, "dqn", curve=False, overrides={"agent": agent})
    summary = json.loads((folder / "summary.json").read_text())
    columns: dict[str, Columns] = {}
    for name, share, gain in (("ad_none", 0.0, 0.5), (agent, load, earned)):
        plain = shoppers_of(0.0)
        ones_B = np.ones(NUM_SHOPPERS, np.float32)
        columns[name] = {
            "revenue": plain["revenue"], "converted": plain["converted"],
            "earned": np.float32(plain["credited_revenue"] * 0.1 + gain),
            "ad_revenue": ones_B * np.float32(share), "shown": 20 * ones_B,
            "sponsored": np.float32(20 * share) * ones_B,
        }  # fmt: skip
        if tires is not None:
            content = np.float32(-2.0 * tires * share) * ones_B
            columns[name] |= {"satisfaction": content, "pages": 2 * ones_B}
    shops = {"learned": columns, "true": columns}
    row = {"earned_per_shopper": estimate([earned])}
    summary |= {"agent": agent, "env": "ad_allocate",
                "policies": {name: {shop: row for shop in shops} for name in columns}}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    keep_shoppers(folder, shops, seed=0, sessions=NUM_SHOPPERS, log="log-1", model="model-1")


def failed(folder: Path, sentence: str, overrides: list[str]) -> None:
    folder.mkdir(parents=True)
    content = {"schema_version": 1, "error": sentence, "kind": "UserError", "overrides": overrides}
    (folder / "failed.json").write_text(json.dumps(content))
    (folder / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")


def sweep(folder: Path) -> Path:
    """Two agents in two shops over three seeds, a job that failed and one that was killed."""
    number = 0
    for world in ("default", "wild"):
        for agent in ("dqn", "ppo"):
            for seed in range(3):
                run(folder / str(number), agent, seed, overrides={"world": world},
                    log=f"log-{world}")  # fmt: skip
                number += 1
    failed(folder / str(number), "steps=0: expected a whole number.", ["agent=dqn", "steps=0"])
    (folder / str(number + 1)).mkdir()
    (folder / str(number + 1) / "config.yaml").write_text("seed: 0\n")
    return folder
