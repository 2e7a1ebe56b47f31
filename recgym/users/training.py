"""Fitting a user model by maximum likelihood (with a prior on the items' own effects)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym.errors import UserError, at_least_1
from recgym.types import After, Event, Kind, Sessions, Split
from recgym.users.centring import CENTRINGS, centre
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob
from recgym.users.polish import polish
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches, resampled, rows_of, steps_of
from recgym.users.shrinkage import shrink
from recgym.users.spans import Carried, spans_of
from recgym.users.surprises import Expectation

LEAST_STEPS = 64  # of a batch
WALKED_STEPS = 65_536  # of a batch without gradients
MAX_LOGITS = 6_000_000  # items x steps of one batch that scores the whole catalogue


@dataclass(frozen=True)
class FitSettings:
    """How a user model is fitted.

    Attributes:
        epochs: at most; the best one on the validation sessions is kept.
        patience: epochs without a better validation likelihood before stopping early.
        batch_steps: page views of one batch, about.
        least_updates: of an epoch; the batches of a small log are smaller.
        learning_rate: AdamW's peak; warmed up over the first 5 % of updates, then a cosine.
        weight_decay: AdamW's, on weight matrices.
        clip: largest norm of a gradient.
        calm_share: share of the epochs, at the end, that run without dropout.
        window: page views that gradients reach back; see `recgym.users.spans`.
    """

    epochs: int = 10
    patience: int = 2
    batch_steps: int = 2048
    least_updates: int = 100
    learning_rate: float = 5e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    calm_share: float = 0.4
    window: int = 2048

    def __post_init__(self) -> None:
        """Refuse numbers that no fit can use."""
        for name in ("epochs", "batch_steps", "least_updates", "window"):
            at_least_1(f"user_model.fit.{name}", getattr(self, name))


def mean_nll(model: SequenceModel, sessions: Sessions, row_B: Tensor) -> dict[str, float]:
    """Negative log-likelihood a step in nats, in all and by factor."""
    was_training = model.training
    model.eval()
    cart_S = cart_counts(sessions)
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    sums = {"choice": 0.0, "after": 0.0, "gap": 0.0}
    device = model.items.own.device
    with torch.no_grad():
        for part in batches(length_B, WALKED_STEPS, None):
            steps = gather_steps(sessions, cart_S, row_B[part]).to(device)
            value = log_prob(model, steps)
            for name in sums:
                sums[name] -= float(getattr(value, name).double().sum())
    model.train(was_training)
    total = int(length_B.sum())
    result = {name: value / total for name, value in sums.items()}
    return {"nll": sum(result.values()), **{f"nll_{k}": v for k, v in result.items()}}


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


def _schedule(update: int, total: int) -> float:
    """Warm-up over 5 % of the updates, then a cosine down to 2 % of the peak."""
    warm = max(1, total // 20)
    if update < warm:
        return (update + 1) / warm
    progress = (update - warm) / max(1, total - warm)
    return 0.02 + 0.98 * 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * progress))))


def _expectations_of_all(
    model: SequenceModel,
    sessions: Sessions,
    cart_S: Tensor,
    row_B: Tensor,
    carried: Carried | None = None,
) -> Expectation:
    """The model's expectations of every step of these sessions, by row of the log's steps.

    ``carried`` keeps the states that windows begin with.
    """
    model.eval()
    num_steps, num_slots = sessions.page.item.shape
    device, dtype = model.items.own.device, model.items.own.dtype
    slot_SK = torch.zeros(num_steps, num_slots, device=device, dtype=dtype)
    leave_S, after_S4 = slot_SK.new_zeros(num_steps), slot_SK.new_zeros(num_steps, len(After))
    found_SX = slot_SK.new_zeros(num_steps, model.tables.input_IX.shape[1])
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    for part in batches(length_B, WALKED_STEPS, None):
        steps = gather_steps(sessions, cart_S, row_B[part]).to(device)
        expected = expectations(model, steps, None if carried is None else carried.meet)
        leave_S[steps.step], slot_SK[steps.step] = expected.leave, expected.slot
        after_S4[steps.step], found_SX[steps.step] = expected.after, expected.found
    return Expectation(leave_S, slot_SK, after_S4, found_SX)


def _measure_finds(model: SequenceModel, event: Event, expected: Expectation) -> None:
    """How far what is found alone lies from what would have been, over these steps."""
    surprise_nX = model.senses.found_surprise(model.tables, expected, event)
    model.tastes.measure(surprise_nX[(event.kind == Kind.VIEW) & (event.slot < 0)])


def fit(
    model: SequenceModel,
    sessions: Sessions,
    settings: FitSettings,
    *,
    seed: int,
    bootstrap: bool = False,
    log: Callable[[str, float, int], Any] | None = None,
    progress: Callable[[float], Any] | None = None,
) -> dict[str, float]:
    """Fit in place on the training sessions; the best epoch on the validation sessions is kept.

    Levels, leaving and paying are then brought to their maximum on both together, so that the
    figures returned are no held-out ones; those of a report are of the test sessions.

    With ``bootstrap`` the training sessions are those of shoppers drawn anew, by the same seed.
    ``log(tag, value, step)`` receives the curves, ``progress(share)`` how far the fit is. Returns
    the validation figures of what is kept.

    Raises:
        UserError: if the likelihood stops being finite.
    """
    device = model.items.own.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout draws from the global generator
        return _fit(model, sessions, settings, seed, bootstrap, log, progress)


def _fit(
    model: SequenceModel,
    sessions: Sessions,
    settings: FitSettings,
    seed: int,
    bootstrap: bool,
    log: Callable[[str, float, int], Any] | None,
    progress: Callable[[float], Any] | None,
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    device = model.items.own.device
    train_B, valid_B = rows_of(sessions, Split.TRAIN), rows_of(sessions, Split.VALID)
    if bootstrap:
        train_B = resampled(sessions, train_B, generator)
    length_B = sessions.offset[1:] - sessions.offset[:-1]
    cart_S = cart_counts(sessions)
    train_steps = int(length_B[train_B].sum())
    batch_steps = min(settings.batch_steps, train_steps // settings.least_updates)
    batch_steps = max(LEAST_STEPS, batch_steps)
    step_n = steps_of(sessions, train_B).to(device)
    event_n = sessions.event.to(device).lanes(step_n)
    start_from_counts(model, sessions, train_B)
    # effects that are small by what they are, and not for want of data, do not decay
    loads = (model.tastes.click, model.tastes.sale, model.tastes.found)
    spared = {id(value) for value in (model.items.bias, model.heads.segment_offset, *loads)}
    matrices = [p for p in model.parameters() if p.dim() > 1 and id(p) not in spared]
    others = [p for p in model.parameters() if p.dim() <= 1 or id(p) in spared]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    spans = spans_of(sessions, train_B, settings.window)
    per_epoch = len(list(batches(spans.length, batch_steps, None)))
    total = per_epoch * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda u: _schedule(u, total))
    best: dict[str, float] = {"nll": float("inf")}
    kept = copy.deepcopy(model.state_dict())
    update, worse = 0, 0
    for epoch in range(settings.epochs):
        carried = Carried(settings.window)
        expected_S = _expectations_of_all(model, sessions, cart_S, train_B.unique(), carried)
        _measure_finds(model, event_n, expected_S.lanes(step_n))
        model.train()
        # dropout noise in a logit lifts the mean of a rare event's probability, so without it the
        # rates of buying would come out low: the last epochs fit the model as it will be used
        model.dropout.train(epoch < settings.epochs * (1 - settings.calm_share))
        running = torch.zeros((), device=device)
        for part in batches(spans.length, batch_steps, generator):
            steps = carried.onto(spans.gather(sessions, cart_S, part).to(device))
            model.prepare()
            value = log_prob(model, steps, expected_S.lanes(steps.step)).total()
            loss = -value.mean() + model.penalty() / train_steps
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimiser.step()
            schedule.step()
            model.project()
            running += loss.detach() * (len(value) / train_steps)
            update += 1
            if progress is not None:
                progress(update / total)
        figures = mean_nll(model, sessions, valid_B)
        if not torch.isfinite(torch.tensor(figures["nll"])):
            raise UserError(
                f"the fit's likelihood is {figures['nll']} after epoch {epoch + 1}: expected a "
                "finite number; lower user_model.fit.learning_rate."
            )
        if log is not None:
            log("fit/train_nll", float(running), epoch)
            for name, number in figures.items():
                log(f"fit/valid_{name}", number, epoch)
        if figures["nll"] < best["nll"]:
            best, kept, worse = (
                {**figures, "epoch": float(epoch + 1)},
                copy.deepcopy(model.state_dict()),
                0,
            )
        else:
            worse += 1
            if worse >= settings.patience:
                break
    model.load_state_dict(kept)
    model.eval()
    slopes = shrink(model, sessions, valid_B)
    # the validation sessions have chosen, and may now teach: rates are known as well as events many
    all_B = torch.cat([train_B, valid_B])
    polish(model, sessions, all_B, generator)
    step_n = steps_of(sessions, all_B).to(device)
    event_n = sessions.event.to(device).lanes(step_n)
    for _ in range(CENTRINGS):
        expected_S = _expectations_of_all(model, sessions, cart_S, all_B.unique())
        centre(model, event_n, expected_S.lanes(step_n))
    model.eval()
    figures = mean_nll(model, sessions, valid_B)
    if log is not None:
        for name, slope in slopes.items():
            log(f"fit/slope_{name}", slope, epoch)
    return {**figures, "epoch": best["epoch"]}
