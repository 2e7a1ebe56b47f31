"""What a run shows in TensorBoard beside its curves: of its log and fit, and of how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor

from agents.ads.front import LABELS as LABELS_OF_FRONT
from agents.ads.front import PICTURE
from agents.drawings import calibration_of, front_of
from agents.folders import OVERRIDES
from agents.jobs import swept
from agents.logger import Logger
from recgym.fidelity.calibration import forecasts
from recgym.fidelity.trace import of_log
from recgym.files import beside
from recgym.logs.log import Log
from recgym.types import Split
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import rows_of

MOST_ITEMS = 2_000  # of the projector: those viewed most
MOST_SESSIONS = 300  # whose steps are forecast again: seconds at most
LABELS = ("item", "category", "price")
COMPARED = (  # settings that every run has, for the HParams tab
    "agent_name", "env_name", "seed", "steps", "num_envs", "num_slots", "reward", "pessimism",
    "log.name", "user_model.name", "user_model.ensemble.members",
)  # fmt: skip


def show_fit(logger: Logger, log: Log, model: SequenceModel, views_I: Tensor) -> None:
    """The log's card, the items as the user model sees them, and how well it forecasts."""
    logger.text("log card", log.card())
    catalog = model.catalog
    item_X = views_I.argsort(descending=True, stable=True)[:MOST_ITEMS].cpu()
    category, price = (x.cpu() for x in (catalog.category, catalog.price[-1]))
    labels = [
        (number, int(category[number]), f"{float(price[number]):.2f}" if catalog.priced else "-")
        for number in item_X.tolist()
    ]
    vector_ID = model.tables.vector_ID
    logger.embedding("items", vector_ID[item_X.to(vector_ID.device)], labels, LABELS)
    row_B = rows_of(log.sessions(), Split.TEST, Split.TEST_NEW)[:MOST_SESSIONS]
    curves = {}
    if len(row_B):
        for name, found in forecasts(model, of_log(log, row_B)).items():
            if found.happened.sum() > 0:
                chance, frequency = found.curve()
                curves[name] = chance.tolist(), frequency.tolist()
    if curves:
        logger.figure("calibration", calibration_of(curves))


def show_end(
    logger: Logger,
    settings: Mapping[str, Any],
    summary: dict[str, Any],
    played: Mapping[str, Mapping[str, Any]],
    table: str,
) -> None:
    """Settings, verdict and funnel, and what the HParams tab compares.

    Args:
        logger: of the run.
        settings: all of them, as plain data.
        summary: of the run.
        played: shop, then policy, then the sums over its sessions.
        table: of the policies, as text.
    """
    logger.text("verdict", table)
    logger.text("config", OmegaConf.to_yaml(OmegaConf.create(dict(settings))))
    shop = "true" if "true" in played else "learned"
    logger.funnel(played[shop], shop)
    logger.job(compared(settings, logger.folder / OVERRIDES), summary)


def compared(settings: Mapping[str, Any], overrides: Path) -> dict[str, bool | str | float]:
    """Settings by which runs are told apart: some that all have, and what was given to this one.

    Every job of a sweep is given the same keys, so that the tab has a column for each of them.
    """
    config = OmegaConf.create(dict(settings))
    keys = list(COMPARED)
    if overrides.is_file():
        given = [
            line.lstrip("+~").partition("=")[0]
            for line in swept([str(line) for line in OmegaConf.load(overrides)])
        ]
        # agent=dqn is agent_name, and so with every group
        keys += [key for key in given if key not in keys]
    found = {key: OmegaConf.select(config, key) for key in keys}
    return {
        key: value if isinstance(value, bool | str | float | int) else str(value)
        for key, value in found.items()
        if value is not None and not OmegaConf.is_config(value)
    }


def show_front(logger: Logger, summary: Mapping[str, Any]) -> None:
    """The picture of an ad run's fronts, in its folder and in TensorBoard."""
    figure = front_of(summary["policies"], summary["front"], LABELS_OF_FRONT)
    with beside(logger.folder / PICTURE) as place:
        figure.savefig(place, dpi=130, format="png")
    logger.figure("front", figure)
    for shop, found in summary["front"].items():
        logger.scalar(f"front/{shop}_hypervolume", found["hypervolume"], 0)
