"""OutOfDomainDetector: spectra unlike those that a regressor is for."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing, check_array, check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from skestnet._unwrap import members

FloatArray = NDArray[np.float64]

N_FOLDS = 5
MIN_SAMPLES = 10
# More cost time and change little.
MAX_SAMPLES = 20_000
# Samples for each component of the mixture.
MIN_PER_COMPONENT = 100
MIN_PER_DIMENSION = 10
# Added to the variances of whitened features, so that no component shrinks to a point.
REGULARISATION = 1e-2
# Starts of the mixture: a single one gave an AUROC that depended on the seed.
N_STARTS = 5


class OutOfDomainDetector(OutlierMixin, BaseEstimator):
    """Flag spectra unlike those that a regressor is for.

    A regressor gives labels to whatever it is shown: to a DB star as if it were a DA, to a quasar,
    to a fibre without a star. This detector looks at what the trained network makes of a spectrum
    (:meth:`EstNetRegressor.features`) and asks how usual that is among spectra known to be good.

    Parameters
    ----------
    regressor : estimator, default=None
        A **fitted** :class:`~skestnet.EstNetRegressor` or :class:`~skestnet.AdaptiveMLPRegressor`;
        or a pipeline, search, :class:`~sklearn.compose.TransformedTargetRegressor`,
        :class:`~sklearn.frozen.FrozenEstimator` or :class:`~skestnet.AdaptiveWeightRegressor`
        around one; or a :class:`~skestnet.CalibratedRegressor` or
        :class:`~sklearn.ensemble.BaggingRegressor` of them: an ensemble, whose networks all look at
        the spectra, finds more than one network does. It is used as it is and never fitted: put it
        into a FrozenEstimator where the detector is cloned, as in a search, since clones forget
        what they have learnt. Once the regressor is fitted again, the detector has to be fitted
        again. With None `X` holds features already.
    false_alarm_rate : float, default=0.04
        Share of good spectra that are flagged, in (0, 0.5]. This sets the threshold `offset_`; the
        lower it is, the more of the others are missed. (It is not the `contamination` of
        scikit-learn's detectors, the share of outliers among the samples of `fit`: they are all
        taken for good.)
    n_components : int, default=2
        Number of normal distributions that make up the density; fewer are taken where there are
        less than 100 samples for each.
    explained_variance : float, default=0.995
        Share of the variance of the scaled features that the principal components keep, in (0, 1).
    random_state : int, RandomState instance or None, default=None
        Seed of the mixture, the folds and the subset of many samples.

    Attributes
    ----------
    densities_ : list of Pipeline
        The fitted scaler, principal components and :class:`~sklearn.mixture.GaussianMixture`, on
        features: one for each network.
    offset_ : float
        Threshold: spectra with a lower `score_samples` are flagged.
    n_features_in_ : int
        Number of features seen in `fit`; with a regressor its own, if it has it.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where `X` has such; with a regressor its own.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers among given features, with the same interface.

    Notes
    -----
    The features are standardised, reduced to whitened principal components, and their density is
    estimated by a mixture of normal distributions. Each of five folds of the samples is scored by
    the density of the others, and the threshold is a quantile of these scores, so that it is not
    set on what the density was fitted to. The final density is that of all samples. Where there
    are several networks, the score is the mean of theirs. A random subset of 20,000 does for all
    samples where there are more.

    **What it finds.** Spectra that look different to the network: other lines, other shapes of
    lines, artefacts, noise alone.

    **What it cannot find.** Differences that the noise drowns: at a signal-to-noise ratio of a few,
    a DB star with shallow lines looks as a DA star with shallow lines does. Nor what the
    preprocessing takes away before the network sees it, such as a wrong flux level after scaling.
    Nor wrong labels: it knows none. A spectrum that is not flagged need not be of the right kind,
    and one in 25 that are (with the default) is flagged nevertheless.

    An EstNet of 16 pixels or fewer has a single position left in its last maps, and no features.

    References
    ----------
    Lee, Lee, Lee and Shin (2018), "A simple unified framework for detecting out-of-distribution
    samples and adversarial attacks", NeurIPS 31 (normal distributions of a network's features;
    theirs are one for each class).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skestnet import EstNetRegressor, OutOfDomainDetector
    >>> from skestnet.datasets import make_white_dwarfs
    >>> from skestnet.spectra import FluxScaler
    >>> X, y = make_white_dwarfs(1000, n_pixels=100, return_X_y=True, random_state=0)
    >>> network = EstNetRegressor(width=4, max_epochs=3, weighter=None, random_state=0)
    >>> model = make_pipeline(FluxScaler("median"), StandardScaler(), network)
    >>> model = model.fit(X[:300], y[:300])
    >>> detector = OutOfDomainDetector(model, random_state=0).fit(X[300:700])
    >>> noise = 1 + np.random.default_rng(0).standard_normal((100, 100))  # no star in the fibre
    >>> bool((detector.predict(noise) == -1).mean() > 0.9)
    True
    >>> bool((detector.predict(X[700:]) == -1).mean() < 0.1)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "regressor": [HasMethods("fit"), None],
        "false_alarm_rate": [Interval(Real, 0, 0.5, closed="right")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "explained_variance": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        regressor: Any = None,
        *,
        false_alarm_rate: float = 0.04,
        n_components: int = 2,
        explained_variance: float = 0.995,
        random_state: Any = None,
    ) -> None:
        self.regressor = regressor
        self.false_alarm_rate = false_alarm_rate
        self.n_components = n_components
        self.explained_variance = explained_variance
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: ARG002
        """Learn what good spectra look like to the network, and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least 10 good spectra, as the regressor takes them, of the quality of those to come:
            rather others than it was trained on, if there are. A network may have learnt its
            training spectra by heart, and new ones would then look strange to it. Labels are not
            needed.
        y : None, default=None
            Ignored.

        Returns
        -------
        self : OutOfDomainDetector
            The fitted detector.

        Raises
        ------
        NotFittedError
            If the regressor is not fitted.
        TypeError
            If there is no network with a method `features` in the regressor.
        ValueError
            If a parameter is out of its range, there are too few samples, all have the same
            features, or the regressor refuses `X`.
        """
        self._validate_params()
        rng = check_random_state(self.random_state)
        n_samples = _num_samples(X)
        if n_samples > MAX_SAMPLES:
            X = _safe_indexing(X, rng.choice(n_samples, MAX_SAMPLES, replace=False))
        views = self._features_of(X, reset=True)
        if not all(np.ptp(features, axis=0).any() for features in views):
            raise ValueError(
                "All samples have the same features, which tell nothing apart: expected spectra "
                "that differ and, for an EstNet, more than 16 pixels."
            )
        densities = [self._density(features, rng) for features in views]
        folds = list(KFold(N_FOLDS, shuffle=True, random_state=rng).split(views[0]))
        pairs = zip(densities, views, strict=True)
        scores = np.mean([_out_of_fold(*pair, folds) for pair in pairs], axis=0)
        self.densities_ = [d.fit(features) for d, features in zip(densities, views, strict=True)]
        self.offset_ = float(np.quantile(scores, self.false_alarm_rate))
        return self

    def score_samples(self, X: ArrayLike) -> FloatArray:
        """Compute how usual spectra are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, as the regressor takes them.

        Returns
        -------
        ndarray of shape (n_samples,)
            Logarithms of the density of the features, the mean of the networks': the larger, the
            more like the spectra of `fit`.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the regressor refuses `X`.
        """
        check_is_fitted(self)
        pairs = zip(self.densities_, self._features_of(X, reset=False), strict=True)
        return np.mean([density.score_samples(features) for density, features in pairs], axis=0)

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Compute how far spectra are on the good side of the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, as the regressor takes them.

        Returns
        -------
        ndarray of shape (n_samples,)
            `score_samples` minus `offset_`; negative for spectra that are flagged.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the regressor refuses `X`.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Flag spectra.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra, as the regressor takes them.

        Returns
        -------
        ndarray of shape (n_samples,)
            1 for spectra like those of `fit`, -1 for those that are flagged.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If the regressor refuses `X`.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _features_of(self, X: Any, *, reset: bool) -> list[FloatArray]:
        """Return each network's features of samples; with `reset` note what `X` is like."""
        check = {"dtype": np.float64, "ensure_min_samples": MIN_SAMPLES if reset else 1}
        if self.regressor is None:
            return [validate_data(self, X, reset=reset, **check)]
        try:
            views = [_features(*pair) for pair in members(self.regressor, X)]
        except NotFittedError as error:
            raise NotFittedError(
                f"The regressor, {type(self.regressor).__name__}, is not fitted, and "
                "OutOfDomainDetector does not fit it: pass a fitted one. A clone, as searches make "
                "it, forgets what it has learnt: pass FrozenEstimator(regressor)."
            ) from error
        for name in ("n_features_in_", "feature_names_in_"):
            if reset and hasattr(self.regressor, name):
                setattr(self, name, getattr(self.regressor, name))
        return [check_array(features, estimator=self, **check) for features in views]

    def _density(self, features: FloatArray, rng: np.random.RandomState) -> Pipeline:
        """Build what estimates the density: the same number of components in each fold."""
        n_samples = len(features)
        mixture = GaussianMixture(
            max(1, min(self.n_components, n_samples // MIN_PER_COMPONENT)),
            reg_covar=REGULARISATION,
            n_init=N_STARTS,
            random_state=rng.randint(np.iinfo(np.int32).max),
        )
        pca = PCA(self.explained_variance).fit(StandardScaler().fit_transform(features))
        # Densities in more dimensions than a tenth of the samples say nothing of other samples.
        n_dimensions = max(1, min(pca.n_components_, n_samples // MIN_PER_DIMENSION))
        return make_pipeline(StandardScaler(), PCA(n_dimensions, whiten=True), mixture)

    def __sklearn_tags__(self) -> Any:
        """Let NaN pass where the regressor takes them."""
        tags = super().__sklearn_tags__()
        if self.regressor is not None:
            tags.input_tags.allow_nan = get_tags(self.regressor).input_tags.allow_nan
        return tags


def _out_of_fold(density: Pipeline, features: FloatArray, folds: Any) -> FloatArray:
    scores = np.empty(len(features))
    for train, test in folds:
        scores[test] = clone(density).fit(features[train]).score_samples(features[test])
    return scores


def _features(network: Any, X: Any) -> FloatArray:
    if not hasattr(network, "features"):
        raise TypeError(
            f"{type(network).__name__} is no network with a method features: expected an "
            "EstNetRegressor or AdaptiveMLPRegressor, by itself or inside what the docstring of "
            "OutOfDomainDetector lists. For other features, compute them yourself and pass them to "
            "OutOfDomainDetector(regressor=None)."
        )
    return network.features(X)
