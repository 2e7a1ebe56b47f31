"""One cell: a shop, a log of it and a fit, and what the parts that were asked for found there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from experiments.believing.effects import Effects, errors
from experiments.believing.measures import Bools, pairs_that_differ
from experiments.believing.names import RIGHT, TRUE
from experiments.believing.parts import PARTS, Found
from experiments.believing.settings import CellSettings
from experiments.believing.stand import Stand
from experiments.values import Values
from recgym.errors import UserError
from recgym.files import write_json

RESULT, VALUES = "result.json", "values.npz"


@dataclass(frozen=True)
class Cell:
    """A cell as it was run: its result and its values in blocks."""

    result: dict[str, Any]
    values: dict[str, Values]  # by shop: true, and learned ones

    @cached_property
    def counted(self) -> Bools:
        """Pairs of fixed policies that truly differ, by all sessions, [P, P]."""
        true = self.values[TRUE]
        return pairs_that_differ(true.block_PJ[[true.names.index(n) for n in rules_of(true)]])


def rules_of(values: Values) -> list[str]:
    """The fixed policies, by which learned shops are judged."""
    return [name for name in values.names if name.startswith("rule-")]


def run_cell(
    settings: CellSettings,
    parts: Collection[str],
    folder: Path,
    cache: Path,
    device: torch.device,
) -> Cell:
    """The cell with its fit, its agent, ``parts`` and all parts that were run before.

    Args:
        settings: of the cell.
        parts: names of `PARTS`; what lies there is read, the others are run.
        folder: of all cells.
        cache: of logs and fits.
        device: to fit, train and play on.

    Raises:
        UserError: if a part that lies there is damaged.
    """
    stand = Stand(settings, folder / settings.key(), cache, device)
    found = []
    for name, run in PARTS.items():
        place = stand.folder / f"{name}-{settings.key_of_part(name)}"
        if (place / RESULT).exists():
            found.append(_read(place))
        elif name == RIGHT or name in parts:
            found.append(run(stand))
            place.mkdir(parents=True, exist_ok=True)
            _flat(found[-1].values).save(place / VALUES)
            write_json(place / RESULT, found[-1].result)  # last: it says that the part is whole
    return _joined(settings, found)


def _read(place: Path) -> Found:
    try:
        result: dict[str, Any] = json.loads((place / RESULT).read_text())
        return Found(result, _split(Values.load(place / VALUES)))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        line = " ".join(str(error).split())[:120]
        raise UserError(
            f"{place} is damaged ({line}): remove it, and this part is run again."
        ) from error


def _flat(values: Mapping[str, Values]) -> Values:
    """All shops in one file, each policy named with its shop."""
    return Values.joined(
        Values([f"{shop}/{name}" for name in of_shop.names], of_shop.block_PJ)
        for shop, of_shop in values.items()
    )


def _split(flat: Values) -> dict[str, Values]:
    rows: dict[str, dict[str, Any]] = {}
    for name, block_J in zip(flat.names, flat.block_PJ, strict=True):
        shop, policy = name.split("/", 1)
        rows.setdefault(shop, {})[policy] = block_J
    return {shop: Values(list(own), np.stack([*own.values()])) for shop, own in rows.items()}


def _joined(settings: CellSettings, parts: list[Found]) -> Cell:
    """What all parts found, as one; figures of user models side by side."""
    values = {
        shop: Values.joined(part.values[shop] for part in parts if shop in part.values)
        for shop in dict.fromkeys(shop for part in parts for shop in part.values)
    }
    result: dict[str, Any] = {"world": settings.world, "seed": settings.seed}
    result |= {"sessions": settings.sessions, "log_sessions": settings.log["num_sessions"]}
    for part in parts:
        for name, value in part.result.items():
            if isinstance(value, dict):
                result[name] = {**result.get(name, {}), **value}
            else:
                result[name] = value
    true = Effects(**result["effects"][TRUE])
    result["effects"] = {
        kind: {**found, **({} if kind == TRUE else errors(Effects(**found), true))}
        for kind, found in result["effects"].items()
    }
    result["values"] = {shop: of_shop.mean() for shop, of_shop in values.items()}
    return Cell(result, values)
