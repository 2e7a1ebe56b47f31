"""``python -m experiments.published protocol=retailrocket data=DIR``: beside published figures.

Runs the protocol of the official GRU4Rec comparison (`experiments.publishing.protocol`) on a copy
of one of its logs, and puts the next-view ranking of our user model and of the predictors beside
the published row. Ties count against us.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.comparing.next_views import TESTED, foresee, held_out, table
from experiments.predicting.base import Predictor, make_predictors, views_of
from experiments.predicting.ranks import worst_rank
from experiments.publishing.layouts import LAYOUTS, files_of, read
from experiments.publishing.protocol import Prepared, prepare
from experiments.publishing.shopping import as_sessions, catalog_of
from recgym import progress
from recgym.build import build
from recgym.cli import check_numbers, command, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.logs.scratch import scratch
from recgym.logs.source import plain_errors
from recgym.shops import choose_device
from recgym.stages.model import check_user_model
from recgym.types import Catalog, Sessions, Split
from recgym.users.fit_settings import FitSettings
from recgym.users.report import Figures
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import rows_of
from recgym.users.training import fit

SCHEMA_VERSION = 1


def prepared_of(name: str, data: str | None, gaps: str, work: Path, memory_limit: str) -> Prepared:
    """The sessions of a copy of the log; ``work`` is a folder to be made, and removed again."""
    if name not in LAYOUTS:
        raise UserError(f"protocol={name}: expected one of {', '.join(LAYOUTS)}.")
    found = files_of(name, data)
    for file in [file for file, place in found.items() if place is None]:
        progress.say(f"without {file}, which the published figures are of too")
    files = [place for place in found.values() if place]
    try:
        with plain_errors(data), scratch(work, memory_limit) as db:
            rows = read(db, name, files)
            prepared = prepare(db, LAYOUTS[name], gaps)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    prepared.counts.update(rows, files=len(files))
    return prepared


def fitted(
    sessions: Sessions, catalog: Catalog, settings: Any, device: torch.device
) -> SequenceModel:
    """The user model of these settings, fitted on the training sessions."""
    train_B, seed = rows_of(sessions, Split.TRAIN), int(settings["seed"])
    met = views_of(sessions, train_B, catalog.num_items).item
    torch.manual_seed(seed)
    model: SequenceModel = build(
        settings["model"],
        catalog=catalog,
        seen_I=torch.bincount(met, minlength=catalog.num_items) > 0,
        profile_BP=sessions.profile[train_B],
        start_ms_B=sessions.time_ms[sessions.offset[train_B]],
    )
    model.to(device)
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        progress.advance(share - done)
        done = share

    with progress.stage("fit", 1.0, {}):
        fit(model, sessions, FitSettings(**settings["fit"]), seed=seed, progress=advance)
    return model


def compared(
    prepared: Prepared, predictors: Mapping[str, Predictor], settings: Any, device: torch.device
) -> dict[str, Figures]:
    """The figures of our user model and of the predictors."""
    chosen, num_items = settings["user_model"], prepared.num_items
    sessions = as_sessions(prepared, float(settings["valid_share"]))
    before = views_of(sessions, rows_of(sessions, Split.TRAIN, Split.VALID), num_items)
    catalog = catalog_of(before, int(settings["num_groups"]), int(chosen["seed"]))
    ours = {str(chosen["name"]): fitted(sessions, catalog, chosen, device)}
    said = held_out(ours, sessions, *TESTED, rank=worst_rank)
    return foresee(said, predictors, sessions, num_items, worst_rank)


@command("published")
def main(cfg: DictConfig) -> None:
    """Counts, table and JSON of one log."""
    use_threads(cfg.num_threads)
    check_numbers(cfg, {"num_groups": 1})
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    if not 0.0 < settings["valid_share"] < 1.0:
        raise UserError(
            f"valid_share={settings['valid_share']}: expected a share above 0 and below 1."
        )
    check_user_model(settings["user_model"], 1)
    if settings["user_model"]["text"]["encoder"] is not None:
        raise UserError(
            "user_model.text.encoder has no effect here, for the published layouts hold no titles: "
            "leave it out."
        )
    predictors = make_predictors(settings["predictors"], settings["predicting"])
    device, folder = choose_device(cfg.device), Path(HydraConfig.get().runtime.output_dir)
    name, gaps = settings["protocol"], settings["gaps"]
    prepared = prepared_of(
        name, settings["data"], gaps, folder / "work", settings["memory_limit"]
    )  # fmt: skip
    progress.say("  ".join(f"{key} {value:,}" for key, value in prepared.counts.items()))
    published = {"recall_at_20": LAYOUTS[name].recall, "mrr_at_20": LAYOUTS[name].mrr}
    rows = compared(prepared, predictors, settings, device)
    rows["GRU4Rec, as published"] = dict(published)
    content = {
        "schema_version": SCHEMA_VERSION,
        "protocol": name,
        "gaps": gaps,
        "counts": prepared.counts,
        "published": published,
        "next_view": rows,
    }
    write_json(folder / "published.json", content)
    progress.say("\n" + table([rows]) + "\n")
    progress.say(f"files        {folder / 'published.json'}")


if __name__ == "__main__":
    main()
