"""What ``python -m agents.train`` refuses before the log and the fit."""

from __future__ import annotations

import math
from typing import Any

from omegaconf import DictConfig, OmegaConf

from agents import ranks
from agents.ads import job
from agents.ads.verdict import VALUES as AD_VALUES
from agents.jobs import check_objective, in_sweep
from agents.logged import learns_from_log
from agents.seeds import check_alone
from agents.verdict import values
from recgym.build import check_settings
from recgym.cli import check_numbers, check_world
from recgym.errors import UserError
from recgym.record import TrueShopLog
from recgym.reward import reward_named
from recgym.stages.log import open_reader
from recgym.stages.model import check_user_model

NUMBERS = {  # least values; an interval needs two sessions that may differ
    "seed": 0,
    "steps": 1,
    "checkpoint_steps": 1,
    "num_envs": 1,
    "max_pages": 1,
    "num_slots": 1,
    "evaluation.seed": 0,
    "evaluation.sessions": 2,
    "env.num_sessions": 1,
}


def check(cfg: DictConfig) -> None:
    """Stop where a setting cannot be used.

    Raises:
        UserError: naming the first such setting.
    """
    if ranks.size() > 1 and in_sweep():
        raise UserError("torchrun trains one run on several devices: leave -m or torchrun out.")
    check_numbers(cfg, NUMBERS)
    check_world(cfg)
    if not isinstance(cfg.compile, bool):
        raise UserError(f"compile={cfg.compile}: expected true or false.")
    if cfg.compile and learns_from_log(cfg.agent):
        raise UserError(
            f"compile=true is about the learned shop's steps, and agent={cfg.agent_name} learns "
            "from the log alone: set compile=false."
        )
    job.check_kind(cfg)
    reward_named(str(cfg.reward))
    _check_amount("order_bonus", cfg.order_bonus)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    check_settings("agent", settings["agent"])
    check_alone(settings["agent"], str(cfg.agent_name))
    check_user_model(settings["user_model"], cfg.num_slots)
    ranks.check(settings, ranks.size())
    known = AD_VALUES if job.asked_for(cfg) else values(int(cfg.env.num_sessions))
    check_objective(settings["objective"], known)
    _check_sessions(cfg, settings)
    if job.asked_for(cfg):
        job.check_env(cfg)
        job.check_shop(settings)
    else:
        _check_pessimism(cfg)


def _check_sessions(cfg: DictConfig, settings: dict[str, Any]) -> None:
    """Stop before the log and the fit where shoppers are to come back and cannot."""
    count, members = int(cfg.env.num_sessions), int(cfg.user_model.ensemble.members)
    if count == 1:
        return
    if learns_from_log(cfg.agent):
        raise UserError(
            f"env.num_sessions={count}: agent={cfg.agent_name} learns from the log alone, whose "
            "sessions it reads one by one: set env.num_sessions=1."
        )
    if members:
        raise UserError(
            f"env.num_sessions={count}: the {members} members of an ensemble do not say who comes "
            "back: set user_model.ensemble.members=0, or env.num_sessions=1."
        )
    reader = open_reader(settings["log"])
    if not isinstance(reader, TrueShopLog):
        return  # of a log see `recgym.stages.model.check_returns`
    if not (reader.max_sessions > 1 and getattr(reader.true_shop(), "returns", False)):
        raise UserError(
            f"env.num_sessions={count}: nobody comes back in this shop's log; set world=loyal "
            f"log.max_sessions={count}, or env.num_sessions=1."
        )


def _check_pessimism(cfg: DictConfig) -> None:
    """Stop before any work where there is no ensemble to be in doubt."""
    value, members = cfg.pessimism, cfg.user_model.ensemble.members
    _check_amount("pessimism", value)
    if value and not members:
        raise UserError(
            f"pessimism={value} needs an ensemble whose members can part: set "
            "user_model.ensemble.members=4, or pessimism=0."
        )
    if value and learns_from_log(cfg.agent):
        raise UserError(
            f"pessimism={value} is about what the learned shop pays, and agent={cfg.agent_name} "
            "learns from the log alone: set pessimism=0."
        )


def _check_amount(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UserError(f"{name}={value}: expected a number of at least 0.")
