"""Linear autoregression: the next view's one-hot vector from the vectors of the last k views.

y_t = sum over k of B_k x_{t-k}, by ridge regression over all next views (Hamilton 1994, "Time
series analysis", section 11.1, the vector autoregression, with a penalty). x is an item's vector:
of the first D right singular vectors of the session x item matrix, each item's column divided by
the root of its sessions, its own row, brought to length 1. A catalogue of at most D items keeps its
one-hot vectors, and with one lag B_ij = n_ij / (n_i + ridge): the chain of `markov` with another
smoothing. Before a session's k-th view the missing vectors are 0; there is no intercept.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import svds
from torch import Tensor

from agents.neighbours import sessions_by_items
from experiments.predicting.base import History, Views, histories
from recgym.settings import Count, Within

ROWS = 100_000  # of the regression that are held at once


class LinearAutoregression:
    """A linear map from the last views to the next one.

    Args:
        lags: k, views that it looks back.
        dims: D, of an item's vector.
        ridge: of the regression, in views.
    """

    is_law = False

    def __init__(
        self, *, lags: Count = 3, dims: Count = 64, ridge: Annotated[float, Within(1e-6)] = 5.0
    ) -> None:
        self.lags, self.dims, self.ridge = lags, dims, ridge

    def fit(self, sessions: Views) -> None:
        """Find the vectors, then the map [k D, I]."""
        self.vector_ID = item_vectors(sessions, self.dims)
        history, target_N = histories(sessions, self.lags)
        width = self.lags * self.vector_ID.shape[1]
        square, cross = np.eye(width) * self.ridge, np.zeros((width, sessions.num_items))
        for first in range(0, len(target_N), ROWS):
            rows = slice(first, first + ROWS)
            x_NX, item_N = self._inputs(history.item[rows]), target_N[rows].numpy()
            place = (np.arange(len(item_N)), item_N)
            hot_NI = csr_matrix((np.ones(len(item_N)), place), (len(item_N), sessions.num_items))
            square += x_NX.T @ x_NX
            cross += (hot_NI.T @ x_NX).T
        self.map_XI = np.linalg.solve(square, cross)

    def scores(self, history: History) -> Tensor:
        """The forecast of each entry of the one-hot vector, [N, I]."""
        return torch.from_numpy(self._inputs(history.item[:, : self.lags]) @ self.map_XI)

    def _inputs(self, item_NK: Tensor) -> NDArray[np.float64]:
        known_NK1 = (item_NK >= 0).unsqueeze(-1).numpy()
        x_NKD = self.vector_ID[item_NK.clamp(min=0).numpy()] * known_NK1
        return np.asarray(x_NKD.reshape(len(item_NK), -1))


def item_vectors(sessions: Views, dims: int) -> NDArray[np.float64]:
    """Unit vectors of items that are viewed in the same sessions, [I, D]; 0 if never viewed."""
    if sessions.num_items <= dims:
        return np.eye(sessions.num_items)
    viewed_SI = sessions_by_items(sessions.session(), sessions.item, sessions.num_items)
    count_I = np.maximum(np.asarray(viewed_SI.sum(0)).ravel(), 1.0)
    scaled: Any = (viewed_SI @ diags(1.0 / np.sqrt(count_I))).astype(np.float64)
    most = min(scaled.shape) - 1
    if most < 1:
        return np.ones((sessions.num_items, 1))
    start = np.random.default_rng(0).standard_normal(min(scaled.shape))
    _, size_D, found_DI = svds(scaled, k=min(dims, most), v0=start)
    found_DI = found_DI[size_D > 1e-6 * size_D.max()]  # the others point anywhere
    length_I1 = np.linalg.norm(found_DI.T, axis=1, keepdims=True)
    return np.asarray(found_DI.T / np.where(length_I1 > 1e-9, length_I1, 1.0))
