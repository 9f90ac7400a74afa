"""Batches of spectra: weighted and shuffled ones to train on, padded ones to predict from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

# Bytes that the largest feature map of a batch of predictions may take: on a processor about what
# stays in its cache, so that more rows at once would not be faster.
MAP_BYTES = {"cpu": 2**22, "cuda": 2**27}
MOST_ROWS = {"cpu": 2**8, "cuda": 2**12}

# Batch normalisation needs two rows.
FEWEST_ROWS = 2

FloatArray = NDArray[np.float64]
Rows = NDArray[np.intp]
Batch = tuple[Tensor, tuple[Tensor, Tensor]]
Fresh = Callable[[Rows, int], NDArray[np.float32]]


class WeightedRows(Dataset[Batch]):
    """Rows of a matrix with labels and weights; a batch is fetched at once and copied once.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Spectra, float32; only the rows of `index` are read.
    y : ndarray of shape (n_rows, n_outputs)
        Standardised labels of the rows.
    weight : ndarray of shape (n_rows,)
        Their weights.
    index : ndarray of shape (n_rows,)
        Where the rows are in `X`.
    fresh : callable, default=None
        ``fresh(index, seed)`` gives another realisation of the spectra; each batch then gets one,
        its seed drawn from torch's generator. None takes them from `X`.
    """

    def __init__(
        self,
        X: NDArray[np.float32],
        y: FloatArray | Tensor,
        weight: FloatArray | Tensor,
        index: Rows,
        fresh: Fresh | None = None,
    ) -> None:
        self.X = X
        self.y = torch.as_tensor(y, dtype=torch.float32)
        self.weight = torch.as_tensor(weight, dtype=torch.float32)
        self.index = index
        self.fresh = fresh

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Batch:
        return self.__getitems__([item])

    def __getitems__(self, rows: list[int]) -> Batch:
        """Fetch a batch: spectra, and their labels with weights."""
        X = torch.from_numpy(self._spectra(self.index[rows]))
        return X, (self.y[rows], self.weight[rows])

    def _spectra(self, index: Rows) -> NDArray[np.float32]:
        if self.fresh is None:
            return self.X[index]
        return self.fresh(index, int(torch.randint(2**63 - 1, ())))

    def subset(self, rows: Rows, *, fresh: bool = False) -> WeightedRows:
        """Return some of the rows; to train on they may be fresh, to validate they must not."""
        new = self.fresh if fresh else None
        return WeightedRows(self.X, self.y[rows], self.weight[rows], self.index[rows], new)

    def reweighted(self, factor: FloatArray) -> WeightedRows:
        """Return the same rows, their weights multiplied by a factor each."""
        weight = self.weight.numpy() * factor
        return WeightedRows(self.X, self.y, weight, self.index, self.fresh)


class EvenBatches(Sampler[list[int]]):
    """Batches whose sizes differ by one at most, so that none is a single row.

    Batch normalisation fails on one row, and dropping a short last batch would train on nothing
    where there are fewer rows than `batch_size`.

    Parameters
    ----------
    n_rows : int
        Number of rows to share out.
    batch_size : int
        Largest size wanted; exceeded by one where a single row would be left over.
    shuffle : bool
        Whether each epoch has its own random order, from torch's generator.
    """

    def __init__(self, n_rows: int, batch_size: int, shuffle: bool) -> None:
        self.n_rows = n_rows
        self.n_batches = max(1, min(-(-n_rows // batch_size), n_rows // FEWEST_ROWS))
        self.shuffle = shuffle

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.n_rows) if self.shuffle else torch.arange(self.n_rows)
        return iter([batch.tolist() for batch in order.tensor_split(self.n_batches)])


def iterate_batches(
    dataset: Dataset[Any], batch_size: int, shuffle: bool = False, **kwargs: Any
) -> DataLoader[Any]:
    """Loop over batches; data that are not ours (``net_.predict(X)``) take torch's own way."""
    if not isinstance(dataset, WeightedRows):
        return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, **kwargs)
    batches = EvenBatches(len(dataset), batch_size, shuffle)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=_as_is, **kwargs)


def _as_is(batch: Any) -> Any:
    return batch


@torch.no_grad()
def map_features(
    net: Any,
    X: NDArray[np.float32],
    fn: Callable[[Tensor], Tensor],
    index: Rows | None = None,
    method: str = "features",
) -> FloatArray:
    """Apply `fn` to the network features of rows of `X`, batch by batch, and stack the results.

    Another method of the network than `features` may be named in its place.
    """
    net.module_.eval()
    results = []
    for rows, batch in padded_batches(X, net, index):
        features = getattr(net.module_, method)(batch)
        results.append(fn(features.double())[: rows.stop - rows.start].cpu().numpy())
    return np.concatenate(results)


def padded_batches(
    X: NDArray[np.float32], net: Any, index: Rows | None = None, size: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield which rows (of `index`), and a tensor that begins with them.

    Every batch has the same shape, the last one padded: sums inside the matrix products then do
    not depend on how many rows were asked for, nor on their neighbours.
    """
    n_rows = len(X) if index is None else len(index)
    size = size or rows_at_once(net.module_, X.shape[1], str(net.device))
    for start in range(0, n_rows, size):
        rows = slice(start, min(start + size, n_rows))
        batch = np.zeros((size, X.shape[1]), dtype=np.float32)
        batch[: rows.stop - start] = X[rows] if index is None else X[index[rows]]
        yield rows, torch.from_numpy(batch).to(net.device)


def rows_at_once(module: Any, n_pixels: int, device: str) -> int:
    """Return how many spectra a network predicts from together, a power of two.

    It depends on the sizes of the network alone, not on what memory is free: results must not.
    """
    kind = "cuda" if device.startswith("cuda") else "cpu"
    largest = getattr(module, "n_largest", 64 * n_pixels)
    fitting = max(1, MAP_BYTES[kind] // (4 * largest))
    return int(min(MOST_ROWS[kind], 2 ** (fitting.bit_length() - 1)))
