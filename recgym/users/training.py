"""Fitting a user model by maximum likelihood (with a prior on the items' own effects)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recgym.types import After, Kind, Sessions, Split
from recgym.users.centring import CENTRINGS, centre
from recgym.users.epochs import Epochs, Log
from recgym.users.fit_settings import FitSettings
from recgym.users.likelihood import cart_counts
from recgym.users.passes import expectations_of_all, mean_nll
from recgym.users.polish import polish
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import resampled, rows_of, steps_of
from recgym.users.shrinkage import shrink


def start_from_counts(model: SequenceModel, sessions: Sessions, row_B: Tensor) -> None:
    """Set the intercepts to the log's rates, so that a fit begins at the marginals."""
    in_train_B = torch.zeros(len(sessions.split), dtype=torch.bool)
    in_train_B[row_B] = True
    length_B = sessions.offset[1:] - sessions.offset[:-1]
    in_train_S = torch.repeat_interleave(in_train_B, length_B)
    event = sessions.event
    view_S = in_train_S & (event.kind == Kind.VIEW)
    organic_S = view_S & (event.slot < 0)

    def log_share(row_n: Tensor, count: int) -> Tensor:
        count_J = torch.bincount(row_n, minlength=count).double()
        share_J = ((count_J + 0.5) / (count_J.sum() + 0.5 * count)).log()
        return share_J - share_J.mean()

    catalog, found_n = model.catalog, event.item[organic_S]

    def logit(mask_S: Tensor, among_S: Tensor) -> float:
        hit = float((mask_S & among_S).sum()) + 0.5
        rest = float(among_S.sum()) + 1.0 - hit
        return float(torch.tensor(hit / rest).log())

    after = event.after
    gap = event.gap[in_train_S & (event.gap > 0)].clamp(min=1.0).log()
    views, shown = float(view_S.sum()), float((sessions.page.item[in_train_S] >= 0).sum())
    clicks = float((view_S & (event.slot >= 0)).sum())
    with torch.no_grad():
        for single in (model.repeats, model.successors):
            if single is not None:
                single.start_from(sessions, in_train_S)
        model.items.bias[:, 0] = log_share(found_n, catalog.num_items)
        category_n = catalog.category.cpu()[found_n]
        model.items.category_bias.copy_(log_share(category_n, catalog.num_categories))
        _, upper_2 = model.heads.of("upper")
        upper_2[0] = logit(event.kind == Kind.LEAVE, in_train_S)
        upper_2[1] = logit(event.kind == Kind.CHECKOUT, in_train_S)
        _, level_7 = model.heads.of("level")
        if shown > 0:
            per_slot = (clicks + 0.5) / max(views - clicks, 1.0) * views / shown
            level_7[0] = float(torch.tensor(per_slot).log())
        bought_S, carted_S = after == After.BUY, after == After.CART
        level_7[1] = logit(bought_S, view_S)
        level_7[2] = logit(carted_S, view_S & ~bought_S)
        level_7[3] = logit(after == After.FAVOURITE, view_S & ~bought_S & ~carted_S)
        if len(gap) > 1:
            model.gap_mean.bias.fill_(float(gap.mean()))
            model.gap_log_std.fill_(float(gap.std().clamp(min=0.1).log()))


def fit(
    model: SequenceModel,
    sessions: Sessions,
    settings: FitSettings,
    *,
    seed: int,
    bootstrap: bool = False,
    log: Log | None = None,
    progress: Callable[[float], Any] | None = None,
    checkpoint: Path | None = None,
) -> dict[str, float]:
    """Fit in place on the training sessions; the best epoch on the validation sessions is kept.

    Levels, leaving and paying are then brought to their maximum on both together, so that the
    figures returned are no held-out ones but ``held_out_nll``, that of the best epoch; those of a
    report are of the test sessions.

    With ``bootstrap`` the training sessions are those of shoppers drawn anew, by the same seed.
    Where ``sessions.page.weight`` is set, slots teach by it, see `recgym.users.propensities`.
    ``log(tag, value, step)`` receives the curves, ``progress(share)`` how far the fit is. Returns
    the validation figures of what is kept. A fit that is killed goes on from ``checkpoint``, its
    file, when it is called again as it was; whoever keeps the model then removes the file.

    Raises:
        UserError: if the likelihood stops being finite, or the file is no state of this fit.
    """
    device = model.items.own.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout draws from the global generator
        generator = torch.Generator().manual_seed(seed)
        train_B, valid_B = rows_of(sessions, Split.TRAIN), rows_of(sessions, Split.VALID)
        if bootstrap:
            train_B = resampled(sessions, train_B, generator)
        start_from_counts(model, sessions, train_B)
        epochs = Epochs(model, sessions, settings, train_B, valid_B, generator, log, progress)
        epochs.run(checkpoint)
        slopes = shrink(model, sessions, valid_B)
        # the validation sessions have chosen, and may now teach: more events tell rates better
        all_B = torch.cat([train_B, valid_B])
        polish(model, sessions, all_B, generator)
        _centre_all(model, sessions, all_B)
    figures = mean_nll(model, sessions, valid_B)
    if log is not None:
        for name, slope in slopes.items():
            log(f"fit/slope_{name}", slope, epochs.epoch - 1)
    return {**figures, "epoch": epochs.best["epoch"], "held_out_nll": epochs.best["nll"]}


def _centre_all(model: SequenceModel, sessions: Sessions, row_B: Tensor) -> None:
    """Bring the rates of clicks and sales of these sessions to the log's, in place."""
    cart_S = cart_counts(sessions)
    step_n = steps_of(sessions, row_B).to(model.items.own.device)
    event_n = sessions.event.to(step_n.device).lanes(step_n)
    weight_SK = sessions.page.weight
    weight_nK = None if weight_SK is None else weight_SK.to(step_n.device)[step_n]
    for _ in range(CENTRINGS):
        expected_S = expectations_of_all(model, sessions, cart_S, row_B.unique())
        centre(model, event_n, expected_S.lanes(step_n), weight_nK)
    model.eval()
