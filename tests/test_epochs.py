"""recgym.users.epochs: a fit that is killed goes on, and ends as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from simulated_log import logging_policy, simulate
from torch import Tensor

from recgym.errors import UserError
from recgym.simulator import Simulator
from recgym.types import Sessions, Split
from recgym.users.epochs import _schedule
from recgym.users.fit_settings import FitSettings
from recgym.users.lstm import LSTMUserModel
from recgym.users.sessions import rows_of
from recgym.users.training import fit
from recgym.worlds.taste import TasteShop

ITEMS = 20
# six updates an epoch, of which the first two have dropout
SETTINGS = FitSettings(epochs=3, patience=3, batch_steps=64, learning_rate=1e-2, calm_share=0.5)


class Fitted(NamedTuple):
    state: dict[str, Tensor]
    figures: dict[str, float]
    curves: list[tuple[str, float, int]]


def true_shop() -> TasteShop:
    """Of sessions of two or three pages, whose steps are what a fit costs."""
    return TasteShop(num_items=ITEMS, num_categories=3, intent_leave=(-0.2, -0.7, -0.7))


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    shop = true_shop()
    simulator = Simulator(shop, num_slots=2, expected_revenue=False)
    return simulate(simulator, logging_policy(shop, 2), 80)[0]


def fitted(
    sessions: Sessions,
    checkpoint: Path | None = None,
    *,
    progress: Callable[[float], Any] | None = None,
) -> Fitted:
    torch.manual_seed(0)
    row_B = rows_of(sessions, Split.TRAIN)
    model = LSTMUserModel(
        true_shop().catalog, torch.ones(ITEMS, dtype=torch.bool), sessions.profile[row_B],
        sessions.time_ms[sessions.offset[:-1]][row_B],
        hidden=6, embedding=4, classes=2, segments=2, dropout=0.3,
    )  # fmt: skip
    curves: list[tuple[str, float, int]] = []
    figures = fit(
        model, sessions, SETTINGS, seed=3, bootstrap=True, checkpoint=checkpoint,
        log=lambda *point: curves.append(point), progress=progress,
    )  # fmt: skip
    return Fitted(dict(model.state_dict()), figures, curves)


def kill_at(share: float) -> Callable[[float], None]:
    """A progress callback that ends the fit once this share of it is over."""

    def progress(now: float) -> None:
        if now >= share:
            raise KeyboardInterrupt

    return progress


def test_a_fit_killed_again_and_again_ends_with_the_same_numbers(
    sessions: Sessions, tmp_path: Path
) -> None:
    # Why: a fit of hours that is killed must neither begin anew nor become another fit. Killed in
    # the first epoch (nothing is left), in the second and third, and after the last update; of
    # shoppers drawn anew, so that what was drawn before the first epoch has to come back too.
    file = tmp_path / "cache" / "fit.resume.pt"
    whole = fitted(sessions)
    begun: list[float] = []
    for share in (0.1, 0.5, 0.9, 1.0):
        stop = kill_at(share)
        first = len(begun)

        def progress(now: float, stop: Callable[[float], None] = stop) -> None:
            begun.append(now)
            stop(now)

        with pytest.raises(KeyboardInterrupt):
            fitted(sessions, file, progress=progress)
        del begun[first + 1 :]
    assert begun[1] < 0.1  # of the first epoch nothing was left
    assert begun[2] == pytest.approx(1 / 3) and begun[3] == pytest.approx(2 / 3)
    torch.rand(7)  # what others draw in between changes nothing
    again = fitted(sessions, file)
    assert whole.figures == again.figures and whole.curves == again.curves
    for name, value in whole.state.items():
        assert torch.equal(value, again.state[name]), name
    left = fitted(sessions, file)  # killed after the last epoch, as it were
    assert left.curves == whole.curves
    assert all(torch.equal(value, left.state[name]) for name, value in whole.state.items())


def test_a_state_of_another_fit_is_refused_in_a_sentence(
    sessions: Sessions, tmp_path: Path
) -> None:
    # Why: half of one file or the state of another model would end in a traceback of torch.
    file = tmp_path / "fit.resume.pt"
    for content in (b"", b"no zip", b"PK\x03\x04 half of one"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"fit.resume.pt cannot be gone on from \(.*remove the"):
            fitted(sessions, file)
    torch.save({"model": {}}, file)
    with pytest.raises(UserError, match="expected the state of this fit"):
        fitted(sessions, file)


def test_the_rate_warms_up_and_falls_like_a_cosine_by_hand() -> None:
    # Why: a fit that goes on reads its rate from the number of updates alone. Of 40 updates 2 warm
    # up; half-way through the other 38 the cosine is 0, so that 0.02 + 0.98 / 2 is left.
    assert [_schedule(update, 40) for update in (0, 1)] == [0.5, 1.0]
    assert _schedule(2, 40) == pytest.approx(1.0)
    assert _schedule(21, 40) == pytest.approx(0.51)
    assert _schedule(40, 40) == pytest.approx(0.02)
