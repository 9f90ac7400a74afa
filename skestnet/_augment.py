"""Between the X of an estimator and its network: fresh noise in training, then preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

Flux = NDArray[np.float32]
Augment = Callable[[Flux, np.random.Generator], Any]


def add_white_noise(flux: Flux, rng: np.random.Generator, *, sigma: float) -> Flux:
    """Return the spectra with independent Gaussian noise on every feature."""
    return flux + np.float32(sigma) * rng.standard_normal(flux.shape, dtype=np.float32)


def check_augment(augment: Any) -> Augment | None:
    """Return the function that `augment` stands for, or say what was expected."""
    if augment is None or callable(augment):
        return augment
    if isinstance(augment, Real) and not isinstance(augment, bool) and 0 <= float(augment) < np.inf:
        return partial(add_white_noise, sigma=float(augment))
    raise ValueError(
        f"augment={augment!r}: expected None, a standard deviation of at least 0, or a callable "
        "augment(X, rng) that returns spectra of the same shape, such as a SpectrumDegrader."
    )


@contextmanager
def nan_explained() -> Iterator[None]:
    """Say how to fill bad pixels where scikit-learn finds NaN in the spectra."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Input X contains NaN"):
            raise
        raise ValueError(
            "Input X contains NaN. Fill bad pixels with skestnet.spectra.MaskedPixelImputer, as a "
            "step of the pipeline before this estimator, or in its parameter preprocess."
        ) from None


class Preparation(NamedTuple):
    """How spectra are prepared for the network.

    Attributes
    ----------
    augment : callable or None
        ``augment(flux, rng)`` gives another realisation of the spectra; for training only.
    transformer : transformer or None
        Fitted preprocessing, applied to every spectrum, after `augment`.
    """

    augment: Augment | None
    transformer: Any

    def __call__(self, flux: Flux, seed: int = 0) -> Flux:
        """Return prepared spectra, float32 and finite; `seed` is that of the augmentation."""
        flux = self._augmented(flux, seed)
        if self.transformer is not None:
            return _checked(self.transformer.transform(flux), "preprocess")
        return flux if self.augment is None else _checked(flux, "augment")

    def _augmented(self, flux: Flux, seed: int) -> Flux:
        if self.augment is None:
            return flux
        changed = np.asarray(self.augment(flux, np.random.default_rng(seed)))
        if changed.shape != flux.shape:
            raise ValueError(
                f"augment returned spectra of shape {changed.shape} for {flux.shape}: the shape "
                "must not change. A SpectrumDegrader for spectra at their pixels is "
                "SpectrumDegrader(pixels, pixels, resolution=None, velocity=0)."
            )
        return changed.astype(np.float32, copy=False)

    def fit(self, preprocess: Any, flux: Flux, seed: int) -> Self:
        """Return the preparation with `preprocess` fitted to a realisation of `flux`."""
        if preprocess is None:
            return self
        return self._replace(transformer=clone(preprocess).fit(self._augmented(flux, seed)))


def _checked(flux: Any, by: str) -> Flux:
    """Return float32 spectra; name the parameter that left values the network cannot take."""
    prepared = np.asarray(flux, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(prepared).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{bad.size} of {len(prepared)} spectra, the first in row {bad[0]}, hold "
            f"NaN or infinite values after {by}. Try a MaskedPixelImputer as the first step of "
            "preprocess."
        )
    return prepared
