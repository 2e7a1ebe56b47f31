"""Two discriminators: how well can a session be told to be simulated?

An area under the ROC curve of 0.5 means not at all. Both predict sessions of shoppers that they
did not read: five folds of boosted trees over session features, and two of a GRU over the raw
sequence. The floor is the same discriminator between two halves of the real side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from recgym import progress
from recgym.fidelity.features import NUM_MARKS, matrix, sequences, session_features
from recgym.fidelity.frame import Frame
from recgym.fidelity.score import Sides
from recgym.fidelity.trace import Bools, Floats, Ints, Trace
from recgym.fidelity.verdicts import UNDEFINED, Row, Samples, judged

FOLDS, SEQUENCE_FOLDS = 5, 2
WIDTH, EMBEDDING, EPOCHS, BATCH = 32, 8, 10, 128
RATE = 5e-3  # of Adam
NARROW = 0.1  # standard deviation of fresh embeddings: what is rare starts as next to nothing
MOST, MOST_SEQUENCES = 4000, 5000  # sessions of each side

Scorer = Callable[[Trace, Trace, Frame, int], tuple[Floats, Floats]]


def auc(score_B: Floats, label_B: Floats) -> float:
    """Probability that a session labelled 1 scores above one labelled 0, ties half."""
    rank_B, positive = rankdata(score_B), label_B > 0.5
    num, rest = int(positive.sum()), int((~positive).sum())
    return float((rank_B[positive].sum() - num * (num + 1) / 2) / (num * rest))


def by_features(first: Trace, second: Trace, frame: Frame, seed: int) -> tuple[Floats, Floats]:
    """Out-of-fold scores and labels (0 for the first record, 1 for the second)."""
    x = np.concatenate([matrix(session_features(trace, frame)) for trace in (first, second)])
    label, group = _labels(first, second)
    score = np.zeros(len(label))
    for fold in _folds(label, group, FOLDS, seed):
        trees = HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=20,
            early_stopping=False, random_state=seed,
        )  # fmt: skip
        trees.fit(x[~fold], label[~fold])
        score[fold] = trees.predict_proba(x[fold])[:, 1]
    return score, label


def _labels(first: Trace, second: Trace) -> tuple[Floats, Ints]:
    """Which record a session is of, and its shopper, a number of each record's own."""
    label = np.repeat([0.0, 1.0], [first.num_sessions, second.num_sessions])
    shopper = np.concatenate([trace.sessions.shopper.numpy() for trace in (first, second)])
    group = np.unique(np.stack([label.astype(np.int64), shopper]), axis=1, return_inverse=True)[1]
    return label, np.asarray(group).ravel()


def _folds(label_B: Floats, group_B: Ints, count: int, seed: int) -> list[Bools]:
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    folds = []
    for _, held_out in splitter.split(label_B, label_B, group_B):
        chosen = np.zeros(len(label_B), dtype=bool)
        chosen[held_out] = True
        folds.append(chosen)
    return folds


class _Sequence(nn.Module):
    """A GRU over type, item, category, gap, price and fame; a logit from its mean state."""

    def __init__(self, num_items: int, num_categories: int) -> None:
        super().__init__()
        sizes = (8, num_items + 1, num_categories + 2)
        tables = [nn.Embedding(size, EMBEDDING) for size in sizes]
        for table in tables:
            nn.init.normal_(table.weight, std=NARROW)
        self.code = nn.ModuleList(tables)
        self.gru = nn.GRU(3 * EMBEDDING + NUM_MARKS, WIDTH, batch_first=True)
        self.out = nn.Linear(2 * WIDTH, 1)

    def forward(self, code_BT3: Tensor, mark_BTF: Tensor, length_B: Tensor) -> Tensor:
        parts = [table(code_BT3[..., place]) for place, table in enumerate(self.code)]
        state_BTH, _ = self.gru(torch.cat([*parts, mark_BTF], -1))
        inside_BT1 = torch.arange(state_BTH.shape[1]) < length_B.unsqueeze(-1)
        inside_BT1 = inside_BT1.unsqueeze(-1)
        mean_BH = (state_BTH * inside_BT1).sum(1) / length_B.unsqueeze(-1)
        most_BH = state_BTH.masked_fill(~inside_BT1, -torch.inf).amax(1)
        logit_B: Tensor = self.out(torch.cat([mean_BH, most_BH], -1)).squeeze(-1)
        return logit_B


def by_sequences(first: Trace, second: Trace, frame: Frame, seed: int) -> tuple[Floats, Floats]:
    """Out-of-fold scores and labels, as `by_features`."""
    parts = [sequences(trace, frame) for trace in (first, second)]
    code, mark, length = (torch.cat(both) for both in zip(*parts, strict=True))
    inside = torch.arange(mark.shape[1]) < length.unsqueeze(-1)
    mean_F, spread_F = mark[inside].mean(0), mark[inside].std(0)
    mark = (mark - mean_F) / spread_F.clamp(min=1e-3)
    label, group = _labels(first, second)
    score = np.zeros(len(label))
    with torch.random.fork_rng(devices=[]):
        for number, fold in enumerate(_folds(label, group, SEQUENCE_FOLDS, seed)):
            torch.manual_seed(seed + number)
            model = _Sequence(frame.num_items, int(frame.category.max()) + 1)
            rest, held = torch.from_numpy(~fold), torch.from_numpy(fold)
            _fit(model, code[rest], mark[rest], length[rest], torch.from_numpy(label)[rest])
            with torch.no_grad():
                score[fold] = model(code[held], mark[held], length[held]).numpy()
    return score, label


def _fit(model: _Sequence, code: Tensor, mark: Tensor, length: Tensor, label: Tensor) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, EPOCHS)
    for _ in range(EPOCHS):
        order = (length + torch.rand(len(length))).argsort()  # sessions of like length together
        parts = order.split(BATCH)
        for place in torch.randperm(len(parts)).tolist():
            row = parts[place]
            steps = int(length[row].max())
            logit = model(code[row, :steps], mark[row, :steps], length[row])
            loss = nn.functional.binary_cross_entropy_with_logits(logit, label[row].float())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        schedule.step()


def halves(
    trace: Trace,
    block_B: Ints,
    half_G: Bools,
    most: int,
    rng: np.random.Generator,
) -> Trace:
    """Sessions of the chosen blocks, at most so many of them."""
    rows = np.flatnonzero(half_G[block_B])
    return trace.take(rng.permutation(rows)[:most])


def row_of(
    name: str, title: str, scorer: Scorer, sides: Sides, target: float, most: int,
    halvings: int, resamples: int, seed: int,
) -> Row:  # fmt: skip
    """A discriminator's AUC, judged; its interval resamples the sessions of the first halving."""
    row = Row(name, title, UNDEFINED)
    rng = np.random.default_rng(seed)
    values, floors, boot = [], [], np.zeros(0)
    for number in range(halvings):
        half_G, half_Q = sides.plan.half_HG[number], sides.plan.half_HQ[number]
        real = halves(sides.real, sides.block_real, half_G, most, rng)
        other = halves(sides.real, sides.block_real, ~half_G, most, rng)
        ours = halves(sides.simulated, sides.block_simulated, half_Q, most, rng)
        score, label = scorer(real, ours, sides.frame, seed + number)
        values.append(auc(score, label))
        floors.append(auc(*scorer(real, other, sides.frame, seed + number)))
        if number == 0:
            index = rng.integers(len(label), size=(resamples, len(label)))
            boot = np.array([auc(score[i], label[i]) for i in index])
        progress.advance(1.0 / halvings)
    return judged(row, Samples(np.array(values), np.array(floors), boot), target)
