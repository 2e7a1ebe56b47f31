"""``python -m recgym.fit``: clean a log, fit a user model on it, report on both."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard import SummaryWriter

from recgym import progress
from recgym.cli import check_world, command, sentence, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.report import fit_lines, say_log
from recgym.runs import CONFIG, FIT, MODEL
from recgym.shops import choose_device
from recgym.stages.log import prepare_log, prepare_part
from recgym.stages.model import check_user_model, prepare_model


def keep(folder: Path, cfg: DictConfig, summary: dict[str, Any]) -> None:
    """Leave what `recgym.fidelity` opens: a log without prices is fitted, and never trained on."""
    OmegaConf.save(cfg, folder / CONFIG, resolve=True)
    write_json(folder / FIT, summary)


def searching() -> bool:
    """Whether this is a job of a sweeper that puts up with jobs that fail, as Optuna's does."""
    hydra = HydraConfig.get()
    return bool(hydra.mode == RunMode.MULTIRUN and "max_failure_rate" in hydra.sweeper)


@command("fit")
def main(cfg: DictConfig) -> float | None:
    """Fit alone, with its report; a sweeper is told the best epoch's validation likelihood.

    It is the negative one in nats a step, before the validation sessions teach too.
    """
    try:
        return _whole(cfg)
    except UserError as error:
        if not searching():
            raise
        progress.say(f"job {HydraConfig.get().job.num} failed: {sentence(error)}")
        return None


def _whole(cfg: DictConfig) -> float | None:
    """Check, fit, and say what came out; returns what a sweeper is told, of a part nothing."""
    use_threads(cfg.num_threads)
    check_world(cfg)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    check_user_model(settings["user_model"], settings["num_slots"])
    members = settings["user_model"]["ensemble"]["members"]
    if members:
        raise UserError(
            f"user_model.ensemble.members={members} has no effect on a fit alone: leave it out, or "
            "use python -m agents.train, which trains in one half of them and scores in the other."
        )
    seconds: dict[str, float] = {}
    cache, folder = Path(cfg.cache_dir), Path(HydraConfig.get().runtime.output_dir)
    if settings["log"].get("part") is not None:
        prepare_part(settings["log"], cache)
        return None
    log, reader, reused = prepare_log(settings["log"], cache, seconds)
    say_log(log, reader, reused)
    writer = SummaryWriter(str(folder))
    model_settings = {**settings["user_model"], "num_slots": settings["num_slots"]}
    _, report, model_folder, reused = prepare_model(
        log, reader, model_settings, cache, choose_device(cfg.device), seconds, writer.add_scalar
    )
    writer.close()
    for line in fit_lines(report, reused):
        progress.say(line)
    keep(folder, cfg, {"log": {"folder": str(log.folder), **log.meta}, "user_model": report})
    shutil.copytree(model_folder, folder / MODEL, dirs_exist_ok=True)
    progress.say(f"\nmodel        {model_folder}   (use it as shop='model:{model_folder}')")
    progress.say(f"log          {log.folder}")
    progress.say(f"scorecard    python -m recgym.fidelity run={folder}")
    progress.say(f"TensorBoard  tensorboard --logdir {folder.parent}")
    return float(report.get("valid_nll", math.nan))  # of a fit that was kept before it was noted


if __name__ == "__main__":
    main()
