"""``python -m experiments.tiny``: what can be known exactly, in a shop small enough for it.

How far from the optimum do learners stay, and what does a learned shop make of pages that change
nothing?
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from agents.base import Agent
from agents.baselines import Greedy, Popular
from agents.valuing import make_agent, resources, shop_specs
from recgym import progress
from recgym.cli import use_threads
from recgym.envs.core import ShopCore
from recgym.logging_policy import EmptyPages
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.log import prepare_log
from recgym.stages.model import prepare_model
from recgym.types import Arrival, Policy
from recgym.users.sequence import SequenceModel
from recgym.worlds.exact import ExactShop, Planned
from recgym.worlds.tiny import TinyShop
from recgym.worlds.tree import Tree, alike
from recgym.worlds.truth import oracle_spec

SLOTS = 2  # K
LANES = 512
TRAIN_SEED, VALUE_SEED = 1 << 50, 1 << 40  # of shoppers, apart from those of the log
UNSATED = {"satisfied_leave": 0.0, "satisfied_buying": 0.0}  # orders end nothing and hide nothing
NUM_PAGES = 400_000  # on which an agent is trained, as in conf/train.yaml
TABLES = ("tabular", "sarsa")
FAMILY = (
    "dqn", "qr_dqn", "c51", "rainbow",
    "cql", "bcq", "iql", "topk_reinforce",
    "ppo", "a2c", "reinforce", "sac",
    "linucb", "thompson",  # myopic
)  # fmt: skip
LEAST = 1e-6  # branches of a learned shop's tree below it are not followed: 0.01 % of orders


@dataclass(frozen=True)
class Effect:
    """What a policy's pages do to orders, as shares: 0 where they change nothing."""

    session: float  # orders a session against empty pages throughout
    page: float  # orders a page against an empty page in the same states, summed over a session
    revenue: float  # revenue a session against empty pages throughout


@dataclass(frozen=True)
class Loss:
    """Share of the optimum that a policy forgoes."""

    share: float
    error: float  # standard error; 0 where it is exact


def learned(
    world: dict[str, Any], *, num_sessions: int, seed: int, cache: Path, **changed: Any
) -> dict[str, Any]:
    """What agents may ask for: a user model fitted on a tiny shop's log, and what that log tells.

    ``world`` are keywords of the shop, ``changed`` of the model.
    """
    log_settings = {
        "_target_": "recgym.record.TrueShopLog",
        "world": {"_target_": "recgym.worlds.tiny.TinyShop", **world},
        "num_sessions": num_sessions,
        "mean_sessions": 1.0,
        "num_slots": SLOTS,
        "seed": seed,
    }
    text = (files("conf") / "user_model" / "lstm.yaml").read_text(encoding="utf-8")
    settings: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    settings |= {"num_slots": SLOTS, "seed": seed, "model": {**settings["model"], **changed}}
    settings["on_policy"] = {"seed": 0, "sessions": 2_000, "true_sessions": 2_000}
    log, reader, _ = prepare_log(log_settings, cache, {})
    model = prepare_model(log, reader, settings, cache, torch.device("cpu"), {})[0]
    return resources(model, log.sessions(), SLOTS, seed)


def laid_out(**changed: Any) -> ExactShop:
    """The tiny shop in float64, with the exact worth of its policies."""
    world = TinyShop(**changed, dtype=torch.float64)
    simulator = Simulator(world, num_slots=SLOTS, dtype=torch.float64)
    return ExactShop(simulator, *world.everyone(), max_pages=world.num_pages)


def policies(model: SequenceModel) -> dict[str, Policy]:
    """Pages whose effect is looked at: what is found most, least, and what seems to sell."""
    fame_I = TinyShop().fame
    return {
        "popular": Popular(fame_I, num_slots=SLOTS),
        "unpopular": Popular(-fame_I, num_slots=SLOTS),
        "greedy": Greedy(model, num_slots=SLOTS, cart_paid=0.0),
    }


def effects(
    model: SequenceModel, *, max_pages: int = 4, gap_nodes: int = 1, least: float = LEAST
) -> dict[str, Effect]:
    """Effect of recommending in a learned shop, over all that can happen on its first pages."""
    model = copy.deepcopy(model).double().eval()
    zero_B = torch.zeros(len(model.profile), dtype=torch.int64)
    begun = alike(Arrival(zero_B, zero_B, model.profile, model.start_ms))
    simulator = Simulator(model, encoder=model, num_slots=SLOTS, dtype=torch.float64)
    spec = ObservationSpec(simulator, "encoder")
    tree = Tree(spec, max_pages=max_pages, gap_nodes=gap_nodes, least=least)
    nothing = tree.worth(EmptyPages(SLOTS), *begun)
    found = {}
    for name, policy in policies(model).items():
        worth = tree.worth(policy, *begun)
        found[name] = Effect(
            session=worth.orders / nothing.orders - 1.0,
            page=worth.orders / worth.orders_anyway - 1.0,
            revenue=worth.revenue / nothing.revenue - 1.0,
        )
    return found


def settings_of(name: str) -> dict[str, Any]:
    """An entry of ``conf/agent``."""
    text = (files("conf") / "agent" / f"{name}.yaml").read_text(encoding="utf-8")
    settings: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    return dict(settings)


def trained(agent: Agent, core: ShopCore, num_pages: int, seed: int) -> None:
    """Train in the true shop, for so many pages of all lanes together."""
    observation = core.reset(TRAIN_SEED + (seed << 32))
    for _ in range(num_pages // core.num_envs):
        item_NK = agent.act(observation, explore=True)
        transition = core.step(item_NK)
        agent.learn(observation, item_NK, transition)
        observation = transition.observation


def tabular_loss(name: str, exact: ExactShop, *, num_pages: int, seed: int) -> Loss:
    """Of an entry of ``conf/agent`` that keeps a table, computed exactly."""
    simulator = Simulator(TinyShop(), num_slots=SLOTS)
    core = ShopCore(ObservationSpec(simulator, "history"), "chosen_revenue", num_envs=LANES)
    offered = {"num_items": exact.simulator.catalog.num_items, "num_slots": SLOTS}
    agent = make_agent(settings_of(name), offered)
    trained(agent, core, num_pages, seed)
    return Loss(1.0 - exact.of(agent).revenue / exact.best().revenue, 0.0)


@cache
def optimum(exact: ExactShop, num_sessions: int) -> tuple[float, Tensor]:
    """What the best policy earns a session, expected, and in each of these, [B] float64."""
    best, seed_B = exact.best(), VALUE_SEED + torch.arange(num_sessions)
    oracle = oracle_spec(TinyShop(), SLOTS)
    found = rollout(oracle, Planned(exact, best), seed_B, torch.zeros_like(seed_B))
    return best.revenue, found.credited_revenue.double()


def agent_loss(
    name: str,
    exact: ExactShop,
    offered: dict[str, Any],
    *,
    num_pages: int,
    num_sessions: int,
    seed: int,
    gamma: float = 1.0,
) -> Loss:
    """Of an entry of ``conf/agent``, on the same shoppers as the best policy.

    It reads what happens through a model fitted on a log (``offered`` by `learned`); its
    observations are no table's rows. One made to learn from a log learns here from its own pages.
    ``gamma`` is for agents that have a discount: undiscounted, as the optimum is. What holds DQN's
    first guess against noise is off: here the kind of shopper decides what an item is worth.
    """
    world = TinyShop()
    spec = shop_specs(offered["user_model"], world, SLOTS)["true"]
    settings = settings_of(name)
    here = {"gamma": gamma, "anchor": 0.0}
    settings |= {name: value for name, value in here.items() if name in settings}
    agent = make_agent(settings, offered | {"seed": seed})
    trained(agent, ShopCore(spec, "chosen_revenue", num_envs=LANES), num_pages, seed)
    seed_B = VALUE_SEED + torch.arange(num_sessions)
    best, optimal_B = optimum(exact, num_sessions)
    found = rollout(spec, agent, seed_B, torch.zeros_like(seed_B))
    lost_B = (optimal_B - found.credited_revenue.double()) / best
    return Loss(float(lost_B.mean()), float(lost_B.std()) / num_sessions**0.5)


def learners(cache: Path, num_sessions: int, seed: int) -> None:
    """Print how far each learner stays from the optimum."""
    exact = laid_out()
    best = exact.best()
    others = {"myopic": exact.myopic(), "nothing": exact.of(EmptyPages(SLOTS))}
    progress.say(f"optimum: {best.revenue:.4f} a session, {best.orders:.4f} orders")
    for name, plan in others.items():
        progress.say(f"{name}: {plan.revenue / best.revenue - 1.0:+.2%}")
    for name in TABLES:
        loss = tabular_loss(name, exact, num_pages=NUM_PAGES, seed=seed)
        progress.say(f"{name}: {-loss.share:+.2%}, exactly")
    offered = learned({}, num_sessions=num_sessions, seed=seed, cache=cache)
    for name in FAMILY:
        loss = agent_loss(
            name, exact, offered, num_pages=NUM_PAGES, num_sessions=100_000, seed=seed
        )  # fmt: skip
        progress.say(f"{name}: {-loss.share:+.2%} (95 % interval ± {1.96 * loss.error:.2%})")


def redundancy(world: dict[str, Any], cache: Path, num_sessions: int, seed: int) -> None:
    """Print what pages that change nothing seem to do in the learned shop."""
    world = {"redundant": True, **world}
    exact, true = laid_out(**world), TinyShop(**world)
    nothing = exact.of(EmptyPages(SLOTS))
    model = learned(world, num_sessions=num_sessions, seed=seed, cache=cache)["model"]
    fitted = model.answers
    progress.say(
        f"redundant {world}: fitted page_weight {float(fitted.page_weight):.3f} (true "
        f"{float(true.page_weight):g}), dissimilarity {float(fitted.dissimilarity):.3f} (true "
        f"{float(true.dissimilarity):g}); in truth the best pages bring "
        f"{exact.best().orders / nothing.orders - 1.0:+.3%} orders"
    )
    for name, effect in effects(model).items():
        progress.say(
            f"{name}: orders a session {effect.session:+.3%}, orders of a page {effect.page:+.3%}, "
            f"revenue {effect.revenue:+.3%}"
        )


def main() -> None:
    """Both questions, for one seed."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tiny", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of log, fit and agents")
    parser.add_argument("--sessions", type=int, default=60_000, help="of each log")
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"))
    given = parser.parse_args()
    use_threads(1)
    learners(given.cache, given.sessions, given.seed)
    for world in ({}, UNSATED):
        redundancy(world, given.cache, given.sessions, given.seed)


if __name__ == "__main__":
    main()
