"""The columns of a catalogue that a model gives, and the spectra that it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skestnet._predict_dist import predict_dist
from skestnet._survey._refused import Refused, RowNumbers, divide
from skestnet._survey._tables import Columns, stack, take
from skestnet.spectra import estimate_snr

# Fewer refusals than that, though of all spectra, may be bad luck.
SUSPICIOUS = 10
# Pixels that `estimate_snr` needs.
FEWEST_PIXELS = 5


class Predictor:
    """What a model says of spectra, as columns with a row for each spectrum that it takes."""

    def __init__(
        self,
        fitted: Any,
        detector: Any,
        label_names: Sequence[str] | None,
        confidence: Sequence[float],
        params: dict[str, Any],
    ) -> None:
        self.fitted = fitted
        self.detector = detector
        self.label_names = label_names
        self.confidence = confidence
        self.params = params

    def __call__(self, flux: NDArray[Any]) -> tuple[RowNumbers, Columns, Refused]:
        """Return the rows that have a prediction, their columns, and why the others have none."""
        self._check_width(flux.shape[1])
        refused = _without_flux(flux)
        rows = np.setdiff1d(np.arange(len(flux)), list(refused)).astype(np.intp)
        # Spectra with many bad pixels are those refused: together they are soon told apart.
        order = rows[np.argsort(np.isnan(flux[rows]).sum(axis=1), kind="stable")]
        results, messages = divide(lambda some: self._values(flux[some]), order)
        refused |= messages
        if not results:
            return np.empty(0, dtype=np.intp), {}, refused
        rows = np.concatenate([some for some, _ in results])
        values = take(stack([columns for _, columns in results]), np.argsort(rows))
        return np.sort(rows), self._named(values), refused

    def _check_width(self, n_pixels: int) -> None:
        wanted = getattr(self.fitted, "n_features_in_", n_pixels)
        if n_pixels != wanted:
            raise ValueError(
                f"Spectra of {n_pixels} pixels, but the model was fitted to {wanted}: expected the "
                "wavelengths that it was trained on. Check wavelength, prepare or the array."
            )

    def _values(self, flux: NDArray[Any]) -> Columns:
        """Return matrices with a column for each label by suffix, and vectors by name."""
        dist = predict_dist(self.fitted, flux, **self.params)
        values = {"": dist.mean(), "_std": dist.std()}
        for level in self.confidence:
            suffix = percent(level)
            values[f"_lower{suffix}"], values[f"_upper{suffix}"] = dist.interval(level)
        matrices = {name: np.reshape(value, (len(flux), -1)) for name, value in values.items()}
        return {"snr": _snr(flux)} | matrices | self._domain(flux)

    def _domain(self, flux: NDArray[Any]) -> Columns:
        if self.detector is None:
            return {}
        margin = self.detector.decision_function(flux)
        return {"out_of_domain": margin < 0, "domain_margin": margin}

    def _named(self, values: Columns) -> Columns:
        names = self._names(values[""].shape[1])
        columns = {"snr": values["snr"]}
        suffixes = [suffix for suffix, value in values.items() if value.ndim == 2]
        for k, name in enumerate(names):
            columns |= {name + suffix: values[suffix][:, k] for suffix in suffixes}
        return columns | {name: values[name] for name in DOMAIN if name in values}

    def _names(self, n_labels: int) -> Sequence[str]:
        if self.label_names is None:
            return ["label"] if n_labels == 1 else [f"label_{k}" for k in range(n_labels)]
        if len(self.label_names) != n_labels:
            raise ValueError(
                f"label_names={tuple(self.label_names)!r}, but the model predicts {n_labels} "
                "label(s): expected a name for each."
            )
        return self.label_names


DOMAIN = ("out_of_domain", "domain_margin")


def percent(level: float) -> str:
    """Return a confidence level for the name of a column: 0.954 is 95_4."""
    return f"{100 * level:.10g}".replace(".", "_")


def raise_if_all_refused(n_spectra: int, refused: Refused) -> None:
    """Raise if the model takes none of its first spectra, since it will hardly take others."""
    if n_spectra == len(refused) >= SUSPICIOUS:
        raise ValueError(
            f"The model takes none of the first {n_spectra} spectra. The first: "
            f"{refused[min(refused)]}"
        )


def _without_flux(flux: NDArray[Any]) -> Refused:
    empty = np.isnan(flux).all(axis=1)
    infinite = np.isinf(flux).any(axis=1)
    return {int(row): "No pixel has a flux." for row in np.flatnonzero(empty)} | {
        int(row): "The flux of a pixel is infinite." for row in np.flatnonzero(infinite)
    }


def _snr(flux: NDArray[Any]) -> NDArray[Any]:
    if flux.shape[1] < FEWEST_PIXELS:
        return np.full(len(flux), np.nan)
    return np.asarray(estimate_snr(flux), dtype=np.float64)
