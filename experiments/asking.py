"""What experiments over several shops ask of their configs: a budget, lists, entries of conf/."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from recgym.errors import UserError

EXAMPLES = {str: "names, as in [default]", int: "whole numbers of at least 0, as in [0]"}


def budget_of(cfg: DictConfig) -> Any:
    """The budget that ``cfg.budget`` names.

    Raises:
        UserError: naming those there are.
    """
    if cfg.budget not in cfg.budgets:
        known = ", ".join(str(name) for name in cfg.budgets)
        raise UserError(f"budget={cfg.budget}: expected one of {known}.")
    return cfg.budgets[cfg.budget]


def check_lists(cfg: DictConfig, kinds: Mapping[str, type]) -> None:
    """Stop where a setting is no list, is empty, or holds what is not of its kind.

    Raises:
        UserError: naming the first such setting.
    """
    for key, kind in kinds.items():
        values = OmegaConf.select(cfg, key)
        listed = list(values) if isinstance(values, ListConfig) else []
        fit = [type(value) is kind and not str(value).startswith("-") for value in listed]
        if not fit or not all(fit):
            raise UserError(f"{key}={values}: expected a list of {EXAMPLES[kind]}.")


def names_of(group: str) -> list[str]:
    """Of the entries of ``conf/<group>``."""
    entries = (files("conf") / group).iterdir()
    return sorted(e.name.removesuffix(".yaml") for e in entries if e.name.endswith(".yaml"))


def entry_of(group: str, name: str, key: str) -> DictConfig:
    """An entry of ``conf/<group>``, which the setting ``key`` names.

    Raises:
        UserError: naming the setting.
    """
    entry = files("conf") / group / f"{name}.yaml"
    if not entry.is_file():
        known = ", ".join(names_of(group))
        raise UserError(f"{key}: {name} is unknown: expected names of conf/{group}: {known}.")
    loaded = OmegaConf.create(entry.read_text(encoding="utf-8"))
    assert isinstance(loaded, DictConfig)
    return loaded


def fit_within(user_model: Any, *, seed: int, epochs: int, log_sessions: int) -> None:
    """Let a user model's settings keep to a budget; its check takes no more sessions than its log.

    Args:
        user_model: an entry of ``conf/user_model``, which is changed.
        seed: of the fit.
        epochs: of the fit, at most.
        log_sessions: of the log.
    """
    user_model.seed, user_model.fit.epochs = seed, epochs
    check = user_model.on_policy
    check.sessions = check.true_sessions = min(check.sessions, log_sessions)
