"""Logs without impressions: every policy in every shop that the assumptions allow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agents.valuing import Played, play
from recgym import progress
from recgym.errors import UserError
from recgym.rollout import LANES
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Policy
from recgym.users.assumed import AssumedRange, assumed_shop
from recgym.users.sequence import SequenceModel
from recgym.users.store import FIT, load_model

CACHED = 400_000  # numbers, one an item and lane; measured with 6,493 items: 8 s instead of 14


@dataclass(frozen=True)
class Case:
    """What every policy did in the shop of one assumption."""

    rho: float
    seed: int  # of the draw
    runs: dict[str, Played]


def play_range(
    model: SequenceModel,
    model_folder: Path,
    policies: dict[str, Policy],
    base: Case,
    chosen: AssumedRange,
    *,
    num_shoppers: int,
    num_sessions: int = 1,
    seed: int,
    seconds: dict[str, float] | None = None,
) -> list[Case]:
    """The base case and, on the first of its shoppers, those of the other assumptions.

    The policies stay what they are: they read the base model's state, as they would once deployed,
    and none is made anew for the shop that it happens to meet.

    Args:
        model: the base assumption's, which encodes what the policies see.
        model_folder: where it was saved, with the fit before assumptions.
        policies: as in ``base.runs``.
        base: the assumption that the policies were made under, as valued already.
        chosen: the assumptions.
        num_shoppers: at most, in each shop and for each policy.
        num_sessions: of a shopper at most.
        seed: of the evaluation's shoppers.
        seconds: the time that it took is added under ``range``.
    """
    if not (model_folder / FIT).is_dir():
        raise UserError(
            f"{model_folder} lacks the fit before assumptions, and no lift is given without its "
            "range over them: make the run anew with python -m agents.train."
        )
    device = model.items.own.device
    fit = load_model(model_folder / FIT, device)
    others = [case for case in chosen.all() if case != (base.rho, base.seed)]
    shoppers = min(chosen.sessions, num_shoppers)
    # with two models and few sessions a CPU is fastest where all items of all lanes fit its cache
    fitting = max(64, CACHED // model.catalog.num_items)
    lanes = min(LANES, fitting) if device.type == "cpu" else LANES
    cases = [base]
    with progress.stage("range", len(others) * len(policies) * shoppers, seconds):
        for rho, draw in others:
            shop = assumed_shop(
                fit, rho=rho, page_share=chosen.page_share, seed=draw, num_slots=chosen.num_slots
            )
            simulator = Simulator(
                shop, encoder=model, num_slots=chosen.num_slots, num_sessions=num_sessions
            )
            spec = ObservationSpec(simulator, "encoder")
            runs = {
                name: play(spec, policy, shoppers, seed, device, lanes)
                for name, policy in policies.items()
            }
            cases.append(Case(rho, draw, runs))
    return cases
