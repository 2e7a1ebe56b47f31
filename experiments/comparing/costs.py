"""What a user model costs: parameters, the step of a fit, the step of a simulation."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from experiments.speed.setting import Setting
from experiments.speed.stepping import Stepping, simulator_of
from experiments.speed.timing import Call, interleaved, medians
from recgym.types import Sessions, Split
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches, rows_of

Figures = dict[str, float]


def costs(
    models: Mapping[str, SequenceModel],
    sessions: Sessions,
    setting: Setting,
    *,
    batch_steps: int,
    num_slots: int,
) -> dict[str, Figures]:
    """Of each model; all take turns, so that neighbours on the machine meet all alike.

    An epoch is what its batches take, forward and backward; the walk for expectations before it,
    the validation after it and what follows a fit are no part of it.
    """
    lanes = setting.lanes_or(512)
    train_B = rows_of(sessions, Split.TRAIN)
    length_B = sessions.offset.diff()[train_B]
    parts = list(batches(length_B, batch_steps, torch.Generator().manual_seed(0)))
    fits = {name: _batch(model, sessions, train_B[parts[0]]) for name, model in models.items()}
    steps = {
        name: Stepping(simulator_of(model, num_slots), lanes, num_slots)
        for name, model in models.items()
    }
    a_batch = medians(interleaved(fits, setting))
    for model in models.values():
        model.eval()
    with torch.no_grad():
        a_step = medians(interleaved(steps, setting))
    return {
        name: {
            "parameters": sum(value.numel() for value in model.parameters()),
            "memory_parameters": sum(
                value.numel() for key, value in model.named_parameters() if key[:7] == "memory."
            ),
            "epoch_seconds": a_batch[name] * len(parts),
            "steps_a_second": lanes / a_step[name],
        }
        for name, model in models.items()
    }


def _batch(model: SequenceModel, sessions: Sessions, row_B: torch.Tensor) -> Call:
    """One batch of a fit, without the optimiser's own step."""
    seen = model.sees(sessions)
    steps = gather_steps(seen, cart_counts(seen), row_B)
    expected = expectations(model, steps)

    def work() -> None:
        model.train()
        model.zero_grad()
        model.prepare()
        loss = -log_prob(model, steps, expected).total().mean()
        loss.backward()

    return work
