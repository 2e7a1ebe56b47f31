"""``python -m experiments.off_policy [data=DIR]``: does a log say what a policy is worth?

On the Open Bandit Dataset the log of one policy values the other one, whose own log knows its
click-through rate. In true shops a softened logging policy writes a log, from which softened
versions of 24 fixed rules are valued by every estimator of `recgym.ope`, beside their truth.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.asking import check_lists, entry_of
from experiments.evaluating import open_bandit
from experiments.evaluating.judging import Setup, judge
from experiments.evaluating.report import bandit_table, shop_table
from recgym import progress
from recgym.build import build
from recgym.cli import command, use_threads
from recgym.errors import UserError
from recgym.files import write_json, write_text
from recgym.logs.open_bandit import POLICIES, OpenBandit
from recgym.record import LAW_VERSION
from recgym.settings import check
from recgym.stages.log import key_of

SCHEMA_VERSION = 1
BANDIT_CLIP = 1e9  # rounds of one item have small weights: none is cut
COMMON = ("rules", "log_sessions", "truth_sessions", "clip", "threshold", "draws", "ridge", "seed")


def run_shop(cfg: DictConfig, name: str, folder: Path) -> dict[str, Any]:
    """One shop's result, from its file where it was run before."""
    world, given = _setup(cfg, name)
    decided = {"version": SCHEMA_VERSION, "law": LAW_VERSION, "world": world, **given}
    target = folder / f"{name}-{key_of(decided)}.json"
    if target.exists():
        found: dict[str, Any] = json.loads(target.read_text())
        return found
    seconds: dict[str, float] = {}
    shop = build(world)
    result = {"settings": {"world": world, **given}, **judge(shop, Setup(**given), seconds)}
    result["seconds"] = {stage: round(value, 1) for stage, value in seconds.items()}
    write_json(target, result)
    return result


def _setup(cfg: DictConfig, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The true shop's settings, and those of its log and policies."""
    if name not in cfg.setups:
        known = ", ".join(map(str, cfg.setups))
        raise UserError(f"shops={name}: expected entries of setups, which are {known}.")
    given: Any = OmegaConf.to_container(cfg.setups[name], resolve=True)
    world: Any = OmegaConf.to_container(
        OmegaConf.create(entry_of("world", given.pop("world"), f"setups.{name}.world")),
        resolve=True,
    )
    world |= given.pop("knobs")
    check(f"setups.{name}", given, Setup)
    if len(given["filled"]) != given["num_slots"] + 1:
        raise UserError(
            f"setups.{name}.filled has {len(given['filled'])} entries: expected one for each of "
            f"0 to {given['num_slots']} slots that hold an item."
        )
    return world, {**given, **{key: cfg[key] for key in COMMON}}


@command("off_policy")
def main(cfg: DictConfig) -> None:
    """Run what is missing, then say what it shows."""
    use_threads(cfg.num_threads)
    check("", {key: cfg[key] for key in COMMON}, Setup)
    if cfg.data is None or cfg.shops:  # with data of its own a run may do without shops
        check_lists(cfg, {"shops": str})
    for name in cfg.shops:  # all that is wrong is said before the first of them is run
        _setup(cfg, name)
    begun, folder = time.perf_counter(), Path(str(cfg.folder))
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "shops": {}}
    text = []
    if cfg.data is not None:
        reader = OpenBandit(path=cfg.data, campaign=str(cfg.campaign))
        logs = {policy: reader.read(policy) for policy in POLICIES}
        content["open_bandit"] = open_bandit.judge(
            logs, clip=BANDIT_CLIP, threshold=float(cfg.threshold), seed=int(cfg.seed)
        )
        text.append(bandit_table(content["open_bandit"]))
    for name in cfg.shops:
        content["shops"][name] = run_shop(cfg, name, folder)
        text.append(shop_table(name, content["shops"][name]))
    write_json(folder / "off_policy.json", content)
    write_text(folder / "off_policy.md", "\n\n".join(text) + "\n")
    progress.say("\n\n".join(text))
    progress.say(f"\nfiles        {folder / 'off_policy.json'}, off_policy.md")
    progress.say(f"done in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
