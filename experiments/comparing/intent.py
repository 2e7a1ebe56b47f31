"""Purchase intent: of each held-out session of five events or more, does it buy after the fifth?

Asked after the fifth event, an event being a step: a page, what was viewed and what followed it, or
a checkout. A user model answers by its state: a logistic regression on what it lets an agent read
of the state (`encode`), and the items in the cart. Beside it stand boosted trees (Ke et al. 2017,
"LightGBM: a highly efficient gradient boosting decision tree", as scikit-learn has them) on
features of the five events made by hand: those of the scorecard's discriminator, and the hour and
day of arrival. Both read training sessions, choose their settings on validation sessions, and are
fitted on both. Intervals resample shoppers; those of the calibration error lie somewhat high, since
a resample adds the chance of its own to that of the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from experiments.comparing.tables import Column, Order, side_by_side
from experiments.comparing.tables import table as table_of
from recgym import progress
from recgym.fidelity.features import matrix, session_features
from recgym.fidelity.frame import make_frame
from recgym.fidelity.trace import Trace, of_log
from recgym.logs.log import Log
from recgym.metrics import CONFIDENCE, Estimate
from recgym.types import DAY_MS, HOUR_MS, Sessions, Split
from recgym.users.likelihood import cart_counts, gather_steps, walked
from recgym.users.report import BINS, calibration_error
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import resampled, rows_of

FIRST = 5  # events after which the question is asked
RESAMPLES = 500
IN_A_BIN = 50  # sessions at least: the fewer, the more of the calibration error is chance
BATCH = 2048  # sessions whose states are found at once
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # inverse penalties of the logistic head, to choose from
LEAVES = (4, 8, 16)  # of a tree, to choose from
BOOSTED = "gradient boosting"
COLUMNS = {
    "roc_auc": Column("ROC-AUC", "{:.3f}"),
    "pr_auc": Column("PR-AUC", "{:.3f}"),
    "ece": Column("ECE", "{:.3f}"),
}
Floats = NDArray[np.float64]
Makers = Sequence[Callable[[], Any]]


class Asked(NamedTuple):
    """Sessions of which the question is asked, and the answer."""

    row: Tensor  # [B] int64, of the log
    bought: NDArray[np.bool_]  # [B] after the first events


def asked(sessions: Sessions, ordered_S: NDArray[np.bool_], row_B: Tensor) -> Asked:
    """Those of the sessions ``row_B`` that are long enough."""
    length_B = sessions.offset.diff()[row_B] - 1  # without the leave step
    row_B = row_B[length_B >= FIRST]
    before_S = np.concatenate([[0], np.cumsum(ordered_S)])
    first_B, end_B = sessions.offset[row_B].numpy() + FIRST, sessions.offset[row_B + 1].numpy()
    return Asked(row_B, before_S[end_B] > before_S[first_B])


def opening(sessions: Sessions, row_B: Tensor, steps: int = FIRST) -> Sessions:
    """The first steps of these sessions, as sessions of their own."""
    step_S = (sessions.offset[row_B].unsqueeze(-1) + torch.arange(steps)).flatten()
    return Sessions(
        event=sessions.event.lanes(step_S),
        page=sessions.page.lanes(step_S),
        time_ms=sessions.time_ms[step_S],
        offset=torch.arange(len(row_B) + 1) * steps,
        shopper=sessions.shopper[row_B],
        profile=sessions.profile[row_B],
        split=sessions.split[row_B],
    )


@torch.no_grad()
def states(model: SequenceModel, sessions: Sessions, row_B: Tensor) -> Floats:
    """What the model's state after the first events lets be read, and the cart, [B, F]."""
    # the step after them is there to ask the state before it, and is not looked at
    begun = model.sees(opening(sessions, row_B, FIRST + 1))
    cart_S, device = cart_counts(begun), model.items.own.device
    found = []
    for part_B in torch.arange(len(row_B)).split(BATCH):
        steps = gather_steps(begun, cart_S, part_B)  # all are as long: in the order given
        asked_n = steps.number == FIRST
        cart_n1 = cart_S[steps.step[asked_n]].unsqueeze(-1)
        steps = steps.to(device)
        state = walked(model, steps).reading.state
        found.append(torch.cat([model.encode(state).cpu()[asked_n], cart_n1], -1))
    return np.asarray(torch.cat(found).double().numpy())


def features(log: Log, rows: Sequence[Tensor]) -> list[Floats]:
    """Of the first events, made by hand, [B, F] each; frequencies are those of training."""
    sessions = log.sessions()
    training = of_log(log, rows_of(sessions, Split.TRAIN))
    frame = make_frame(training, training, log.catalog())
    found = []
    for row_B in rows:
        begun = opening(sessions, row_B)
        step_S = (sessions.offset[row_B].unsqueeze(-1) + torch.arange(FIRST)).flatten()
        x_BF = matrix(session_features(Trace(begun, log.steps.paid[step_S.numpy()]), frame))
        start_B = begun.time_ms[begun.offset[:-1]].numpy()
        when_BF = np.stack([start_B % DAY_MS / HOUR_MS, start_B // DAY_MS % 7], 1)
        found.append(np.concatenate([x_BF, when_BF], 1))
    return found


def answered(makers: Makers, x: Sequence[Floats], known: Sequence[Asked]) -> Floats:
    """P(buys) of the third part, by whichever maker foretells the second best from the first."""
    (x_train, x_valid, x_test), (train, valid, _) = x, known
    chosen = min(
        makers,
        key=lambda make: float(
            log_loss(valid.bought, make().fit(x_train, train.bought).predict_proba(x_valid)[:, 1])
        ),
    )
    both = np.concatenate([train.bought, valid.bought])
    model = chosen().fit(np.concatenate([x_train, x_valid]), both)
    return np.asarray(model.predict_proba(x_test)[:, 1])


def heads() -> Makers:
    """Logistic regressions to choose from."""
    return [partial(_head, strength) for strength in STRENGTHS]


def _head(strength: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))


def boosters(seed: int) -> Makers:
    """Boosted trees to choose from; early stopping would look at sessions drawn at random."""
    settings = {"max_iter": 100, "learning_rate": 0.05, "early_stopping": False}
    return [
        partial(
            HistGradientBoostingClassifier, max_leaf_nodes=leaves, random_state=seed, **settings
        )
        for leaves in LEAVES
    ]


def figures(chance_B: Floats, bought_B: NDArray[np.bool_]) -> dict[str, float]:
    """Areas under both curves and the calibration error."""
    bins = max(1, min(BINS, len(chance_B) // IN_A_BIN))
    error = calibration_error(torch.from_numpy(chance_B), torch.from_numpy(bought_B).long(), bins)
    return {
        "roc_auc": float(roc_auc_score(bought_B, chance_B)),
        "pr_auc": float(average_precision_score(bought_B, chance_B)),
        "ece": float(error or 0.0),
    }


def estimates(
    chance_B: Floats, test: Asked, sessions: Sessions, seed: int
) -> dict[str, dict[str, float | None]]:
    """`figures` with their 95 % intervals."""
    generator = torch.Generator().manual_seed(seed)
    place_B = torch.zeros(len(sessions.split), dtype=torch.int64)
    place_B[test.row] = torch.arange(len(test.row))
    drawn: list[dict[str, float]] = []
    for _ in range(RESAMPLES):
        index = place_B[resampled(sessions, test.row, generator)].numpy()
        if len(set(test.bought[index])) == 2:  # or else no area is defined
            drawn.append(figures(chance_B[index], test.bought[index]))
    tail = (1.0 - CONFIDENCE) / 2.0
    found = {}
    for name, value in figures(chance_B, test.bought).items():
        low, high = np.quantile([one[name] for one in drawn], [tail, 1.0 - tail])
        found[name] = Estimate(value, float(low), float(high)).as_dict()
    return found


def intent(models: Mapping[str, SequenceModel], log: Log, seed: int) -> dict[str, Any]:
    """How many sessions were asked of, how many bought, and the figures by name.

    No figures where all or none of the sessions of a part buy.
    """
    sessions = log.sessions()
    ordered_S = Trace(sessions, log.steps.paid).ordered
    parts = [rows_of(sessions, Split.TRAIN), rows_of(sessions, Split.VALID), log.held_out()[0]]
    known = [asked(sessions, ordered_S, row_B) for row_B in parts]
    test = known[-1]
    said: dict[str, Any] = {
        "events": FIRST,
        "sessions": len(test.row),
        "bought": int(test.bought.sum()),
        "models": {},
    }
    if any(len(set(part.bought)) < 2 for part in known):
        return said
    rows = [part.row for part in known]
    with progress.stage(BOOSTED, 1.0, {}):
        chance = {BOOSTED: answered(boosters(seed), features(log, rows), known)}
    for name, model in models.items():
        with progress.stage(name, 1.0, {}):
            x = [states(model.eval(), sessions, row_B) for row_B in rows]
            chance[name] = answered(heads(), x, known)
    said["models"] = {
        name: estimates(chance_B, test, sessions, seed) for name, chance_B in chance.items()
    }
    return said


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """One row each, the best ROC-AUC first.

    95 % intervals are over the cells or, of one alone, over its shoppers.
    """
    bought, asked_of = (sum(said[key] for said in cells) for key in ("bought", "sessions"))
    begin = f"{bought:,} of {asked_of:,} held-out sessions of {FIRST} events or more buy after "
    begin += f"event {FIRST}"
    if not all(said["models"] for said in cells):
        return f"{begin}: too few, or too many, to tell how well that is foreseen."
    order = Order("roc_auc")
    if len(cells) > 1:
        means = [
            {
                name: {key: one[key]["mean"] for key in COLUMNS}
                for name, one in said["models"].items()
            }
            for said in cells
        ]
        rows = side_by_side(means, list(COLUMNS), order)
    else:
        known = sorted(cells[0]["models"].items(), key=lambda one: -one[1]["roc_auc"]["mean"])
        rows = {name: {key: Estimate(**one[key]) for key in COLUMNS} for name, one in known}
    return f"{begin}:\n" + table_of("purchase intent", COLUMNS, rows, order)
