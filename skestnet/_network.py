"""What EstNetRegressor and AdaptiveMLPRegressor share: training in two stages, and prediction."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_consistent_length, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from skestnet._augment import Augment, Preparation, check_augment, nan_explained
from skestnet._batches import FEWEST_ROWS, WeightedRows, map_features
from skestnet._disk_rows import DiskRows, is_on_disk
from skestnet._distribution import PredictiveDistribution
from skestnet._labels import LabelScale
from skestnet._noise import NOISES, correlation_of, noise_factor
from skestnet._rows import CanonicalRows, canonical_rows, rows_digest
from skestnet._training import (
    StageSettings,
    build_net,
    progress_bar,
    resolve_device,
    seeded,
    train_two_stages,
)
from skestnet._training_state import TrainingState, epoch_record, lent_weights
from skestnet._weighter import AdaptiveWeighter
from skestnet._weights import check_weight
from skestnet.nn import BetaNLLLoss, WeightedHuberLoss, WithNoise
from skestnet.nn._dropout import dropout_moments, thinned_heads
from skestnet.nn._noise import noise_columns

FloatArray = NDArray[np.float64]

PARAMETER_LIMITS: dict[str, tuple[type, dict[str, Any]]] = {
    "dropout": (Real, {"min_val": 0, "max_val": 1, "include_boundaries": "left"}),
    "huber_delta": (Real, {"min_val": 0, "include_boundaries": "neither"}),
    "max_epochs": (Integral, {"min_val": 1}),
    "batch_size": (Integral, {"min_val": 2}),
    "lr": (Real, {"min_val": 0, "include_boundaries": "neither"}),
    "weight_decay": (Real, {"min_val": 0}),
    "validation_fraction": (Real, {"min_val": 0, "max_val": 1, "include_boundaries": "left"}),
    "n_iter_no_change": (Integral, {"min_val": 1}),
    "tol": (Real, {"min_val": 0}),
    "n_draws": (Integral, {"min_val": 1}),
}

# Validation samples below which the noise is measured on all samples.
FEWEST_ASIDE = 20
# Samples on which it is measured for a checkpoint, which must not take long.
NOISE_SAMPLES = 1000


class _Draws(NamedTuple):
    """What is random in a fit: generator of the split, seeds of the training and of predictions."""

    split_rng: np.random.RandomState
    seed: int
    draw_seed: int


class _Fit(NamedTuple):
    """What a fit has prepared for its training."""

    samples: WeightedRows
    inverse: NDArray[np.intp]
    train: NDArray[np.intp]
    valid: NDArray[np.intp]
    scale: LabelScale
    preparation: Preparation
    draws: _Draws
    y_ndim: int


class TwoStageRegressor(RegressorMixin, BaseEstimator):
    """A network that is trained in two stages and predicts with Monte Carlo dropout.

    Subclasses have the parameters, and say by `_module` which network they train.
    """

    _own_limits: ClassVar[dict[str, tuple[type, dict[str, Any]]]] = {}
    # Least and largest standard deviation of spectra that the network can learn from.
    _spreads: ClassVar[tuple[float, float]]

    dropout: float
    huber_delta: float
    noise: str
    weighter: Any
    max_epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    preprocess: Any
    augment: Any
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    n_draws: int
    warm_start: bool
    checkpoint: str | PathLike[str] | None
    device: str
    random_state: Any
    verbose: int
    net_params: Mapping[str, Any] | None

    _split_rng: np.random.RandomState
    _fit_seed: int
    _draw_seed: int

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network in two stages.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra on a common grid, of order one. Neither a float32 memmap nor an array of Zarr or
            HDF5 is copied to memory as a whole, unless there is `preprocess` or `augment`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, in any units.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0; only their ratios matter. They multiply the adaptive weights.

        Returns
        -------
        self : object
            The fitted regressor.

        Raises
        ------
        ValueError
            If a parameter is out of its range, if `X` or `y` is not finite (NaN in `X` may pass
            with `preprocess`), if there are fewer than two samples, if weights are negative or
            all zero, or if the checkpoint is damaged or of another fit.
        OSError
            If the checkpoint cannot be read, or its folder not be written to.
        ImportError
            If there is a `checkpoint` and skops or safetensors is not installed.
        TypeError
            If there is a `checkpoint`, and a parameter that cannot be saved.
        FloatingPointError
            If the loss becomes infinite or NaN; the message says when and what to lower. If that
            is not in the first epoch, the estimator then has the best weights so far.

        Warns
        -----
        ConvergenceWarning
            If Ctrl-C ended a stage: its best weights so far are kept, and a first stage is not
            followed by the second. What called `fit`, such as a search, goes on.
        UserWarning
            If the numbers of the spectra are too small, or for `AdaptiveMLPRegressor` too large, to
            learn from.
            If the memory of a GPU was too small: the training goes on with half the `batch_size`.
            If a checkpoint could not be written: the training goes on without.
        """
        weighter, augment = self._check_params()
        warm = self.warm_start and hasattr(self, "net_")
        checkpoint = self._open_checkpoint()
        flux, target = self._check_training_data(X, y, reset=not warm)
        labels = target.reshape(len(target), -1).astype(np.float64)
        rows = canonical_rows(flux, labels, check_weight(sample_weight, flux))
        # An earlier fit, whose network this one goes on from.
        earlier, state = (self, None) if warm else (None, None)
        if checkpoint is not None:
            earlier, state = checkpoint.read(rows_digest(labels, rows))
        draws = self._draw(len(rows.source), earlier, state)
        train, valid = _split(len(rows.source), self.validation_fraction, deepcopy(draws.split_rng))
        if warm:
            self._check_kept_noise()
            scale = self._kept_label_scale(labels)
        else:
            scale = LabelScale.of(labels[rows.source[train]], rows.weight[train])
        if earlier is None:
            preparation = self._preparation(augment, flux, rows.source[train], draws.seed)
        else:
            preparation = Preparation(augment, earlier.preprocess_)
        standardised = scale.standardise(labels)[rows.source]
        samples = _samples(flux, rows, standardised, preparation, draws.seed)
        _check_spread(samples, train[: self.batch_size], self._spreads)
        fit = _Fit(samples, rows.inverse, train, valid, scale, preparation, draws, target.ndim)
        return self._train(fit, weighter, warm, checkpoint, state)

    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Estimate labels, and their standard deviations.

        Those are of Monte Carlo dropout and, as `noise` says, of the noise of the labels together.
        Both are exact: the limit of infinitely many draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, prepared like those of `fit`.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Estimated labels, in the units and the shape of `y` in `fit`.
        y_std : ndarray of the shape of `y_pred`
            Standard deviations, only with ``return_std=True``.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If `X` is not finite (NaN may pass with `preprocess`) or has another number of pixels
            than in `fit`.
        """
        moments, noise_std, _ = self._apply(self._moments, self._check_flux(X))
        mean, variance = np.split(moments, 2, axis=1)
        y_pred = self._shape_like_y(mean * self.label_scale_ + self.label_mean_)
        if not return_std:
            return y_pred
        std = np.sqrt(variance + (self.noise_scale_ * noise_std) ** 2)
        return y_pred, self._shape_like_y(std * self.label_scale_)

    def predict_dist(
        self, X: ArrayLike, n_draws: int | None = None, random_state: Any = None
    ) -> PredictiveDistribution:
        """Draw predictive distributions by Monte Carlo dropout (eqs. 20, 21), with noise.

        A draw is one thinned network, the same for every spectrum. Nothing before the dropout is
        random, so the costly part of the network is computed once. The draws' spread is the
        epistemic part of the uncertainty; each has the noise that `noise` asks for, the aleatoric
        part.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, prepared like those of `fit`.
        n_draws : int, default=None
            Number of draws. None takes the estimator's `n_draws`.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws. None takes one that was drawn in `fit`, so that calls repeat.

        Returns
        -------
        PredictiveDistribution
            One distribution for each spectrum, in the units of `y`.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If `X` is not finite (NaN may pass with `preprocess`) or has another number of pixels
            than in `fit`.
        """
        flux = self._check_flux(X)
        n_draws = self.n_draws if n_draws is None else n_draws
        check_scalar(n_draws, "n_draws", Integral, min_val=1)
        rng = check_random_state(self._draw_seed if random_state is None else random_state)
        output = self.net_.module_.output
        uniform = rng.random_sample((n_draws, output.linear.in_features))
        heads = thinned_heads(output, torch.from_numpy(uniform))
        draws, noise_std, correlation = self._apply(heads, flux)
        draws = draws.reshape(len(flux), n_draws, -1) * self.label_scale_ + self.label_mean_
        scale = noise_std * self.noise_scale_ * self.label_scale_
        if self._y_ndim == 1:
            return PredictiveDistribution(draws[..., 0], scale)
        if not scale.any():
            return PredictiveDistribution(draws)
        # The noise is the same for all draws.
        return PredictiveDistribution(draws, scale[:, np.newaxis], correlation[:, np.newaxis])

    def features(self, X: ArrayLike) -> FloatArray:
        """Compute what the trained network makes of spectra, whatever their labels.

        For EstNet this is how much each of its last feature maps varies along the spectrum; for the
        multilayer perceptron, what enters its last layer. Spectra of another kind than those
        trained on stand out in them: see :class:`~skestnet.OutOfDomainDetector`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra, prepared like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            One row for each spectrum, the same whatever spectra come with it.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If `X` is not finite (NaN may pass with `preprocess`) or has another number of pixels
            than in `fit`.
        """
        flux = self._check_flux(X)
        return map_features(self.net_, flux, lambda values: values, method="descriptors")

    def _moments(self, h: torch.Tensor) -> torch.Tensor:
        return dropout_moments(self.net_.module_.output, h)

    def _apply(
        self,
        head: Callable[[torch.Tensor], torch.Tensor],
        X: NDArray[np.float32],
        index: NDArray[np.intp] | None = None,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Apply a head to the features of spectra; return with it what the noise looks like.

        The noise is described by standard deviations (n_samples, n_outputs), which have yet to be
        multiplied by `noise_scale_`, and correlations (n_samples, n_outputs, n_outputs).
        """
        module, n_outputs = self.net_.module_, len(self.label_mean_)
        if not isinstance(module, WithNoise):
            columns = map_features(self.net_, X, head, index)
            shape = (len(columns), n_outputs)
            correlation = np.broadcast_to(self.noise_correlation_, (*shape, n_outputs))
            return columns, np.ones(shape), correlation
        noise = noise_columns(module.noise)
        columns = map_features(self.net_, X, lambda h: torch.cat([head(h), noise(h)], dim=1), index)
        ends = [-n_outputs * (n_outputs + 1), -(n_outputs**2)]
        own, std, correlation = np.split(columns, ends, axis=1)
        return own, std, correlation.reshape(-1, n_outputs, n_outputs)

    def _measure_noise(self, samples: WeightedRows) -> tuple[FloatArray, FloatArray]:
        """Fit the width of the noise, and its correlation where it is the same for all spectra."""
        labels = samples.y.numpy().astype(np.float64)
        self.noise_correlation_ = np.eye(labels.shape[1])
        if self.noise == "none":
            return np.zeros(labels.shape[1]), self.noise_correlation_
        weight = samples.weight.numpy().astype(np.float64)
        moments, std, _ = self._apply(self._moments, samples.X, samples.index)
        mean, variance = np.split(moments, 2, axis=1)
        scale = noise_factor(labels - mean, variance, std, weight)
        return scale, correlation_of((labels - mean) / std, weight)

    def _check_params(self) -> tuple[AdaptiveWeighter | None, Augment | None]:
        for name, (kind, limits) in {**PARAMETER_LIMITS, **self._own_limits}.items():
            value = getattr(self, name)
            if value != value:
                raise ValueError(f"{name} is NaN: expected a number.")
            check_scalar(value, name, kind, **limits)
        if self.preprocess is not None and not hasattr(self.preprocess, "transform"):
            raise ValueError(f"preprocess={self.preprocess!r}: expected a transformer or None.")
        if self.noise not in NOISES:
            raise ValueError(f"noise={self.noise!r}: expected one of {NOISES}.")
        return self._check_weighter(), check_augment(self.augment)

    def _check_weighter(self) -> AdaptiveWeighter | None:
        if self.weighter is None:
            return None
        weighter = AdaptiveWeighter.paper() if self.weighter == "adaptive" else self.weighter
        if not isinstance(weighter, AdaptiveWeighter):
            raise ValueError(
                f"weighter={self.weighter!r}: expected 'adaptive', an AdaptiveWeighter or None."
            )
        if weighter.regressor is not None:
            raise ValueError(
                f"The weighter has a regressor, but {type(self).__name__} is its own first stage. "
                f"Leave regressor=None, or use AdaptiveWeightRegressor({type(self).__name__}("
                "weighter=None), weighter)."
            )
        if weighter.cv not in (None, "auto"):
            raise ValueError(
                f"The weighter has cv={weighter.cv!r}, but between its two stages "
                f"{type(self).__name__} has one network, no folds. Leave cv as it is, or use "
                f"AdaptiveWeightRegressor({type(self).__name__}(weighter=None), weighter)."
            )
        weighter.check_params()
        return weighter

    def _check_kept_noise(self) -> None:
        has_head = isinstance(self.net_.module_, WithNoise)
        if has_head != (self.noise == "heteroscedastic"):
            raise ValueError(
                f"noise={self.noise!r}, but the network that warm_start goes on from has "
                f"{'a' if has_head else 'no'} head for the noise of each spectrum. Fit a clone "
                "instead, or set noise back."
            )

    def _kept_label_scale(self, labels: FloatArray) -> LabelScale:
        if labels.shape[1] != len(self.label_mean_):
            raise ValueError(
                f"y has {labels.shape[1]} labels per sample, but the network that warm_start goes "
                f"on from has {len(self.label_mean_)}. Fit a clone instead."
            )
        return LabelScale(self.label_mean_, self.label_scale_)

    def _draw(
        self, n_rows: int, earlier: TwoStageRegressor | None, state: TrainingState | None
    ) -> _Draws:
        """Draw what is random in a fit, the same for one that goes on from an earlier one."""
        rng = check_random_state(self.random_state)
        split_rng = deepcopy(rng)
        _split(n_rows, self.validation_fraction, rng)
        seed, draw_seed = rng.randint(np.iinfo(np.int32).max, size=2).tolist()
        if earlier is not None:
            # The samples that were set aside before, or they would have been trained on.
            split_rng = earlier._split_rng
            if state is not None:
                seed, draw_seed = earlier._fit_seed, earlier._draw_seed
        return _Draws(split_rng, seed, draw_seed)

    def _open_checkpoint(self) -> Any:
        if self.checkpoint is None:
            return None
        if self.warm_start:
            raise ValueError(
                "warm_start=True goes on from this estimator's own network, and checkpoint from "
                "that of a file: set one of them only."
            )
        # Needs what only the extra "save" installs.
        from skestnet._saving._checkpoint import Checkpoint

        return Checkpoint(self.checkpoint, self)

    def _train(
        self,
        fit: _Fit,
        weighter: AdaptiveWeighter | None,
        warm: bool,
        checkpoint: Any,
        state: TrainingState | None,
    ) -> Self:
        """Train the net, set all that `fit` leaves, and only then say if the training failed."""
        device = resolve_device(self.device)
        bar = progress_bar(self.max_epochs * (1 if weighter is None else 2), self.verbose)
        with seeded(fit.draws.seed, device), bar:
            # A copy: what a warm start goes on from must survive a training that fails.
            net = self._rewarmed_net() if warm else self._build_net(fit.samples, device)
            weigh = weighter and partial(self._weigh, net, fit.samples, fit.train, weighter)
            keep = checkpoint and partial(self._keep, net, fit, checkpoint)
            limits = (self.max_epochs, self.n_iter_no_change, self.tol)
            settings = StageSettings(*limits, bar, keep)
            outcome = train_two_stages(
                net, fit.samples, fit.train, fit.valid, weigh, settings, state
            )
        self._set_fitted(net, fit, outcome.weights)
        if checkpoint is not None and outcome.finished and not (state and state.finished):
            self._keep(net, fit, checkpoint, TrainingState.at_the_end(net, outcome.weights))
        if outcome.error is not None:
            anew = f" To begin anew, delete {self.checkpoint}." if checkpoint else ""
            raise FloatingPointError(
                f"{outcome.error} The best weights of the {self.n_iter_} epochs before are kept: "
                f"this estimator predicts with them.{anew}"
            ) from outcome.error
        return self

    def _keep(self, net: Any, fit: _Fit, checkpoint: Any, state: TrainingState) -> None:
        """Write what can be predicted with so far, and all that it takes to go on."""
        snapshot = checkpoint.bare_copy(self)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(snapshot, name, getattr(self, name))
        with lent_weights(net.module_, state.best):
            n_aside = None if state.finished else NOISE_SAMPLES
            snapshot._set_fitted(net, fit, state.sample_factor, n_aside)
            checkpoint.write(snapshot, state)

    def _set_fitted(
        self, net: Any, fit: _Fit, weights: FloatArray, n_aside: int | None = None
    ) -> None:
        """Set the attributes that `fit` leaves; measure the noise on so many samples at most."""
        self.net_ = net
        self.label_mean_, self.label_scale_ = fit.scale
        # Training residuals are too small, but better than those of a few validation samples. The
        # adaptive weights stay out: small for large residuals, they would make noise look narrow.
        few = len(fit.valid) < FEWEST_ASIDE
        aside = np.union1d(fit.train, fit.valid) if few else fit.valid
        noise = self._measure_noise(fit.samples.subset(aside[:n_aside]))
        self.noise_scale_, self.noise_correlation_ = noise
        self.preprocess_ = fit.preparation.transformer
        self._y_ndim, self._split_rng = fit.y_ndim, fit.draws.split_rng
        self._fit_seed, self._draw_seed = fit.draws.seed, fit.draws.draw_seed
        self.sample_weight_ = np.where(fit.inverse >= 0, weights[fit.inverse], 0.0)
        self.history_ = [epoch_record(epoch) for epoch in net.history]
        self.n_iter_ = len(self.history_)

    def _rewarmed_net(self) -> Any:
        lr = (self.net_params or {}).get("lr", self.lr)
        return deepcopy(self.net_).set_params(lr=lr)

    def _build_net(self, samples: WeightedRows, device: str) -> Any:
        module, module_params = self._module()
        shape = {"n_pixels": samples.X.shape[1], "n_outputs": samples.y.shape[1]}
        params = {**shape, "dropout": self.dropout, **module_params}
        criterion: nn.Module = WeightedHuberLoss(self.huber_delta)
        if self.noise == "heteroscedastic":
            module, params = WithNoise, {"network": module, **params}
            criterion = BetaNLLLoss()
        return build_net(
            module,
            module_params=params,
            criterion=criterion,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            device=device,
            net_params=self.net_params,
        )

    @abstractmethod
    def _module(self) -> tuple[type[nn.Module], dict[str, Any]]:
        """Return the network and its parameters beside numbers of pixels and labels, and dropout.

        It has methods `features` and `descriptors` and an :class:`~skestnet.nn.OutputModule` named
        `output`.
        """

    def _weigh(
        self,
        net: Any,
        samples: WeightedRows,
        train: NDArray[np.intp],
        weighter: AdaptiveWeighter,
    ) -> FloatArray:
        """Weigh all samples by the first stage's fit to the training samples (eqs. 12-17)."""
        labels = samples.y.numpy().astype(np.float64)
        head = partial(dropout_moments, net.module_.output)
        moments = map_features(net, samples.X, head, samples.index)
        fitted = moments[:, : labels.shape[1]]
        return weighter.weigh(
            labels,
            fitted,
            train=(labels[train], fitted[train]),
            sample_weight=samples.weight.numpy()[train],
        )

    def _check_flux(self, X: ArrayLike) -> NDArray[np.float32]:
        check_is_fitted(self, "net_")
        with nan_explained():
            if is_on_disk(X):
                flux: Any = self._check_on_disk(X, reset=False)
            else:
                flux = validate_data(
                    self, X, dtype=np.float32, ensure_all_finite=self._finite(), reset=False
                )
        if self.preprocess_ is None:
            return flux
        return Preparation(None, self.preprocess_)(flux[:])

    def _check_training_data(self, X: Any, y: Any, reset: bool) -> tuple[Any, NDArray[Any]]:
        limits: dict[str, Any] = {"y_numeric": True, "multi_output": True, "reset": reset}
        with nan_explained():
            if is_on_disk(X):
                flux = self._check_on_disk(X, reset)
                target = validate_data(self, X="no_validation", y=y, **limits)
                check_consistent_length(flux, target)
                if len(flux) < FEWEST_ROWS:
                    raise ValueError(
                        f"Found array with {len(flux)} sample(s) while a minimum of {FEWEST_ROWS} "
                        "is required."
                    )
                return flux, target
            limits |= {"ensure_min_samples": FEWEST_ROWS, "ensure_all_finite": self._finite()}
            flux, target = validate_data(self, X, y, dtype=np.float32, **limits)
            return flux, target

    def _check_on_disk(self, X: Any, reset: bool) -> DiskRows:
        validate_data(self, X, skip_check_array=True, reset=reset)
        flux = DiskRows(X)
        flux.check_finite(allow_nan=self.preprocess is not None)
        return flux

    def _finite(self) -> bool | str:
        """Tell `validate_data` whether NaN may pass."""
        return True if self.preprocess is None else "allow-nan"

    def _preparation(
        self, augment: Augment | None, flux: NDArray[np.float32], train: Any, seed: int
    ) -> Preparation:
        """Fit the preprocessing to the training spectra among the rows of `flux`."""
        if self.preprocess is None:
            return Preparation(augment, None)  # no copy of the spectra
        return Preparation(augment, None).fit(self.preprocess, flux[train], seed)

    def _shape_like_y(self, values: FloatArray) -> FloatArray:
        return values[:, 0] if self._y_ndim == 1 else values

    def __sklearn_tags__(self) -> Any:
        """Say that several labels can be estimated at once."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.allow_nan = self.preprocess is not None
        return tags


def _samples(
    flux: NDArray[np.float32],
    rows: CanonicalRows,
    labels: FloatArray,
    preparation: Preparation,
    seed: int,
) -> WeightedRows:
    """Return the distinct rows, prepared, and where to get fresh realisations of them."""
    if preparation == Preparation(None, None):
        return WeightedRows(flux, labels, rows.weight, rows.source)  # no copy of X
    prepared = preparation(flux[rows.source], seed)

    def fresh(index: NDArray[np.intp], seed: int) -> NDArray[np.float32]:
        return preparation(flux[rows.source[index]], seed)

    everything = np.arange(len(prepared))
    new = None if preparation.augment is None else fresh
    return WeightedRows(prepared, labels, rows.weight, everything, new)


def _check_spread(
    samples: WeightedRows, rows: NDArray[np.intp], limits: tuple[float, float]
) -> None:
    """Warn if the numbers of some rows are far from order one. Constant ones are left alone."""
    some = samples.X[samples.index[rows]]
    spread = float(np.std(some, dtype=np.float64))
    low, high = limits
    if spread and not low <= spread <= high:
        warnings.warn(
            f"The spectra to learn from have a standard deviation of {spread:.2g}: the network "
            "expects numbers of order one, and may learn nothing from these. Scale spectra and "
            'pixels first, such as by make_pipeline(FluxScaler("median"), StandardScaler(), ...).',
            stacklevel=3,
        )


def _split(
    n_rows: int, validation_fraction: float, rng: np.random.RandomState
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Share rows at random between training and validation; too few rows all go to training."""
    order = rng.permutation(n_rows)
    n_valid = round(validation_fraction * n_rows)
    if n_rows - n_valid < 2:
        n_valid = 0
    # Batch normalisation needs two rows: a single distinct one is trained on twice.
    train = np.resize(order[n_valid:], max(2, n_rows - n_valid))
    return train, order[:n_valid]
