"""The epochs of a fit, which go on where a killed fit was and end with the same numbers.

After each epoch a checkpoint holds all that decides the rest: parameters, AdamW's moments, the
schedule, both random generators (of batches, and torch's own, from which dropout draws), the best
epoch so far and the curves. A fit that is killed loses what it did of one epoch.

Logged each epoch: ``fit/train_nll`` (the loss that the updates saw, with the prior) and
``fit/valid_nll``, ``fit/valid_nll_choice``, ``_after`` and ``_gap``, all in nats a step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.files import beside
from recgym.types import Event, Kind, Sessions
from recgym.users.fit_settings import FitSettings
from recgym.users.likelihood import Steps, cart_counts, log_prob
from recgym.users.passes import expectations_of_all, mean_nll
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches, steps_of
from recgym.users.spans import Carried, spans_of
from recgym.users.surprises import Expectation
from recgym.users.switches import (
    add_adversary,
    events_read,
    outcome_weights,
    prior_shift,
    unweighted,
    weighted,
)

LEAST_STEPS = 64  # of a batch

Log = Callable[[str, float, int], Any]  # (tag, value, epoch)


class Epochs:
    """Updates, epoch by epoch, and the state between two of them.

    Args:
        model: fitted in place, from where it stands.
        sessions: of the log.
        settings: of the fit.
        train_B, valid_B: rows of the sessions that teach, and of those that choose the epoch.
        generator: of the order of batches.
        log: receives the curves, also those of the epochs before a kill.
        progress: receives the share of the updates that are over.
    """

    def __init__(
        self,
        model: SequenceModel,
        sessions: Sessions,
        settings: FitSettings,
        train_B: Tensor,
        valid_B: Tensor,
        generator: torch.Generator,
        log: Log | None = None,
        progress: Callable[[float], Any] | None = None,
    ) -> None:
        self.model, self.sessions, self.settings = model, sessions, settings
        self.train_B, self.valid_B, self.generator = train_B, valid_B, generator
        self.log, self.progress = log, progress
        self.device = model.items.own.device
        self.cart_S = cart_counts(sessions)
        self.spans = spans_of(sessions, train_B, settings.window)
        self.num_steps = int(self.spans.length.sum())
        batch_steps = min(settings.batch_steps, self.num_steps // settings.least_updates)
        self.batch_steps = max(LEAST_STEPS, batch_steps)
        self.step_n = steps_of(sessions, train_B).to(self.device)
        self.event_n = sessions.event.to(self.device).lanes(self.step_n)
        self.weight_4 = outcome_weights(self.event_n, settings.rare) if settings.rare else None
        self.shift_3 = None if self.weight_4 is None else prior_shift(self.event_n, self.weight_4)
        self.optimiser = _optimiser(model, settings)
        per_epoch = len(list(batches(self.spans.length, self.batch_steps, None)))
        self.num_updates = per_epoch * settings.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda update: _schedule(update, self.num_updates)
        )
        self.best: dict[str, float] = {"nll": float("inf")}
        self.kept = copy.deepcopy(model.state_dict())
        self.epoch, self.update, self.worse = 0, 0, 0  # how many are over
        self.curves: list[tuple[str, float, int]] = []

    def run(self, checkpoint: Path | None = None) -> None:
        """All epochs that are left, and the best one into the model.

        Args:
            checkpoint: file that each epoch leaves its state in, and that the first one goes on
                from where it is there.

        Raises:
            UserError: if the likelihood stops being finite, or the file is no state of this fit.
        """
        if checkpoint is not None and checkpoint.exists():
            self._go_on_from(checkpoint)
        while self.epoch < self.settings.epochs and not self._worn_out():
            loss = self._update_all()
            self._judge(loss)
            if checkpoint is not None:
                checkpoint.parent.mkdir(parents=True, exist_ok=True)
                with beside(checkpoint) as place:
                    torch.save(self.state_dict(), place)
        self.model.load_state_dict(self.kept)
        self.model.eval()

    def _worn_out(self) -> bool:
        """Whether so many epochs were no better that none is awaited."""
        return self.worse > 0 and self.worse >= self.settings.patience

    def _update_all(self) -> float:
        """One epoch of updates; the mean loss."""
        model, settings = self.model, self.settings
        whole_B = self.train_B.unique()
        # expectations too are those of the model as it will be used, or sales would surprise less
        with unweighted(model, self.shift_3):
            carried = Carried(settings.window)
            expected_S = expectations_of_all(model, self.sessions, self.cart_S, whole_B, carried)
        _measure_finds(model, self.event_n, expected_S.lanes(self.step_n))
        model.train()
        # dropout noise in a logit lifts the mean of a rare event's probability, so without it the
        # rates of buying would come out low: the last epochs fit the model as it will be used
        calm = self.epoch >= settings.epochs * (1 - settings.calm_share)
        model.dropout.train(not calm)
        running = torch.zeros((), device=self.device)
        for part in batches(self.spans.length, self.batch_steps, self.generator):
            gathered = self.spans.gather(self.sessions, self.cart_S, part)
            steps = carried.onto(gathered.to(self.device))
            count, masked = len(steps.step), 0.0 if calm else settings.mask
            read_n = events_read(count, masked, self.generator)
            loss_of = partial(self._loss, steps, expected_S.lanes(steps.step), read_n)
            self.optimiser.zero_grad(set_to_none=True)
            loss = loss_of()
            loss.backward()
            if settings.adversary and not calm:
                add_adversary(model.items.own, loss_of, settings.adversary)
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            self.optimiser.step()
            self.schedule.step()
            model.project()
            running += loss.detach() * (count / self.num_steps)
            self.update += 1
            if self.progress is not None:
                self.progress(self.update / self.num_updates)
        return float(running)

    def _loss(self, steps: Steps, expected: Expectation, read_n: Tensor | None) -> Tensor:
        """Of one batch, with its share of the prior; a scalar in nats a step."""
        self.model.prepare()
        read_n = None if read_n is None else read_n.to(self.device)
        value = log_prob(self.model, steps, expected, read_n)
        likelihood = weighted(value, steps.event, steps.page, self.weight_4).mean()
        return -likelihood + self.model.penalty() / self.num_steps

    def _judge(self, loss: float) -> None:
        """The epoch's figures on the validation sessions, and whether it is the best so far."""
        with unweighted(self.model, self.shift_3):
            figures = mean_nll(self.model, self.sessions, self.valid_B)
            state = copy.deepcopy(self.model.state_dict())
        if not torch.isfinite(torch.tensor(figures["nll"])):
            raise UserError(
                f"the fit's likelihood is {figures['nll']} after epoch {self.epoch + 1}: expected "
                "a finite number; lower user_model.fit.learning_rate."
            )
        found = {"train_nll": loss, **{f"valid_{name}": x for name, x in figures.items()}}
        self._tell([(f"fit/{name}", number, self.epoch) for name, number in found.items()])
        self.epoch += 1
        if figures["nll"] < self.best["nll"]:
            self.best, self.worse = {**figures, "epoch": float(self.epoch)}, 0
            self.kept = state
        else:
            self.worse += 1

    def _tell(self, points: list[tuple[str, float, int]]) -> None:
        self.curves += points
        for point in points if self.log is not None else ():
            self.log(*point)  # type: ignore[misc]

    # ---- a killed fit goes on -------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that decides the rest of the fit."""
        on_gpu = self.device.type == "cuda"
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "global": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if on_gpu else None,
            "best": self.best,
            "kept": self.kept,
            "counts": [self.epoch, self.update, self.worse],
            "curves": self.curves,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Be where `state_dict` was; of the same model, sessions and settings."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["global"])
        if self.device.type == "cuda" and state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self.device)
        self.best, self.kept = state["best"], state["kept"]
        self.epoch, self.update, self.worse = state["counts"]
        self._tell(state["curves"])

    def _go_on_from(self, file: Path) -> None:
        try:
            self.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, EOFError, ValueError, UnpicklingError) as error:
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{file} cannot be gone on from ({line}): expected the state of this fit; remove "
                "the file to fit anew."
            ) from error
        if self.progress is not None:
            self.progress(self.update / self.num_updates)


def _optimiser(model: SequenceModel, settings: FitSettings) -> torch.optim.AdamW:
    # effects that are small by what they are, and not for want of data, do not decay
    tastes = model.tastes
    loads = (tastes.click, tastes.sale, tastes.found, tastes.price)
    spared = {id(value) for value in (model.items.bias, model.heads.segment_offset, *loads)}
    matrices = [p for p in model.parameters() if p.dim() > 1 and id(p) not in spared]
    others = [p for p in model.parameters() if p.dim() <= 1 or id(p) in spared]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )


def _schedule(update: int, total: int) -> float:
    """Warm-up over 5 % of the updates, then a cosine down to 2 % of the peak."""
    warm = max(1, total // 20)
    if update < warm:
        return (update + 1) / warm
    progress = (update - warm) / max(1, total - warm)
    return 0.02 + 0.98 * 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * progress))))


def _measure_finds(model: SequenceModel, event: Event, expected: Expectation) -> None:
    """How far what is found alone lies from what would have been, over these steps."""
    surprise_nX = model.senses.found_surprise(model.tables, expected, event)
    model.tastes.measure(surprise_nX[(event.kind == Kind.VIEW) & (event.slot < 0)])
