"""EstNetRegressor: the paper's network and training as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from skestnet._augment import Augment, Preparation, check_augment, nan_explained
from skestnet._distribution import PredictiveDistribution
from skestnet._labels import LabelScale
from skestnet._rows import CanonicalRows, canonical_rows
from skestnet._training import (
    StageSettings,
    WeightedRows,
    build_net,
    map_features,
    progress_bar,
    resolve_device,
    seeded,
    train_two_stages,
)
from skestnet._weights import AdaptiveWeighter, check_weight
from skestnet.nn import EstNet
from skestnet.nn._dropout import dropout_moments, thinned_heads

FloatArray = NDArray[np.float64]

PAPER = {
    "teff": {"depth": 34, "dropout": 0.6, "weight_decay": 0.0008, "gamma": 0.0},
    "logg": {"depth": 66, "dropout": 0.75, "weight_decay": 0.0015, "gamma": 0.1},
}


PARAMETER_LIMITS: dict[str, tuple[type, dict[str, Any]]] = {
    "depth": (Integral, {}),
    "width": (Integral, {"min_val": 1}),
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


class EstNetRegressor(RegressorMixin, BaseEstimator):
    """Physical parameters with intervals from poor-quality spectra.

    EstNet (Xie et al. 2025) estimates one or several labels (effective temperature, surface
    gravity, ...) from a spectrum of fixed length with a residual network, a recurrent unit that
    reads its channels, and Monte Carlo dropout before the last layer. It is trained in two stages:
    plainly at first, then with little weight on the samples that the first stage finds anomalous
    (:func:`~skestnet.adaptive_weights`).

    The default is a small network for spectra of about a thousand pixels on a laptop;
    :meth:`paper` gives the published one. Labels are standardised inside. Spectra are not: scale
    them first, for example with :class:`~skestnet.spectra.FluxScaler` and
    :class:`~sklearn.preprocessing.StandardScaler` in a pipeline.

    Parameters
    ----------
    depth : int, default=12
        Number of convolutions, even and at least 12. The paper's are 34 (Teff) and 66 (log g).
    width : int, default=16
        Number of feature maps after the first convolution. The paper's is 64.
    dropout : float, default=0.2
        Probability of dropping a feature before the last layer, in [0, 1). The paper's are 0.6
        (Teff) and 0.75 (log g).
    huber_delta : float, default=1.0
        Residual, in standard deviations of the labels, from which the loss grows linearly (eq. 9).
    weighter : {"adaptive"} or AdaptiveWeighter or None, default="adaptive"
        How the second stage weighs samples: "adaptive" is ``AdaptiveWeighter()``. None leaves out
        the second stage.
    max_epochs : int, default=15
        Largest number of epochs in each stage.
    batch_size : int, default=32
        Number of spectra in a training step, at least 2.
    lr : float, default=0.003
        Largest learning rate; it rises during the first tenth of a stage and then decays along a
        half cosine to a hundredth.
    weight_decay : float, default=0.0008
        Penalty on the squared weights, in the gradients of the optimiser, Adam. The paper's are
        0.0008 (Teff) and 0.0015 (log g). Raise it to about 0.01 for a few thousand spectra with a
        signal-to-noise ratio of a few, whose noise the network would learn.
    preprocess : transformer, default=None
        Preprocessing inside the estimator, such as a pipeline of scalers: fitted to the training
        spectra after `augment`, and applied to all spectra after it. Needed where the noise has
        to be added before the scaling; otherwise steps of a pipeline before the estimator do as
        well. With it `X` may hold NaN, which it has to fill.
    augment : float or callable, default=None
        Fresh noise for every training step, on the spectra as passed to `fit`: the standard
        deviation of white noise; or ``augment(X, rng)`` that takes a batch of spectra and a
        :class:`numpy.random.Generator` and returns another realisation, such as a
        :class:`~skestnet.templates.SpectrumDegrader`. Early stopping and the adaptive weights
        look at one fixed realisation. Spectra to predict are taken as they are.
    validation_fraction : float, default=0.1
        Share of the samples set aside for early stopping, in [0, 1). With 0, or with too few
        samples to share, the training loss is monitored.
    n_iter_no_change : int, default=7
        Epochs without improvement after which a stage stops; the best weights are restored.
    tol : float, default=0.0001
        Relative improvement of the monitored loss that counts as such.
    n_draws : int, default=200
        Number of Monte Carlo dropout draws of `predict_dist`.
    warm_start : bool, default=False
        Whether a further call of `fit` goes on from the network that the last one left, with
        its label scaling. Of the parameters of network and optimiser only `lr` can change.
    device : str, default="auto"
        Where to compute: "cpu", "cuda", "cuda:1". "auto" takes a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, validation split, batches and dropout. Pass an int for results
        that repeat: identically with the same number of threads, to rounding otherwise, and on a
        GPU as far as its sums keep their order.
    verbose : int, default=0
        1 shows a progress bar over the epochs.
    net_params : dict, default=None
        Further arguments of :class:`skorch.NeuralNet`, for experts, such as
        ``{"optimizer": torch.optim.SGD, "module__reduction": 8}``.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; `net_.module_` is the :class:`~skestnet.nn.EstNet`. It sees
        standardised labels.
    history_ : list of dict
        For each epoch: stage, train_loss, valid_loss (None without validation samples), lr and
        seconds. The losses of the second stage are weighted, so they are not to be compared with
        those of the first.
    sample_weight_ : ndarray of shape (n_samples,)
        Adaptive weight of each sample passed to `fit`, found after the first stage (ones without
        a second stage). Samples of `sample_weight` zero have weight zero.
    n_iter_ : int
        Number of epochs run, both stages together.
    preprocess_ : transformer or None
        The fitted `preprocess`.
    label_mean_, label_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the training labels; a constant label has scale 0.
    n_features_in_ : int
        Number of pixels seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the pixels seen in `fit`, where `X` has such.

    See Also
    --------
    AdaptiveWeighter : The weights of the second stage, for any regressor.
    predict_dist : Predictive distributions through pipelines and searches.

    Notes
    -----
    Equal samples are merged and the rest is put in an order that depends on the data alone, so
    that the result depends neither on the order of the samples nor on whether a sample is repeated
    or has weight two.

    Monte Carlo dropout measures what the network does not know, not the noise of the labels:
    its intervals are usually too narrow.

    References
    ----------
    Xie et al. (2025), "An adaptive parameter estimator for poor-quality spectral data of white
    dwarfs", A&A 704, A37.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skestnet import EstNetRegressor, predict_dist
    >>> from skestnet.datasets import make_white_dwarfs
    >>> X, y = make_white_dwarfs(60, n_pixels=100, return_X_y=True, random_state=0)
    >>> network = EstNetRegressor(width=4, max_epochs=2, random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X[:50], y[:50])
    >>> model.predict(X[50:]).shape  # Teff in K and log g in dex
    (10, 2)
    >>> low, high = predict_dist(model, X[50:]).interval(0.68)
    >>> low.shape
    (10, 2)
    """

    def __init__(
        self,
        *,
        depth: int = 12,
        width: int = 16,
        dropout: float = 0.2,
        huber_delta: float = 1.0,
        weighter: Any = "adaptive",
        max_epochs: int = 15,
        batch_size: int = 32,
        lr: float = 0.003,
        weight_decay: float = 0.0008,
        preprocess: Any = None,
        augment: Any = None,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 7,
        tol: float = 0.0001,
        n_draws: int = 200,
        warm_start: bool = False,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        net_params: Mapping[str, Any] | None = None,
    ) -> None:
        self.depth = depth
        self.width = width
        self.dropout = dropout
        self.huber_delta = huber_delta
        self.weighter = weighter
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.preprocess = preprocess
        self.augment = augment
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.n_draws = n_draws
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.net_params = net_params

    @classmethod
    def paper(cls, label: str, **params: Any) -> Self:
        """Set up the network of the paper for a label (EstNet34 or EstNet66).

        Parameters
        ----------
        label : {"teff", "logg"}
            Effective temperature or surface gravity.
        **params : object
            Parameters that differ from the paper's or that it does not give.

        Returns
        -------
        EstNetRegressor
            An unfitted regressor.

        Raises
        ------
        ValueError
            If there are no published settings for `label`.

        References
        ----------
        Xie et al. (2025), A&A 704, A37, section 4.

        Examples
        --------
        >>> from skestnet import EstNetRegressor
        >>> EstNetRegressor.paper("logg").depth
        66
        """
        if label not in PAPER:
            raise ValueError(f"label={label!r}: expected one of {sorted(PAPER)}.")
        settings = dict(PAPER[label])
        weighter = AdaptiveWeighter(gamma=settings.pop("gamma"))
        return cls(**{"width": 64, "weighter": weighter, "max_epochs": 100, **settings, **params})

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network in two stages.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_pixels)
            Spectra on a common grid, of order one.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, in any units.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0; only their ratios matter. They multiply the adaptive weights.

        Returns
        -------
        self : EstNetRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If a parameter is out of its range, if `X` or `y` is not finite (NaN in `X` may pass
            with `preprocess`), if there are fewer than two samples, or if weights are negative or
            all zero.
        FloatingPointError
            If the loss becomes infinite or NaN; the message says when and what to lower.

        Warns
        -----
        ConvergenceWarning
            If Ctrl-C ended a stage: its best weights so far are kept, and a first stage is not
            followed by the second. What called `fit`, such as a search, goes on.
        """
        weighter, augment = self._check_params()
        warm = self.warm_start and hasattr(self, "net_")
        with nan_explained():
            flux, target = validate_data(
                self,
                X,
                y,
                dtype=np.float32,
                ensure_all_finite=self._finite(),
                multi_output=True,
                y_numeric=True,
                ensure_min_samples=2,
                reset=not warm,
            )
        labels = target.reshape(len(target), -1).astype(np.float64)
        rows = canonical_rows(flux, labels, check_weight(sample_weight, flux))
        rng = check_random_state(self.random_state)
        train, valid = _split(len(rows.source), self.validation_fraction, rng)
        if warm:
            scale = self._kept_label_scale(labels)
        else:
            scale = LabelScale.of(labels[rows.source[train]], rows.weight[train])
        standardised = scale.standardise(labels)
        seed, draw_seed = rng.randint(np.iinfo(np.int32).max, size=2).tolist()
        preparation = self._preparation(augment, flux[rows.source[train]], seed, warm)
        samples = _samples(flux, rows, standardised[rows.source], preparation, seed)
        weights = self._train(samples, train, valid, weighter, seed, warm)
        self.preprocess_ = preparation.transformer
        self.label_mean_, self.label_scale_ = scale
        self._y_ndim, self._draw_seed = target.ndim, draw_seed
        self.sample_weight_ = np.where(rows.inverse >= 0, weights[rows.inverse], 0.0)
        self.history_ = [_epoch_record(epoch) for epoch in self.net_.history if "stage" in epoch]
        self.n_iter_ = len(self.history_)
        return self

    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Estimate labels, and the standard deviation that Monte Carlo dropout gives them.

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
        flux = self._check_flux(X)
        moments = map_features(self.net_, flux, partial(dropout_moments, self.net_.module_.output))
        mean, variance = np.split(moments, 2, axis=1)
        y_pred = self._shape_like_y(mean * self.label_scale_ + self.label_mean_)
        if not return_std:
            return y_pred
        return y_pred, self._shape_like_y(np.sqrt(variance) * self.label_scale_)

    def predict_dist(
        self, X: ArrayLike, n_draws: int | None = None, random_state: Any = None
    ) -> PredictiveDistribution:
        """Draw predictive distributions by Monte Carlo dropout (eqs. 20, 21).

        A draw is one thinned network, the same for every spectrum. Nothing before the dropout is
        random, so the costly part of the network is computed once.

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
        draws = map_features(self.net_, flux, heads).reshape(len(flux), n_draws, -1)
        draws = draws * self.label_scale_ + self.label_mean_
        return PredictiveDistribution(draws[..., 0] if self._y_ndim == 1 else draws)

    def _check_params(self) -> tuple[AdaptiveWeighter | None, Augment | None]:
        for name, (kind, limits) in PARAMETER_LIMITS.items():
            value = getattr(self, name)
            if value != value:
                raise ValueError(f"{name} is NaN: expected a number.")
            check_scalar(value, name, kind, **limits)
        if self.preprocess is not None and not hasattr(self.preprocess, "transform"):
            raise ValueError(f"preprocess={self.preprocess!r}: expected a transformer or None.")
        return self._check_weighter(), check_augment(self.augment)

    def _check_weighter(self) -> AdaptiveWeighter | None:
        if self.weighter is None:
            return None
        weighter = AdaptiveWeighter() if self.weighter == "adaptive" else self.weighter
        if not isinstance(weighter, AdaptiveWeighter):
            raise ValueError(
                f"weighter={self.weighter!r}: expected 'adaptive', an AdaptiveWeighter or None."
            )
        if weighter.regressor is not None:
            raise ValueError(
                "The weighter has a regressor, but EstNetRegressor is its own first stage. Leave "
                "regressor=None, or pass the weighter's weights to fit as sample_weight."
            )
        weighter.check_params()
        return weighter

    def _kept_label_scale(self, labels: FloatArray) -> LabelScale:
        if labels.shape[1] != len(self.label_mean_):
            raise ValueError(
                f"y has {labels.shape[1]} labels per sample, but the network that warm_start goes "
                f"on from has {len(self.label_mean_)}. Fit a clone instead."
            )
        return LabelScale(self.label_mean_, self.label_scale_)

    def _train(
        self,
        samples: WeightedRows,
        train: NDArray[np.intp],
        valid: NDArray[np.intp],
        weighter: AdaptiveWeighter | None,
        seed: int,
        warm: bool,
    ) -> FloatArray:
        """Train the net and return the adaptive weights of the samples."""
        device = resolve_device(self.device)
        bar = progress_bar(self.max_epochs * (1 if weighter is None else 2), self.verbose)
        settings = StageSettings(self.max_epochs, self.n_iter_no_change, self.tol, bar)
        with seeded(seed, device), bar:
            # A copy: what a warm start goes on from must survive a training that fails.
            net = self._rewarmed_net() if warm else self._build_net(samples, device)
            weigh = weighter and partial(self._weigh, net, samples, train, weighter)
            weights = train_two_stages(net, samples, train, valid, weigh, settings)
        self.net_ = net
        return weights

    def _rewarmed_net(self) -> Any:
        lr = (self.net_params or {}).get("lr", self.lr)
        return deepcopy(self.net_).set_params(lr=lr)

    def _build_net(self, samples: WeightedRows, device: str) -> Any:
        shape = {"n_pixels": samples.X.shape[1], "n_outputs": samples.y.shape[1]}
        size = {"depth": self.depth, "width": self.width, "dropout": self.dropout}
        return build_net(
            EstNet,
            module_params={**shape, **size},
            huber_delta=self.huber_delta,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            device=device,
            net_params=self.net_params,
        )

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
            flux = validate_data(
                self, X, dtype=np.float32, ensure_all_finite=self._finite(), reset=False
            )
        return Preparation(None, self.preprocess_)(flux)

    def _finite(self) -> bool | str:
        """Tell `validate_data` whether NaN may pass."""
        return True if self.preprocess is None else "allow-nan"

    def _preparation(
        self, augment: Augment | None, flux: NDArray[np.float32], seed: int, warm: bool
    ) -> Preparation:
        """Fit the preprocessing to training spectra; a warm start keeps that of its network."""
        if warm:
            return Preparation(augment, self.preprocess_)
        return Preparation(augment, None).fit(self.preprocess, flux, seed)

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


def _epoch_record(epoch: Mapping[str, Any]) -> dict[str, Any]:
    record = {name: epoch.get(name) for name in ("stage", "train_loss", "valid_loss", "lr")}
    return {**record, "seconds": epoch["dur"]}
