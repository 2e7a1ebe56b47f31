"""The figure of a fit: a batch of our likelihood beside a bare LSTM with a softmax."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pad_sequence

from experiments.speed import shops
from experiments.speed.figure import Figure
from experiments.speed.setting import SLOTS, Setting
from experiments.speed.timing import interleaved, medians
from recgym.types import Sessions, Split
from recgym.users.fit_settings import FitSettings
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches, rows_of
from recgym.users.training import fit as fit_model

PADDING = -100  # target that `cross_entropy` ignores
VALID_SHARE = 0.01  # so few that the validation of each epoch weighs nothing


class Bare(nn.Module):
    """Item vectors, `nn.LSTM`, and a score for each item: the least that a sequence model does."""

    def __init__(self, num_items: int, hidden: int) -> None:
        super().__init__()
        self.item = nn.Embedding(num_items, hidden)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)

    def hidden(self, item_BT: Tensor) -> Tensor:
        """The output before each step, [B, T, H]."""
        out_BTH: Tensor = self.lstm(self.item(item_BT))[0]
        return out_BTH

    def loss(self, item_BT: Tensor, target_BT: Tensor) -> Tensor:
        """Mean negative log-likelihood of the next items, by a softmax over the catalogue."""
        scores_BTI = self.hidden(item_BT) @ self.item.weight.T
        return F.cross_entropy(scores_BTI.flatten(0, 1), target_BT.flatten(), ignore_index=PADDING)

    def loss_without_softmax(self, item_BT: Tensor, target_BT: Tensor) -> Tensor:
        """A loss that the LSTM's output alone decides."""
        return self.hidden(item_BT).square().mean()


def fit(setting: Setting) -> Figure:
    """Batches/s of a fit, expectations included."""
    items = shops.catalog(setting.items)
    log = shops.sessions(items, setting.log_sessions, num_slots=SLOTS, valid_share=VALID_SHARE)
    model = shops.untrained(items, log, hidden=setting.hidden, embedding=setting.hidden)
    taken, updates = _epochs(model.to(setting.device), log, setting)
    train_B = rows_of(log, Split.TRAIN)
    length_B = (log.offset[1:] - log.offset[:-1])[train_B]
    batch_steps = max(1, round(int(length_B.sum()) / updates))
    batches_padded = [
        padded(log, train_B[part], setting.device) for part in batches(length_B, batch_steps, None)
    ]
    bare = _bare(batches_padded, setting)
    ours = [updates / passed for passed in taken]
    limit = 1.0 / bare["softmax"]
    value = statistics.median(ours)
    filled = float(length_B.sum()) / sum(item_BT.numel() for item_BT, _ in batches_padded)
    return Figure(
        figure="fit",
        values=ours,
        unit="batches/s",
        limit=limit,
        ratio=value / limit,
        goal="ratio at least 0.6 of a bare nn.LSTM + softmax pass on the same padded batch",
        settings={
            "steps_a_batch": batch_steps,
            "batches_an_epoch": updates,
            "share_not_padding": round(filled, 3),
            "ratio_without_softmax": value * bare["lstm"],
            "parts": {
                "ours, a batch": 1.0 / value,
                "bare LSTM + softmax": bare["softmax"],
                "bare LSTM": bare["lstm"],
            },
            "sessions": setting.log_sessions,
            "slots": SLOTS,
            "items": setting.items,
            "hidden": setting.hidden,
        },
    )


def _epochs(model: SequenceModel, log: Sessions, setting: Setting) -> tuple[list[float], int]:
    """Seconds of each epoch of a real fit after the first, and the batches of one.

    From the end of one epoch to that of the next: expectations, batches, the few validation steps.
    """
    wait = setting.sync() or (lambda: None)
    ends: list[float] = []
    updates: list[int] = [0]

    def on_log(tag: str, value: float, step: int) -> None:
        if tag == "fit/train_nll":
            wait()
            ends.append(time.perf_counter())
            updates.append(0)

    def on_progress(share: float) -> None:
        updates[-1] += 1

    epochs = setting.repeats + 1
    settings = FitSettings(epochs=epochs, patience=epochs, least_updates=1)
    fit_model(model, log, settings, seed=0, log=on_log, progress=on_progress)
    count = round(statistics.median(updates[1:-1]))
    passed = [after - before for before, after in itertools.pairwise(ends)]
    # epochs are cut into batches anew, so that one may hold a batch more than another
    return [s * count / n for s, n in zip(passed, updates[1:-1], strict=True)], count


def padded(log: Sessions, row_B: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch of sessions as items seen and items that follow, [B, T]."""
    items = [log.event.item[log.offset[b] : log.offset[b + 1]] for b in row_B.tolist()]
    item_BT = pad_sequence(items, batch_first=True, padding_value=0).clamp(min=0)
    target_BT = pad_sequence(items, batch_first=True, padding_value=PADDING)
    target_BT = torch.where(target_BT < 0, torch.full_like(target_BT, PADDING), target_BT)
    return item_BT.to(device), target_BT.to(device)


def _bare(batches_padded: list[tuple[Tensor, Tensor]], setting: Setting) -> dict[str, float]:
    """Seconds a batch of the bare model, forward, backward and step, with and without softmax."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Bare(setting.items, setting.hidden).to(setting.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def epoch(loss_of: Callable[[Tensor, Tensor], Tensor]) -> None:
        for item_BT, target_BT in batches_padded:
            optimiser.zero_grad(set_to_none=True)
            loss_of(item_BT, target_BT).backward()
            optimiser.step()

    taken = interleaved(
        {
            "softmax": lambda: epoch(model.loss),
            "lstm": lambda: epoch(model.loss_without_softmax),
        },
        setting,
    )
    return {name: passed / len(batches_padded) for name, passed in medians(taken).items()}
