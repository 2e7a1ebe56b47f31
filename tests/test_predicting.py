"""experiments.predicting: predictors of the next view, each by hand on a log of three sessions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from family import log_of
from tiny import compose

from experiments.predicting.autoregressive import LinearAutoregression, item_vectors
from experiments.predicting.base import History, Views, histories, make_predictors, views_of
from experiments.predicting.markov import Markov
from experiments.predicting.popularity import Popularity
from experiments.predicting.ranks import figures, ranked, worst_rank
from experiments.predicting.rules import SequentialRules
from experiments.predicting.stan import STAN
from experiments.predicting.vsknn import VSKNN
from recgym.errors import UserError
from recgym.types import DAY_MS, Kind
from recgym.users.report import mid_rank

NUM_ITEMS = 4  # the last of which nobody views
HALVING = 1.0 / math.log(2.0)  # exp(-x / HALVING) halves with each unit of x


def log(sessions: dict[int, list[int]]) -> Views:
    """Items of the session of each day."""
    time_V = [day * DAY_MS for day, items in sessions.items() for _ in items]
    length_B = torch.tensor([0, *map(len, sessions.values())])
    item_V = torch.tensor([item for items in sessions.values() for item in items])
    return Views(item_V, torch.tensor(time_V), length_B.cumsum(0), NUM_ITEMS)


LOG = log({0: [0, 1, 2], 1: [0, 2], 2: [1, 0, 1]})


def after(*newest_first: int, day: int = 3) -> History:
    item_NL = torch.tensor([[*newest_first, *[-1] * (3 - len(newest_first))]])
    return History(item_NL, torch.tensor([day * DAY_MS]))


def scores(predictor: Any, history: History) -> list[float]:
    predictor.fit(LOG)
    found: list[float] = predictor.scores(history)[0].tolist()
    return found


def test_popularity_by_hand() -> None:
    # Why: of 8 views and half a one for each of 4 items, 3.5, 3.5, 2.5 and 0.5 of 10.
    found = [math.exp(score) for score in scores(Popularity(), after(2))]
    assert found == pytest.approx([0.35, 0.35, 0.25, 0.05])


def test_the_chain_by_hand() -> None:
    # Why: from 0 the log went to 1 twice and to 2 once: (2 + 2 · 0.35) / (3 + 2) = 0.54, and to
    # what nobody viewed (0 + 2 · 0.05) / 5; only the newest view counts.
    found = [math.exp(score) for score in scores(Markov(shrinkage=2.0), after(0, 2))]
    assert found == pytest.approx([0.7 / 5, 0.54, 1.5 / 5, 0.02])


def test_autoregression_with_one_lag_by_hand() -> None:
    # Why: with one-hot vectors each row is n_ij / (n_i + ridge): 2 / (3 + 1) and 1 / (3 + 1).
    found = scores(LinearAutoregression(lags=1, dims=8, ridge=1.0), after(0))
    assert found == pytest.approx([0.0, 0.5, 0.25, 0.0])


def test_autoregression_looks_back_as_far_as_its_lags() -> None:
    # Why: after 0 alone come 1 or 2, after 0 then 1 comes 2, after 1 then 0 comes 1: two lags tell
    # these apart without an error as the ridge goes to 0, one lag cannot.
    two = LinearAutoregression(lags=2, dims=8, ridge=1e-6)
    assert scores(two, after(1, 0)) == pytest.approx([0.0, 0.0, 1.0, 0.0], abs=1e-3)
    assert scores(two, after(0, 1)) == pytest.approx([0.0, 1.0, 0.0, 0.0], abs=1e-3)
    assert two.scores(after(0))[0].tolist() == pytest.approx([0.0, 0.5, 0.5, 0.0], abs=1e-3)
    one = scores(LinearAutoregression(lags=1, dims=8, ridge=1e-6), after(0, 1))
    assert one == pytest.approx([0.0, 2 / 3, 1 / 3, 0.0], abs=1e-3)


def test_vectors_of_items_in_the_same_sessions_are_alike() -> None:
    # Why: with more items than dims, what is viewed together must share a vector, and what nobody
    # viewed must have none.
    vector_ID = item_vectors(log({0: [0, 1], 1: [1, 0], 2: [2], 3: [2]}), 2)
    assert vector_ID[0] @ vector_ID[1] == pytest.approx(1.0)
    assert vector_ID[0] @ vector_ID[2] == pytest.approx(0.0, abs=1e-9)
    assert np.abs(vector_ID[3]).max() == 0.0


def test_sequential_rules_by_hand() -> None:
    # Why: after 0 came 1 one step later twice, and 2 one step later once and two steps later once.
    assert scores(SequentialRules(), after(0, 2)) == pytest.approx([0.0, 2.0, 1.5, 0.0])
    assert scores(SequentialRules(steps=1), after(0)) == pytest.approx([0.0, 2.0, 1.0, 0.0])
    # within the last session 1 came again two steps after itself
    assert scores(SequentialRules(), after(1)) == pytest.approx([1.0, 0.5, 1.0, 0.0])


def test_session_neighbours_by_hand() -> None:
    # Why: of 1 then 0 the views weigh 1/2 and 1: the sessions are alike by 1.5, 1 and 1.5. All
    # three: item 0 has 4, item 1 has 3, item 2 has 2.5; of equals the later is the nearer.
    running = after(0, 1)
    assert scores(VSKNN(), running) == pytest.approx([4.0, 3.0, 2.5, 0.0])
    assert scores(VSKNN(num_neighbours=2), running) == pytest.approx([3.0, 3.0, 1.5, 0.0])
    assert scores(VSKNN(num_neighbours=1), running) == pytest.approx([1.5, 1.5, 0.0, 0.0])
    # the latest two alone may be neighbours
    assert scores(VSKNN(num_recent=2), running) == pytest.approx([2.5, 1.5, 1.0, 0.0])
    # an item viewed twice weighs as its last view: 0, 1, 0 has weights 1 of item 0, 2/3 of item 1
    assert scores(VSKNN(num_recent=1), after(0, 1, 0)) == pytest.approx([5 / 3, 5 / 3, 0.0, 0.0])
    assert scores(VSKNN(), after(3)) == [0.0] * NUM_ITEMS  # nobody viewed it


def test_sequence_and_time_aware_neighbours_by_hand() -> None:
    # Why: each weight halves with a view, a day, a place. The sessions ended 3, 2 and 1 days ago:
    # 1.5 / sqrt(2 · 3) / 8, 1 / sqrt(2 · 2) / 4, 1.5 / sqrt(2 · 3) / 2; from item 0, which all
    # share as the newest, the others stand one or two places away.
    first, second, third = 1.5 / math.sqrt(6) / 8, 0.125, 1.5 / math.sqrt(6) / 2
    expected = [first + second + third, first / 2 + third / 2, first / 4 + second / 2, 0.0]
    halving = {"views": HALVING, "days": HALVING, "places": HALVING}
    assert scores(STAN(**halving), after(0, 1)) == pytest.approx(expected)
    assert scores(STAN(num_neighbours=1, **halving), after(0, 1)) == pytest.approx(
        [third, third / 2, 0.0, 0.0]
    )


def test_a_list_cut_to_the_latest_sessions_loses_no_neighbour() -> None:
    # Why: each item's list is cut before lists are joined; what is joined must be the latest of
    # all that share an item, as a plain search finds them, whole in their likeness.
    generator = np.random.default_rng(0)
    days = {day: generator.integers(0, 3, size=4).tolist() for day in range(40)}
    model = VSKNN(num_neighbours=100, num_recent=5)
    model.fit(log(days))
    item = [0, 1, 1]
    weight = {0: 1.0, 1: 2 / 3}
    sharing = [items for items in days.values() if set(items) & set(item)][-5:]
    expected = [0.0] * NUM_ITEMS
    for items in sharing:
        for i in set(items):
            expected[i] += sum(weight[j] for j in set(items) & set(item))
    assert model.scores(after(*item))[0].tolist() == pytest.approx(expected)


def test_histories_stay_within_their_session() -> None:
    # Why: a look at the session before, or at the future, would make any predictor look good.
    history, item_N = histories(LOG, 2)
    assert item_N.tolist() == [1, 2, 2, 0, 1]
    assert history.item.tolist() == [[0, -1], [1, 0], [0, -1], [1, -1], [0, 1]]
    assert (history.time_ms // DAY_MS).tolist() == [0, 0, 1, 2, 2]


def test_views_of_a_log_are_its_view_steps() -> None:
    # Why: leave steps carry item -1, which would index the last item.
    sessions = log_of(12)
    rows = torch.tensor([3, 7])
    found = views_of(sessions, rows, 40)
    for number, b in enumerate(rows.tolist()):
        event = sessions.event.lanes(slice(int(sessions.offset[b]), int(sessions.offset[b + 1])))
        own = slice(int(found.offset[number]), int(found.offset[number + 1]))
        assert found.item[own].tolist() == event.item[event.kind == int(Kind.VIEW)].tolist()


def test_figures_by_hand() -> None:
    # Why: ranks 1, 3 and 30: one of three on top, two among five; the reciprocals 1 + 1/3, and the
    # gains 1 + 1 / log2(4), each over three, since what is not listed counts 0.
    found = figures(torch.tensor([1.0, 3.0, 30.0]), None)
    expected = {"recall_at_1": 1 / 3, "recall_at_5": 2 / 3, "recall_at_10": 2 / 3}
    expected |= {"recall_at_20": 2 / 3, "mrr_at_20": 4 / 9, "ndcg_at_20": 0.5}
    assert found.pop("nll_next_view") is None and found == pytest.approx(expected)


def test_ties_count_half_or_all_against_the_item() -> None:
    # Why: by hand, of two above, two equal and one below: 3 at best, 4 at worst.
    score_nI, item_n = torch.tensor([[3.0, 2.0, 2.0, 1.0, 5.0]]), torch.tensor([1])
    assert mid_rank(score_nI, item_n).tolist() == [3.5]
    assert worst_rank(score_nI, item_n).tolist() == [4.0]


def test_every_predictor_of_the_config_ranks_a_log() -> None:
    # Why: a name that the config lists and nobody tried would stop a comparison at its end.
    known = compose("user_models")["predicting"]
    assert set(known) == set(compose("user_models")["predictors"])
    for predictor in make_predictors(list(known), known).values():
        predictor.fit(LOG)
        rank_m, log_prob_m = ranked(predictor, LOG)
        assert rank_m.shape == (5,) and bool((rank_m >= 1).all() & (rank_m <= NUM_ITEMS).all())
        assert (log_prob_m is not None) == predictor.is_law
        if log_prob_m is not None:
            share_NI = predictor.scores(after(0)).exp()
            assert float(share_NI.sum()) == pytest.approx(1.0)


def test_an_unknown_predictor_ends_in_a_sentence() -> None:
    known = compose("user_models")["predicting"]
    with pytest.raises(UserError, match="predictors=knn: expected names among popularity, markov"):
        make_predictors(["knn"], known)
    changed = {**known, "vsknn": {**known["vsknn"], "num_recent": 0}}
    with pytest.raises(UserError, match=r"predicting\.vsknn\.num_recent=0: expected a whole"):
        make_predictors(["vsknn"], changed)


def test_no_predictor_reaches_the_truth() -> None:
    # Why: experiments may look at true shops; what is held against user models may not.
    folder = Path(__file__).resolve().parents[1] / "experiments" / "predicting"
    assert not [file for file in folder.glob("*.py") if "worlds" in file.read_text()]
