"""What follows a view in the held-out sessions of a log: how well carts and purchases are foreseen.

A model gives each view a chance of being put into the cart (or bought), and of being bought at
once. Precision, recall and F1 need a yes or no: yes is said from the chance on that has the highest
F1 in the validation sessions, which is chosen before the test sessions are looked at. Areas and the
calibration error need no such choice. `ALWAYS` says yes to every view, with the share that follows
in training: what a model must be better than.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)
from torch import Tensor

from experiments.comparing.tables import Column, Order, table_of
from recgym.types import After, Kind, Sessions, Split
from recgym.users.report import Figures, Predictions, calibration_error
from recgym.users.sessions import rows_of

ALWAYS = "always, by the share in training"
KINDS = {"cart": After.CART, "purchase": After.BUY}  # each with what goes further
COLUMNS = {
    "precision": Column("precision", "{:.3f}"),
    "recall": Column("recall", "{:.3f}"),
    "f1": Column("F1", "{:.3f}"),
    "roc_auc": Column("ROC-AUC", "{:.3f}"),
    "pr_auc": Column("PR-AUC", "{:.3f}"),
    "ece": Column("ECE"),
    "rate": Column("rate"),
}
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def follow_ups(
    valid: Mapping[str, Predictions], test: Mapping[str, Predictions], sessions: Sessions
) -> dict[str, dict[str, Figures]]:
    """Figures of ``cart`` and ``purchase``, by model; none where all or none of the views do."""
    found: dict[str, dict[str, Figures]] = {}
    train = _followed(sessions, rows_of(sessions, Split.TRAIN))
    for place, kind in enumerate(KINDS):
        happened = next(iter(test.values())).followed[:, place].numpy() > 0
        if happened.all() or not happened.any():
            continue
        rate = float(train[:, place].double().mean())
        rows = {ALWAYS: figures(np.full(len(happened), rate), happened, 0.0)}
        for name, said in test.items():
            chosen = threshold(*_asked(valid[name], place))
            rows[name] = figures(*_asked(said, place), chosen)
        found[kind] = rows
    return found


def _asked(said: Predictions, place: int) -> tuple[Floats, Bools]:
    chance_v = np.asarray(said.follow[:, place].double().numpy())
    return chance_v, np.asarray(said.followed[:, place].numpy() > 0)


def _followed(sessions: Sessions, row_B: Tensor) -> Tensor:
    """Whether each view of these sessions was carted (or bought), and bought, [v, 2]."""
    within_B = torch.zeros(len(sessions.split), dtype=torch.bool)
    within_B[row_B] = True
    within_S = within_B.repeat_interleave(sessions.offset.diff())
    after_v = sessions.event.after[within_S & (sessions.event.kind == Kind.VIEW)]
    return torch.stack([after_v >= least for least in KINDS.values()], -1)


def threshold(chance_v: Floats, happened_v: Bools) -> float:
    """From which chance on a yes has the highest F1; 0, so always, where nothing happened."""
    if not happened_v.any():
        return 0.0
    precision_t, recall_t, chance_t = precision_recall_curve(happened_v, chance_v)
    both_t = np.maximum(precision_t + recall_t, np.finfo(np.float64).tiny)
    f1_t = 2.0 * precision_t * recall_t / both_t  # the last one, of never saying yes, has no chance
    return float(chance_t[f1_t[:-1].argmax()])


def figures(chance_v: Floats, happened_v: Bools, chosen: float) -> Figures:
    """Precision, recall and F1 of saying yes from ``chosen`` on, and what needs no such choice."""
    precision, recall, f1, _ = precision_recall_fscore_support(
        happened_v, chance_v >= chosen, average="binary", zero_division=0.0
    )
    ece = calibration_error(torch.from_numpy(chance_v), torch.from_numpy(happened_v).long())
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(roc_auc_score(happened_v, chance_v)),
        "pr_auc": float(average_precision_score(happened_v, chance_v)),
        "ece": ece,
        "rate": float(happened_v.mean()),
    }


def tables(cells: Sequence[Mapping[str, Mapping[str, Figures]]]) -> list[str]:
    """One of each kind that can be told in every cell, the best PR-AUC first."""
    order = Order("pr_auc", last=(ALWAYS,))
    return [
        table_of(f"{kind}, given the view", COLUMNS, [cell[kind] for cell in cells], order)
        for kind in KINDS
        if all(kind in cell for cell in cells)
    ]
