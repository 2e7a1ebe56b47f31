"""What is viewed next in the held-out sessions of a log: user models beside predictors of it alone.

Every view of a test session but its first is foreseen, given what was viewed before it. A user
model also sees the pages, what follows a view, and the time between; a predictor sees the views
alone. Models are fitted on the training sessions and choose their epoch on the validation sessions;
predictors, which choose nothing, learn from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.predicting.base import Predictor, views_of
from experiments.predicting.ranks import TOP, TOPS, figures, ranked
from recgym import progress
from recgym.types import Sessions, Split
from recgym.users.report import Figures, Ranker, mid_rank, predict
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import rows_of

TITLES = {
    "nll_next_view": "NLL a next view",
    **{f"recall_at_{top}": f"Recall@{top}" for top in TOPS},
    f"mrr_at_{TOP}": f"MRR@{TOP}",
    f"ndcg_at_{TOP}": f"NDCG@{TOP}",
}


def foresee(
    models: Mapping[str, SequenceModel],
    predictors: Mapping[str, Predictor],
    sessions: Sessions,
    num_items: int,
    rank: Ranker = mid_rank,
) -> dict[str, Figures]:
    """The figures of each, by name."""
    train_B = rows_of(sessions, Split.TRAIN, Split.VALID)
    test_B = rows_of(sessions, Split.TEST, Split.TEST_NEW)
    rows: dict[str, Figures] = {}
    for name, model in models.items():
        with progress.stage(name, 1.0, {}):
            found = predict(model.eval(), model.sees(sessions), test_B, rank)
        rows[name] = figures(found.next_rank, found.next_log_prob)
    train, test = (views_of(sessions, row_B, num_items) for row_B in (train_B, test_B))
    for name, predictor in predictors.items():
        with progress.stage(name, 1.0, {}):
            predictor.fit(train)
            rows[name] = figures(*ranked(predictor, test, rank))
    return rows


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One row each, the best Recall@20 first; a dash where a figure does not apply."""
    lines = [f"| next view | {' | '.join(TITLES.values())} |", "|---" * (len(TITLES) + 1) + "|"]
    order = sorted(rows, key=lambda name: -(rows[name][f"recall_at_{TOP}"] or 0.0))
    for name in order:
        cells = ["-" if rows[name].get(key) is None else f"{rows[name][key]:.4f}" for key in TITLES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
