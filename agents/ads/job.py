"""The main job for ads, ``python -m agents.train env=ad_allocate|ad_insert|ad_price|shop``.

From a log whose pages hold ads: the user model, what ads do to shoppers, an agent trained in that
learned shop, and its value beside the rules, in the learned shop and in the true one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from agents.ads import valuing
from agents.ads.base import places_ads
from agents.ads.playing import judged, learned_shop, offered_to_agents, play_all
from agents.ads.table import ad_table, verdict_lines
from agents.ads.verdict import earned
from agents.board import show_end, show_fit, show_front
from agents.folders import file_lines, keep
from agents.logger import Logger
from agents.loop import train
from agents.shoppers import ad_columns_of, keep_shoppers
from agents.valuing import make_agent, true_side
from recgym import progress
from recgym.ads.auction import pricing_named
from recgym.ads.campaigns import campaign, draw_campaigns
from recgym.ads.market import AdMarket
from recgym.ads.pacing import pacing_named
from recgym.ads.placement import PlacementRules
from recgym.ads.rewards import AdReward, RewardWeights
from recgym.envs.ad_settings import campaigns_from, keywords_for
from recgym.envs.ads import AdCore
from recgym.errors import UserError
from recgym.record import TrueShopLog
from recgym.report import fit_lines, say_log
from recgym.runs import CONFIG
from recgym.settings import Share, check
from recgym.shops import choose_device
from recgym.stages.log import check_priced, open_reader, prepare_log
from recgym.stages.model import check_returns, prepare_model
from recgym.users.ad_law import AdLaw

SCHEMA_VERSION = 1
RECOMMEND = "recommend"  # env.task of a main job without ads


def asked_for(cfg: DictConfig) -> bool:
    """Whether the settings ask for pages with ads."""
    return str(OmegaConf.select(cfg, "env.task", default=RECOMMEND)) != RECOMMEND


def check_kind(cfg: DictConfig) -> None:
    """Stop where agent and environment are not of one kind.

    Raises:
        UserError: naming both.
    """
    if places_ads(cfg.agent) and not asked_for(cfg):
        raise UserError(
            f"agent={cfg.agent_name} places ads, and env=recommend has none: set env=ad_allocate, "
            "ad_insert, ad_price or shop."
        )
    if asked_for(cfg) and not places_ads(cfg.agent):
        raise UserError(
            f"agent={cfg.agent_name} recommends, and env={cfg.env_name} asks where ads stand: "
            "expected agent=ad_dqn, ad_ppo or another whose name begins with ad_."
        )


def check_env(cfg: DictConfig) -> None:
    """Stop before any work where a setting of ``conf/env`` cannot be used."""
    env: Any = OmegaConf.to_container(cfg.env, resolve=True)
    for name, target in (("rules", PlacementRules), ("weights", RewardWeights),
                         ("market", AdMarket)):  # fmt: skip
        keywords_for(f"env.{name}", env[name], target)
    pricing_named(env["market"]["pricing"])
    pacing_named(env["market"]["pacing"])
    AdReward(sales=env["sales"])
    AdLaw.of(env["law"])
    check("env", {"load_cap": env["load_cap"]}, _bounds)
    keywords_for("env.campaigns", env["campaigns"], draw_campaigns)
    for number, row in enumerate(env["listed"] or []):
        check(f"env.listed[{number}]", row, campaign)
    outside = [slot for slot in env["fixed_slots"] if not 0 <= slot < cfg.num_slots]
    if outside or not env["fixed_slots"]:
        raise UserError(
            f"env.fixed_slots={env['fixed_slots']}: expected slots from 0 to {cfg.num_slots - 1}."
        )
    if cfg.pessimism or cfg.user_model.ensemble.members:
        raise UserError(
            f"pessimism={cfg.pessimism} and an ensemble of {cfg.user_model.ensemble.members} are "
            f"about recommending: with env={cfg.env_name} set pessimism=0 and "
            "user_model.ensemble.members=0."
        )
    if cfg.order_bonus:
        raise UserError(
            f"order_bonus={cfg.order_bonus} is about recommending: with env={cfg.env_name} weigh "
            "the parts of the reward by env.weights."
        )
    if cfg.compile:
        raise UserError(
            f"compile=true: steps of env={cfg.env_name} are not compiled; leave it out."
        )


def check_shop(settings: Mapping[str, Any]) -> None:
    """Stop before the log and the fit where the true shop that is to write the log cannot serve.

    Raises:
        UserError: where campaigns or rules do not go with the catalogue.
    """
    reader, env = open_reader(settings["log"]), settings["env"]
    if not isinstance(reader, TrueShopLog):
        return
    world, listed = reader.true_shop(), env["listed"]
    AdMarket(
        campaigns_from(env["campaigns"] if listed is None else listed, world.catalog),
        world.catalog,
        PlacementRules(**keywords_for("env.rules", env["rules"], PlacementRules)),
        num_slots=int(settings["num_slots"]),
        **env["market"],
    )


def _bounds(load_cap: Share) -> None:
    """Of single settings."""


def run(cfg: DictConfig, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """All stages; returns the summary that it also writes."""
    OmegaConf.save(cfg, folder / CONFIG, resolve=True)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    device, cache, env = choose_device(cfg.device), Path(cfg.cache_dir), settings["env"]
    name, seconds = str(cfg.agent_name), dict[str, float]()
    log, reader, reused = prepare_log(settings["log"], cache, seconds)
    check_priced(log, name)
    check_returns(log, int(env["num_sessions"]))
    world, _ = true_side(reader, device)
    say_log(log, reader, reused, None)
    with Logger(folder) as logger:
        model_settings = {**settings["user_model"], "num_slots": settings["num_slots"]}
        model, report, model_folder, reused = prepare_model(
            log, reader, model_settings, cache, device, seconds, logger.scalar
        )
        for line in fit_lines(report, reused):
            progress.say(line)
        learned, told = learned_shop(model, log, model_folder, env, reader, seconds)
        found = valuing.shops(learned, world, env)
        core = valuing.core_of(
            found["learned"], model, settings, num_envs=int(cfg.num_envs), sales=env["sales"]
        )
        offered = offered_to_agents(model, log, core, settings, device)
        show_fit(logger, log, model, offered["views_I"])
        agent = make_agent(settings["agent"], offered)
        steps = _train(agent, core, cfg, folder, logger, seconds, resume)
        policies = {**valuing.rules(env, offered), name: agent}
        cores = {shop: valuing.core_of(it, model, settings) for shop, it in found.items()}
        played = play_all(cores, policies, name, settings, device, seconds)
        summary = {
            "schema_version": SCHEMA_VERSION,
            "env": str(cfg.env_name),
            "log": {"folder": str(log.folder), **log.meta},
            "user_model": {"name": str(cfg.user_model.name), **report},
            "ad_law": told,
            **judged(played, name, env, int(cfg.evaluation.seed)),
            "environment_steps": steps,
            "seconds": {k: round(v, 2) for k, v in seconds.items()},
        }
        logger.policies(summary, "net_ad_revenue", "net ad revenue a shopper")
        show_front(logger, summary)
        show_end(logger, settings, summary, played.stats, ad_table(summary))
    keep_shoppers(
        folder,
        {
            shop: {n: ad_columns_of(x, earned(x, env["weights"])[0]) for n, x in runs.items()}
            for shop, runs in played.stats.items()
        },
        seed=int(cfg.evaluation.seed),
        sessions=int(cfg.evaluation.sessions),
        log=log.folder.name,
        model=model_folder.name,
    )
    keep(folder, summary, ad_table(summary), model_folder)
    return summary


def closing_lines(summary: dict[str, Any], folder: Path) -> list[str]:
    """What the user reads below the table."""
    return [*verdict_lines(summary), *file_lines(summary, folder)]


def _train(
    agent: Any,
    core: AdCore,
    cfg: DictConfig,
    folder: Path,
    logger: Logger,
    seconds: dict[str, float],
    resume: bool,
) -> int:
    if not hasattr(agent, "learn"):
        seconds["train"] = 0.0
        return 0
    with progress.stage("train", cfg.steps, seconds):
        return train(
            agent,
            cast(Any, core),  # its observations hold options, and its actions are theirs
            steps=int(cfg.steps),
            seed=int(cfg.seed),
            logger=logger,
            folder=folder,
            checkpoint_steps=int(cfg.checkpoint_steps),
            resume=resume,
        )
