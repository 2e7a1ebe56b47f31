"""One LSTM over all series, with quantile heads.

An LSTM (Hochreiter and Schmidhuber 1997) reads the window: value divided by the window's level,
calendar, usual hours. From its last state and the calendar of each step ahead a small network gives
quantiles, trained by the pinball loss (Wen et al. 2017, "A multi-horizon quantile recurrent
forecaster", with their direct multi-horizon heads; deviation: one head for all steps ahead, told
the step, and no encoder of future context but the calendar). What it gives is added to the mean of
the same place in the week over the window, so that it begins as a seasonal mean. Early stopping on
the last part of the training origins; `num_nets` networks with seeds of their own are averaged.
Quantiles cannot cross: the outer ones lie a softplus away from the median.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from recgym.forecast.clock import Floats, Ints, Past
from recgym.forecast.models.base import QUANTILES, origins, weeks_before, window_levels, windows
from recgym.forecast.models.features import waves
from recgym.settings import Count, Positive, Share

BATCH = 256  # windows
STOPPING_SHARE = 0.1  # of the training origins, the last, on which early stopping looks


class _Net(nn.Module):
    """Window and calendar ahead to quantiles, in units of the window's level."""

    def __init__(self, num_inputs: int, num_ahead: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_inputs, hidden, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(hidden + num_ahead, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, len(QUANTILES)),
        )  # fmt: skip
        last: nn.Linear = self.head[-1]  # type: ignore[assignment]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, seen_NWF: Tensor, ahead_NHF: Tensor, mean_NH: Tensor) -> Tensor:
        """[N, H, Q]."""
        _, (h_1NC, _) = self.lstm(seen_NWF)
        state_NHC = h_1NC[0].unsqueeze(1).expand(-1, ahead_NHF.shape[1], -1)
        out_NHQ = self.head(torch.cat([state_NHC, ahead_NHF], -1))
        median_NH = mean_NH + out_NHQ[..., 1]
        below_NH, above_NH = softplus(out_NHQ[..., 0]), softplus(out_NHQ[..., 2])
        return torch.stack([median_NH - below_NH, median_NH, median_NH + above_NH], -1)


Batch = tuple[Tensor, Tensor, Tensor]


class Lstm:
    """LSTMs over all series.

    Args:
        hidden: units.
        epochs: at most.
        patience: epochs without a better loss before it stops.
        learning_rate: of AdamW.
        dropout: in the head.
        num_nets: networks that are averaged.
        max_windows: that are learned from; a random part of them where there are more.
        max_steps: of the window that are read one by one, the last ones; means are over all of it.
        seed: of the first network, and of the random part.
    """

    def __init__(
        self,
        *,
        hidden: Count = 32,
        epochs: Count = 30,
        patience: Count = 4,
        learning_rate: Positive = 0.003,
        dropout: Share = 0.1,
        num_nets: Count = 3,
        max_windows: Count = 4000,
        max_steps: Count = 168,
        seed: int = 0,
    ) -> None:
        self.hidden, self.epochs, self.patience = hidden, epochs, patience
        self.learning_rate, self.dropout = learning_rate, dropout
        self.num_nets, self.max_windows, self.max_steps = num_nets, max_windows, max_steps
        self.seed = seed
        self.nets: list[_Net] = []

    def fit(self, past: Past) -> None:
        """Each network on the same windows, with its own seed."""
        row_N, origin_N = origins(past, self.max_windows, self.seed)
        given = self._inputs(past, row_N, origin_N)
        ahead_NH = origin_N[:, None] + np.arange(past.horizon)
        level_N = window_levels(past, row_N, origin_N)
        target_NH = _floats(past.value[row_N[:, None], ahead_NH] / level_N[:, None])
        usual_NH = torch.from_numpy(past.clock.usual[ahead_NH])
        # no horizon of an origin learned from reaches into those that stop the training
        last = np.quantile(origin_N, 1.0 - STOPPING_SHARE)
        learned = np.flatnonzero(origin_N <= last - past.horizon)
        stopping = np.flatnonzero(origin_N > last)
        if not len(learned) or not len(stopping):  # a short past: nothing can be held out
            learned = stopping = np.arange(len(origin_N))
        self.nets = [
            self._train(number, given, target_NH, usual_NH, learned, stopping)
            for number in range(self.num_nets)
        ]

    def predict(self, past: Past) -> Floats:
        """The mean of the networks' quantiles."""
        row_S = np.arange(len(past.value))
        origin_S = np.full(len(row_S), past.value.shape[1])
        given = self._inputs(past, row_S, origin_S)
        with torch.no_grad():
            found_SHQ = torch.stack([net(*given) for net in self.nets]).mean(0).double().numpy()
        scaled: Floats = found_SHQ * window_levels(past, row_S, origin_S)[:, None, None]
        return scaled

    def _inputs(self, past: Past, row_N: Ints, origin_N: Ints) -> Batch:
        clock, read = past.clock, min(past.window, self.max_steps)
        level_N = window_levels(past, row_N, origin_N)
        seen_NW = origin_N[:, None] + np.arange(-read, 0)
        scaled_NW = windows(past, row_N, origin_N)[:, -read:] / level_N[:, None]
        ahead_NH = origin_N[:, None] + np.arange(past.horizon)
        far_NH = np.broadcast_to(np.arange(past.horizon) / past.horizon, ahead_NH.shape)
        size_NH = np.broadcast_to(np.log1p(level_N)[:, None] / 10, ahead_NH.shape)
        mean_NH = weeks_before(past, row_N, origin_N).mean(-1) / level_N[:, None]
        return (
            _floats(np.concatenate([scaled_NW[..., None], waves(clock, seen_NW)], -1)),
            _floats(
                np.concatenate(
                    [waves(clock, ahead_NH), np.stack([far_NH, size_NH, mean_NH], -1)], -1
                )
            ),
            _floats(mean_NH),
        )

    def _train(
        self,
        number: int,
        given: Batch,
        target_NH: Tensor,
        usual_NH: Tensor,
        learned: Ints,
        stopping: Ints,
    ) -> _Net:
        generator = torch.Generator().manual_seed(self.seed + number)
        with torch.random.fork_rng(devices=[]):  # the caller's stream stays where it is
            torch.manual_seed(self.seed + number)
            net = _Net(given[0].shape[-1], given[1].shape[-1], self.hidden, self.dropout)
            optimiser = torch.optim.AdamW(net.parameters(), self.learning_rate)
            best, kept, waited = float("inf"), copy.deepcopy(net.state_dict()), 0
            for _ in range(self.epochs):
                net.train()
                order = torch.randperm(len(learned), generator=generator).numpy()
                for chunk in np.array_split(learned[order], -(-len(learned) // BATCH)):
                    found_NHQ = net(*(part[chunk] for part in given))
                    loss = pinball(found_NHQ, target_NH[chunk], usual_NH[chunk])
                    optimiser.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                    optimiser.step()
                net.eval()
                with torch.no_grad():
                    held_NHQ = net(*(part[stopping] for part in given))
                    now = float(pinball(held_NHQ, target_NH[stopping], usual_NH[stopping]))
                waited = 0 if now < best else waited + 1
                if now < best:
                    best, kept = now, copy.deepcopy(net.state_dict())
                if waited >= self.patience:
                    break
        net.load_state_dict(kept)
        return net.eval()


def pinball(found_NHQ: Tensor, target_NH: Tensor, usual_NH: Tensor) -> Tensor:
    """Mean pinball loss over quantiles and steps of usual hours (Koenker and Bassett 1978)."""
    error_NHQ = target_NH.unsqueeze(-1) - found_NHQ
    quantile_Q = torch.tensor(QUANTILES)
    loss_NH = torch.maximum(quantile_Q * error_NHQ, (quantile_Q - 1) * error_NHQ).mean(-1)
    return (loss_NH * usual_NH).sum() / usual_NH.sum().clamp(min=1)


def _floats(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
