"""What each shopper brought, left in a run so that runs can be compared shopper by shopper.

``stats.npz`` holds ``<shop>/<policy>/<field>``, each float32 [B] in the order of the evaluation's
shoppers, and ``meta``, JSON: two runs of one log, model, seed and number of sessions met the same
shoppers in the same order. ``sessions`` is left out where each row is one session.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recgym.ads.metrics import AD_METRICS
from recgym.ads.stats import AdStats
from recgym.errors import UserError
from recgym.files import beside
from recgym.metrics import METRICS
from recgym.types import SessionStats

STATS = "stats.npz"
SCHEMA_VERSION = 1

Columns = dict[str, NDArray[np.float32]]  # field, each [B]


@dataclass(frozen=True)
class Shoppers:
    """A run's ``stats.npz``: what is asked for is read, so that a large sweep fits into memory."""

    path: Path
    meta: dict[str, Any]
    keys: frozenset[str]

    def columns(self, shop: str, policy: str) -> Columns | None:
        """What shoppers brought under a policy; None where it was not played in this shop."""
        start = f"{shop}/{policy}/"
        with _opened(self.path) as file:
            found = {key.removeprefix(start): file[key] for key in self.keys
                     if key.rpartition("/")[0] + "/" == start}  # fmt: skip
        return found or None


def columns_of(stats: SessionStats) -> Columns:
    """Of a recommender: money paid and credited, and sessions with an order."""
    converted_B, sessions_B = METRICS["conversion_rate"](stats)
    return _plain(
        revenue=stats.revenue,
        credited_revenue=stats.credited_revenue,
        converted=converted_B,
        sessions=sessions_B,
    )


def ad_columns_of(stats: AdStats, earned_B: Tensor) -> Columns:
    """Of pages with ads: sales, the platform's earnings, what campaigns pay, load, satisfaction."""
    return _plain(
        revenue=stats.revenue,
        converted=stats.converted,
        sessions=stats.sessions,
        earned=earned_B,
        ad_revenue=stats.ad_revenue(),
        shown=stats.impressions,
        sponsored=stats.ads,
        satisfaction=AD_METRICS["satisfaction"](stats)[0],
        pages=stats.pages,
    )


def keep_shoppers(
    folder: Path,
    columns: Mapping[str, Mapping[str, Columns]],
    *,
    seed: int,
    sessions: int,
    log: str,
    model: str,
) -> None:
    """Leave ``stats.npz`` in a run's folder.

    Args:
        folder: of the run.
        columns: shop, then policy, then field.
        seed: of the evaluation.
        sessions: of each policy and shop, B.
        log: name of the log's folder, which is the hash of what decides it.
        model: name of the model's folder, likewise.
    """
    meta = {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "sessions": sessions,
        "log": log,
        "model": model,
    }
    flat = {
        f"{shop}/{name}/{field}": value_B
        for shop, policies in columns.items()
        for name, fields in policies.items()
        for field, value_B in fields.items()
    }
    with beside(folder / STATS) as place:
        np.savez_compressed(place, meta=np.array(json.dumps(meta)), **flat)  # type: ignore[arg-type]


def read_shoppers(folder: Path) -> Shoppers | None:
    """What `keep_shoppers` left; None where it did not.

    Raises:
        UserError: where the file is damaged or of another version.
    """
    path = folder / STATS
    if not path.is_file():
        return None
    with _opened(path) as file:
        meta = json.loads(str(file["meta"]))
        keys = frozenset(file.files) - {"meta"}
    if meta.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path} is of version {meta.get('schema_version')}: expected {SCHEMA_VERSION}; remove "
            "it, and the run is compared without pairs."
        )
    return Shoppers(path, meta, keys)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read ({error}): remove it, and the run is compared without pairs."
        ) from error


def _plain(**values: Tensor) -> Columns:
    columns = {name: value_B.detach().cpu().numpy() for name, value_B in values.items()}
    if (columns["sessions"] == 1).all():
        del columns["sessions"]
    return {name: value_B.astype(np.float32) for name, value_B in columns.items()}
