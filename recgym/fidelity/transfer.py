"""Train on simulated, test on real: is what a learner would take from the sessions the same?

Two small learners are fitted in the same way on as many simulated and real training sessions and
tested on the real held-out ones: a Markov chain that names the next item (Recall@20), and boosted
trees that tell from a session's first pages whether it will order (AUC). The floor is the
difference between two halves of the real *training* sessions, of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from recgym import progress
from recgym.fidelity.discriminators import auc
from recgym.fidelity.features import matrix, session_features
from recgym.fidelity.frame import Frame
from recgym.fidelity.score import Sides
from recgym.fidelity.trace import Bools, Floats, Ints, Trace
from recgym.fidelity.verdicts import LOSS, TOO_FEW, UNDEFINED, Row, Samples, judged
from recgym.users.report import TOP, markov, popularity, transitions

PREFIX = 3  # pages that the purchase learner reads
MOST = 10_000  # training sessions of each learner
MOST_VIEWS = 4000  # next views that recall is tested on
MOST_TESTS = 20_000  # sessions that the purchase learner is tested on
LEAST_ORDERS = 30  # in training as in testing


def next_views(trace: Trace) -> tuple[Ints, Ints]:
    """Items of consecutive views of a session: from [m], to [m]."""
    step = np.flatnonzero(trace.viewed)
    same = trace.owner[step][1:] == trace.owner[step][:-1]
    return trace.item[step][:-1][same], trace.item[step][1:][same]


def hits(training: Trace, start: Ints, end: Ints, num_items: int) -> Floats:
    """Whether the Markov chain of ``training`` lists ``end`` among its `TOP` after ``start``."""
    before, after = next_views(training)
    share_I = popularity(torch.from_numpy(training.item[training.viewed]), num_items)
    pairs = transitions(torch.from_numpy(before), torch.from_numpy(after), num_items)
    _, rank = markov(pairs, share_I, torch.from_numpy(start), torch.from_numpy(end))
    return (rank <= TOP).double().numpy()


@dataclass(frozen=True)
class Prefixes:
    """What is known after the first `PREFIX` pages, of the sessions that have more."""

    x: Floats  # [B, F]
    ordered: Bools  # [B] whether an order follows


def prefixes(trace: Trace, frame: Frame) -> Prefixes:
    """Features of the first pages alone, and whether an order comes after them."""
    length = np.diff(trace.offset)
    owner = np.flatnonzero(length > PREFIX)
    whole = trace.take(owner)
    later = whole.ordered & (whole.number >= PREFIX)
    ordered = np.bincount(whole.owner[later], minlength=len(owner)) > 0
    return Prefixes(matrix(session_features(_cut(whole), frame)), ordered)


def _cut(trace: Trace) -> Trace:
    """The first `PREFIX` steps of each session, all of which have them."""
    kept = trace.number < PREFIX
    held, step = trace.sessions, torch.from_numpy(np.flatnonzero(kept))
    sessions = replace(
        held,
        event=held.event.lanes(step),
        page=held.page.lanes(step),
        time_ms=held.time_ms[step],
        offset=torch.arange(trace.num_sessions + 1) * PREFIX,
    )
    return Trace(sessions, trace.paid[kept])


def order_scores(training: Prefixes, test: Prefixes, seed: int) -> Floats:
    """Scores of the test prefixes by trees fitted on the training ones, [B]."""
    trees = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=20,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    trees.fit(training.x, training.ordered)
    return np.asarray(trees.predict_proba(test.x)[:, 1])


@dataclass(frozen=True)
class Learned:
    """What the learners of one training set reach on the test sessions."""

    hit: Floats  # [m] of each test view
    score: Floats | None  # [B] of each test prefix; None where too few sessions order


class Transfer:
    """Two real training sets and a simulated one of the same size, in each of several halvings."""

    def __init__(self, training: Trace, sides: Sides, halvings: int, seed: int) -> None:
        self.sides, self.seed = sides, seed
        rng = np.random.default_rng(seed)
        start, end = next_views(sides.real)
        chosen = rng.permutation(len(start))[:MOST_VIEWS]
        self.start, self.end = start[chosen], end[chosen]
        tested = sides.real.take(rng.permutation(sides.real.num_sessions)[:MOST_TESTS])
        self.test = prefixes(tested, sides.frame)
        size = min(MOST, training.num_sessions // 2, sides.simulated.num_sessions)
        self.simulated: list[Learned] = []
        self.first: list[Learned] = []
        self.second: list[Learned] = []
        for number in range(halvings):
            order = rng.permutation(training.num_sessions)
            drawn = rng.permutation(sides.simulated.num_sessions)[:size]
            self.simulated.append(self._learn(sides.simulated.take(drawn), number))
            self.first.append(self._learn(training.take(order[:size]), number))
            self.second.append(self._learn(training.take(order[size : 2 * size]), number))
            progress.advance(1.0 / halvings)

    def _learn(self, training: Trace, number: int) -> Learned:
        frame = self.sides.frame
        hit = hits(training, self.start, self.end, frame.num_items)
        known = prefixes(training, frame)
        if min(known.ordered.sum(), self.test.ordered.sum()) < LEAST_ORDERS:
            return Learned(hit, None)
        return Learned(hit, order_scores(known, self.test, self.seed + number))

    def recall(self, resamples: int) -> Row:
        """What Recall@20 loses by training on simulated sessions, as a share of the real one."""
        row = Row("transfer_recall", f"next item, Recall@{TOP} lost by training on simulated",
                  UNDEFINED, "percent", figure_form="percent")  # fmt: skip
        ours, theirs, others = (
            np.array([part.hit for part in parts])
            for parts in (self.simulated, self.first, self.second)
        )
        if theirs.size == 0 or not theirs.sum(1).all():
            return replace(row, note=TOO_FEW)
        value = 1.0 - ours.mean(1) / theirs.mean(1)
        floor = 1.0 - others.mean(1) / theirs.mean(1)
        index = np.random.default_rng(self.seed).integers(
            theirs.shape[1], size=(resamples, theirs.shape[1])
        )
        boot = 1.0 - ours.mean(0)[index].mean(1) / theirs.mean(0)[index].mean(1)
        row = judged(row, Samples(value, floor, boot, LOSS), 0.05 if self.sides.truth else 0.10)
        return replace(row, simulated=float(ours.mean()), real=float(theirs.mean()))

    def purchase(self, resamples: int) -> Row:
        """What the purchase AUC loses by training on simulated sessions."""
        title = f"will it order, from {PREFIX} pages: AUC lost by training on simulated"
        row = Row("transfer_purchase", title, UNDEFINED)
        label = self.test.ordered.astype(np.float64)
        parts = (self.simulated, self.first, self.second)
        scores = [[one.score for one in part if one.score is not None] for part in parts]
        if min(len(part) for part in scores) < len(self.first) or not len(self.first):
            return replace(row, note=TOO_FEW)
        ours, theirs, others = (np.array([auc(s, label) for s in part]) for part in scores)
        rng = np.random.default_rng(self.seed)
        index = rng.integers(len(label), size=(resamples, len(label)))
        boot = np.array(
            [auc(scores[1][0][i], label[i]) - auc(scores[0][0][i], label[i]) for i in index]
        )
        samples = Samples(theirs - ours, theirs - others, boot, LOSS)
        row = judged(row, samples, 0.01 if self.sides.truth else 0.02)
        return replace(row, simulated=float(ours.mean()), real=float(theirs.mean()))
