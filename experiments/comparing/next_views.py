"""What is viewed next in the held-out sessions of a log: user models beside predictors of it alone.

Every view of a test session but its first is foreseen, given what was viewed before it. A user
model also sees the pages, what follows a view, and the time between; a predictor sees the views
alone. Models are fitted on the training sessions and choose their epoch on the validation sessions;
predictors, which choose nothing, learn from both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.comparing.tables import Column, Order, Rows, table_of
from experiments.predicting.base import Predictor, views_of
from experiments.predicting.ranks import TOP, TOPS, figures, ranked
from recgym import progress
from recgym.types import Sessions, Split
from recgym.users.report import Figures, Predictions, Ranker, mid_rank, predict
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import rows_of

TESTED = (Split.TEST, Split.TEST_NEW)
COLUMNS = {
    "nll_next_view": Column("NLL a next view"),
    **{f"recall_at_{top}": Column(f"Recall@{top}") for top in TOPS},
    f"mrr_at_{TOP}": Column(f"MRR@{TOP}"),
    f"ndcg_at_{TOP}": Column(f"NDCG@{TOP}"),
}


def held_out(
    models: Mapping[str, SequenceModel], sessions: Sessions, *split: Split, rank: Ranker = mid_rank
) -> dict[str, Predictions]:
    """What each model says of the sessions of these splits."""
    row_B, said = rows_of(sessions, *split), {}
    for name, model in models.items():
        with progress.stage(f"{name} ahead", 1.0, {}):
            said[name] = predict(model.eval(), model.sees(sessions), row_B, rank)
    return said


def foresee(
    said: Mapping[str, Predictions],
    predictors: Mapping[str, Predictor],
    sessions: Sessions,
    num_items: int,
    rank: Ranker = mid_rank,
) -> dict[str, Figures]:
    """The figures of each, by name; ``said`` is what the models say of the test sessions."""
    train_B = rows_of(sessions, Split.TRAIN, Split.VALID)
    test_B = rows_of(sessions, *TESTED)
    rows = {name: figures(one.next_rank, one.next_log_prob) for name, one in said.items()}
    train, test = (views_of(sessions, row_B, num_items) for row_B in (train_B, test_B))
    for name, predictor in predictors.items():
        with progress.stage(name, 1.0, {}):
            predictor.fit(train)
            rows[name] = figures(*ranked(predictor, test, rank))
    return rows


def table(cells: Sequence[Rows]) -> str:
    """One row each, the best Recall@20 first."""
    return table_of("next view", COLUMNS, cells, Order(f"recall_at_{TOP}"))
