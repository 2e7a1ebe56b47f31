"""``python -m agents.train``: from a shop's log to a valued policy, in one command."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from agents import jobs, ranks
from agents.ads import job
from agents.ads.table import ad_table
from agents.ads.verdict import EARNED
from agents.base import Lanes
from agents.board import show_end, show_fit
from agents.checks import check
from agents.folders import file_lines, keep
from agents.judging import judge, shops_of
from agents.logged import LoggedCore, check_pages, learns_from_log, logged_core
from agents.logger import Logger
from agents.loop import train
from agents.seeds import policies
from agents.shoppers import columns_of, keep_shoppers
from agents.table import policy_table, verdict_lines
from agents.valuing import (
    Played,
    honest_policies,
    make_agent,
    resources,
    shop_specs,
    true_elasticity,
    true_side,
)
from recgym import metrics, progress
from recgym.cli import command, use_threads
from recgym.envs.core import ShopCore
from recgym.errors import UserError
from recgym.logs.log import Log
from recgym.report import fit_lines, say_log
from recgym.reward import Reward, pessimistic, reward_named, with_orders
from recgym.runs import CONFIG, SUMMARY
from recgym.shops import choose_device
from recgym.spaces import ObservationSpec
from recgym.stages.log import check_priced, prepare_log
from recgym.stages.model import check_returns, check_shown, prepare_members, prepare_model
from recgym.users.ensemble import halves
from recgym.users.store import load_model

SCHEMA_VERSION = 1


def run(cfg: DictConfig, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """All stages of the main job; returns the summary that it also writes.

    With ``resume`` what ``folder`` holds of a run that was killed is gone on from. A rank that is
    not the first (see `agents.ranks`) only trains, and returns nothing.
    """
    OmegaConf.save(cfg, folder / CONFIG, resolve=True)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    device, cache, seed = choose_device(cfg.device), Path(cfg.cache_dir), int(cfg.seed)
    name = str(cfg.agent_name)
    seconds: dict[str, float] = {}
    log, reader, reused = prepare_log(settings["log"], cache, seconds)
    check_priced(log, name)
    check_shown(log, settings["user_model"]["ensemble"]["members"])
    check_returns(log, int(cfg.env.num_sessions))
    if learns_from_log(settings["agent"]):
        check_pages(log.sessions(), str(log.meta.get("source", log.folder)), name)
    world, logging = true_side(reader, device, int(cfg.num_slots))
    elasticity = true_elasticity(world, logging, cfg.num_slots) if world and logging else None
    say_log(log, reader, reused, elasticity)

    with Logger(folder) as logger:
        model_settings = {**settings["user_model"], "num_slots": settings["num_slots"]}
        model, report, model_folder, reused = prepare_model(
            log, reader, model_settings, cache, device, seconds, logger.scalar
        )
        for line in fit_lines(report, reused):
            progress.say(line)
        member_folders = prepare_members(log, reader, model_settings, cache, device, seconds)
        split = halves([load_model(place, device) for place in member_folders])
        num_sessions = int(cfg.env.num_sessions)
        offered = resources(model, log.sessions(), cfg.num_slots, seed, num_sessions)
        show_fit(logger, log, model, offered["views_I"])
        agent = make_agent(settings["agent"], offered)
        spec = shop_specs(model, None, cfg.num_slots, split, num_sessions)["learned"]
        steps = _train(agent, spec, log, cfg, folder, logger, seconds, resume)
        if ranks.rank():
            return {}

        shops = shops_of(model, model_folder, report, settings, offered, world, logging, split)
        played: dict[str, dict[str, Played]] = {}
        judged = judge(
            shops,
            {**honest_policies(offered, shops.replayed), **policies(agent, name)},
            name,
            num_shoppers=int(cfg.evaluation.sessions),
            seed=int(cfg.evaluation.seed),
            seconds=seconds,
            kept=played,
        )
        summary = {
            "schema_version": SCHEMA_VERSION,
            "agent": name,
            "log": {"folder": str(log.folder), **log.meta},
            "user_model": {"name": str(cfg.user_model.name), **report},
            **judged,
            "price_elasticity": elasticity,
            "environment_steps": steps,
            "seconds": {k: round(v, 2) for k, v in seconds.items()},
        }
        lift = metrics.money(num_sessions)[1]
        logger.policies(summary, lift, lift.replace("_per_", " a ").replace("_", " "))
        sums = {shop: {n: p.stats for n, p in runs.items()} for shop, runs in played.items()}
        show_end(logger, settings, summary, sums, policy_table(summary))
    keep_shoppers(
        folder,
        {shop: {n: columns_of(x) for n, x in runs.items()} for shop, runs in sums.items()},
        seed=int(cfg.evaluation.seed),
        sessions=int(cfg.evaluation.sessions),
        log=log.folder.name,
        model=model_folder.name,
    )
    keep(folder, summary, policy_table(summary), model_folder, member_folders)
    return summary


def _train(
    agent: Any,
    spec: ObservationSpec,
    log: Log,
    cfg: DictConfig,
    folder: Path,
    logger: Logger,
    seconds: dict[str, float],
    resume: bool,
) -> int:
    if not hasattr(agent, "learn"):
        seconds["train"] = 0.0
        return 0
    if cfg.compile and hasattr(agent, "compile"):
        agent.compile()
    core: Lanes
    core = _logged(spec, log, cfg) if learns_from_log(cfg.agent) else _shop(spec, cfg)
    ranks.join(core.device)
    with progress.stage("train", cfg.steps, seconds):
        steps = train(
            agent,
            core,
            steps=int(cfg.steps),
            seed=int(cfg.seed),
            logger=logger,
            folder=folder,
            checkpoint_steps=int(cfg.checkpoint_steps) if ranks.size() == 1 else None,
            resume=resume,
            behaviour=core if isinstance(core, LoggedCore) else None,
        )
    ranks.leave()
    spec.simulator.expected_revenue = spec.simulator.doubt = False
    return steps


def _shop(spec: ObservationSpec, cfg: DictConfig) -> ShopCore:
    """The learned shop, paying the reward that was asked for."""
    spec.simulator.expected_revenue = cfg.reward == "expected_revenue"  # it costs a pass
    reward = _reward(cfg)
    if cfg.pessimism:
        reward, spec.simulator.doubt = pessimistic(reward, float(cfg.pessimism)), True
    return ShopCore(
        spec,
        reward,
        num_envs=cfg.num_envs * int(cfg.agent.get("num_seeds", 1)) // ranks.size(),
        max_pages=cfg.max_pages,
        compile=bool(cfg.compile),
    )


def _logged(spec: ObservationSpec, log: Log, cfg: DictConfig) -> LoggedCore:
    """The log's training sessions in its place; a log has neither page limits nor expectations."""
    return logged_core(spec, log, _reward(cfg), num_envs=cfg.num_envs)


def _reward(cfg: DictConfig) -> Reward:
    reward = reward_named(str(cfg.reward))
    return with_orders(reward, float(cfg.order_bonus)) if cfg.order_bonus else reward


def closing_lines(summary: dict[str, Any], folder: Path) -> list[str]:
    """What the user reads below the table."""
    lines = verdict_lines(summary)
    assumed = summary["user_model"].get("assumptions")
    if assumed:
        lines.append(f"assumed: {assumed['sentence']}")
    return [*lines, *file_lines(summary, folder)]


def resumed(folder: Path) -> DictConfig:
    """The settings of the run in ``folder``, which ``resume`` names.

    Raises:
        UserError: if there is no such run, it is over, or other settings are asked for.
    """
    given = [text for text in HydraConfig.get().overrides.task if not text.startswith("resume=")]
    if given:
        raise UserError(
            f"{given[0]} cannot go with resume={folder}: a run goes on with its own settings; "
            "leave it out, or begin a new run."
        )
    if not (folder / CONFIG).exists():
        raise UserError(
            f"resume={folder} holds no {CONFIG}: expected the folder of a run of agents.train."
        )
    if (folder / SUMMARY).exists():
        raise UserError(
            f"resume={folder} is a run that is over: nothing is left to do; value it anew with "
            f"python -m agents.evaluate run={folder}."
        )
    loaded = OmegaConf.load(folder / CONFIG)
    assert isinstance(loaded, DictConfig)
    return loaded


@command("train")
def main(cfg: DictConfig) -> jobs.Values:
    """Train an agent in the shop learned from a log, and value it beside the baselines."""
    if jobs.in_sweep():
        return jobs.run(cfg, _whole, partial(_values, cfg))
    if ranks.rank():
        _beside(cfg)
        return None
    folder = Path(HydraConfig.get().runtime.output_dir)
    resume = not OmegaConf.is_missing(cfg, "resume")
    cfg = resumed(folder) if resume else cfg
    return _values(cfg, _whole(cfg, folder, resume=resume))


def _beside(cfg: DictConfig) -> None:
    """Train with the first rank, which writes the run and speaks."""
    with TemporaryDirectory() as scratch, progress.into(Path(scratch) / jobs.OUTPUT):
        use_threads(cfg.num_threads)
        check(cfg)
        ranks.use_own_gpu()
        run(cfg, Path(scratch))


def _values(cfg: DictConfig, summary: dict[str, Any]) -> jobs.Values:
    """What a sweeper is told of a run."""
    lift = metrics.money(int(cfg.env.num_sessions))[1]
    return jobs.values_of(summary, cfg.objective, EARNED if job.asked_for(cfg) else lift)


def _whole(cfg: DictConfig, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """Check, run, and say what came out; returns the summary."""
    begun = time.perf_counter()
    use_threads(cfg.num_threads or jobs.threads_here())
    check(cfg)
    ranks.use_own_gpu()
    if job.asked_for(cfg):
        summary = job.run(cfg, folder, resume=resume)
        table, lines = ad_table(summary), job.closing_lines(summary, folder)
    else:
        summary = run(cfg, folder, resume=resume)
        table, lines = policy_table(summary), closing_lines(summary, folder)
    progress.say("\n" + table + "\n")
    for line in lines:
        progress.say(line)
    progress.say(f"done in {time.perf_counter() - begun:.0f} s")
    return summary


if __name__ == "__main__":
    main()
