"""CalibratedRegressor: conformally calibrated predictive distributions around any regressor."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold, ShuffleSplit
from sklearn.utils import (
    _safe_indexing,
    assert_all_finite,
    check_array,
    check_random_state,
    gen_batches,
    get_tags,
    indexable,
)
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import (
    _check_method_params,
    _num_samples,
    check_is_fitted,
    has_fit_parameter,
)
from tqdm.auto import tqdm

from skestnet._adapters import NoDistributionError
from skestnet._distribution import PredictiveDistribution
from skestnet._predict_dist import predict_dist

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Fold = tuple[IntArray, IntArray]

# Of n scores the widest central interval, from the 1st to the last, is one of (n - 1) / (n + 1).
# Fewer than 6 hold no interval of 68%, fewer than 39 none of 95%.
FEWEST_SCORES = 6
FEW_SCORES = 39
# In each of several groups, which could be fewer; 90% needs 19.
MIN_SCORES = 20
# Largest number of draws that are made at once, beside the result.
MAX_BLOCK = 2**22


class CalibratedRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """Any regressor, with predictive distributions that hold as often as they say.

    Samples that the regressor was not fitted to show how far it is off, in units of the width that
    it states itself. These scores, put around a new prediction, are its predictive distribution
    (conformal prediction, by the library crepes). Preprocessing belongs inside:
    ``CalibratedRegressor(make_pipeline(scaler, regressor))``. Needs
    ``pip install "skestnet[uncertainty]"``.

    Parameters
    ----------
    regressor : estimator
        Regressor, often a whole pipeline. With ``normalize=True`` :func:`skestnet.predict_dist`
        must be able to reach its distributions. A fitted one inside a
        :class:`~sklearn.frozen.FrozenEstimator` is not fitted again: all samples that `fit` gets
        calibrate it, and `method` does not matter. They must be others than it was fitted to.
    method : {"cv+", "split"}, default="cv+"
        "split" fits to some of the samples and calibrates with the rest. "cv+" fits in folds and
        calibrates with all of the samples, each by the fit that did not see it; a prediction
        mixes those of all fits.
    cv : int or splitter, default=5
        Folds of "cv+": a number of shuffled ones, or a splitter that leaves each sample out once.
    calibration_fraction : float, default=0.2
        Share of the samples that calibrate with "split", in (0, 1).
    normalize : bool, default=True
        True scales the scores by the standard deviations of the regressor's distributions, so that
        a spectrum for which it states a larger error gets a wider interval. False takes any
        regressor, whose `predict` it uses; all intervals (of a group) are then equally wide.
    n_groups : int, default=1
        Number of groups of samples, cut at quantiles of the S/N (or of what `group_by` returns),
        that are calibrated separately, so that the intervals hold in each of them.
    group_by : callable, default=None
        Function of `X` to values (n_samples,), by which the groups are cut where `fit` gets no
        `snr`. It is called in `fit` and for each prediction.
    max_draws : int, default=5000
        Largest number of scores to keep for each group, at least 20. Of more, a random subset is
        taken, for memory: a prediction has two draws more than there are scores. See the Notes
        for how many an interval needs.
    n_jobs : int, default=None
        Number of folds to fit at once, as in joblib.
    random_state : int, RandomState instance or None, default=None
        Seed of folds, splits and subsets of scores. The regressor has its own.
    verbose : int, default=0
        1 shows a progress bar over the folds.

    Attributes
    ----------
    regressors_ : list of estimators
        The fitted regressors, one for each fold; a single one for "split" or a frozen regressor.
    calibration_indices_ : ndarray of shape (n_calibration,)
        Which of the samples passed to `fit` calibrate, increasing.
    scores_ : ndarray of shape (n_calibration,) or (n_calibration, n_outputs)
        Their errors (label minus prediction), in units of the predicted standard deviations.
    folds_ : ndarray of shape (n_calibration,)
        Which of `regressors_` did not see them and gave their scores.
    group_edges_ : ndarray of shape (n_groups - 1,)
        Where the groups are cut. Values beyond those seen in `fit` belong to the outermost groups.
    n_features_in_ : int
        Number of features seen in `fit`, if the regressor has it.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`, where `X` has such and the regressor keeps them.

    See Also
    --------
    predict_dist : Distributions of any regressor, as it states them.

    Notes
    -----
    **What is promised.** If new samples come from where the calibration samples come from (if all
    are exchangeable), ``interval(c)`` of a label holds the truth with probability c, whatever the
    regressor and the distribution of the data. With n calibration samples (in a group) this is
    exact for "split" and frozen regressors, up to the widest interval of c = (n - 1) / (n + 1) and
    to within 1 / (n + 1), by which probabilities between two scores are interpolated. Intervals of
    more than that are no wider, and hold less than they say:

    ================================  ======  ======  ======  ======
    Interval                          68%     90%     95%     99.7%
    Scores that it needs, per group   6       19      39      666
    ================================  ======  ======  ======  ======

    `fit` warns of fewer than 39. It refuses fewer than 6, and with several groups fewer than 20 in
    one of them: lower `n_groups` then.

    For "cv+" the theory guarantees 2c - 1 only; in practice it is near c, and rather above it. The
    scores of several labels of a sample stay together, so that ``region(c)`` holds their joint
    truth with a probability near c too, from about a hundred calibration samples.

    **What is not.** The probability is an average over samples (of a group), and over calibration
    sets; it does not hold for a given spectrum, nor for, say, hot stars. For another survey, S/N,
    or selection of stars, calibrate anew with labels of that kind. The labels of the calibration
    samples are taken for the truth: where some are wrong, intervals get wide enough for the wrong
    ones. The mean and the standard deviation of the distributions are not calibrated. The mean is
    that of the regressor's predictions, shifted by about its mean error.

    Repeated visits to one star must not be both fitted and calibrated with: pass `groups`.

    References
    ----------
    Vovk, Shen, Manokhin and Xie (2017), PMLR 60, 82, and Vovk et al. (2020), Neurocomputing 397,
    292 (conformal predictive distributions). Vovk et al. (2018), PMLR 91, 37, and Barber, Candes,
    Ramdas and Tibshirani (2021), Ann. Stat. 49, 486 (with folds, CV+). Bostrom, Johansson and
    Lofstrom (2021), PMLR 152, 24 (groups). Bostrom (2022), PMLR 179, 24 (crepes).

    Examples
    --------
    Noise with outliers, for which a normal distribution is too wide:

    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from skestnet import CalibratedRegressor, predict_dist
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (2000, 2))
    >>> y = X[:, 0] + 0.1 * rng.standard_t(2.5, 2000)
    >>> def coverage(model):
    ...     low, high = predict_dist(model, X[1000:]).interval(0.68)
    ...     return float(np.mean((low <= y[1000:]) & (y[1000:] <= high)))
    >>> coverage(BayesianRidge().fit(X[:1000], y[:1000]))
    0.886
    >>> model = CalibratedRegressor(BayesianRidge(), random_state=0).fit(X[:1000], y[:1000])
    >>> coverage(model)
    0.691
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "regressor": [HasMethods(["fit", "predict"])],
        "method": [StrOptions({"cv+", "split"})],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split", "get_n_splits"])],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "normalize": ["boolean"],
        "n_groups": [Interval(Integral, 1, None, closed="left")],
        "group_by": [callable, None],
        "max_draws": [Interval(Integral, MIN_SCORES, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # Where metadata are routed, groups are the splitter's and no request of this class.
    __metadata_request__fit: ClassVar[dict[str, str]] = {"groups": UNUSED}

    def __init__(
        self,
        regressor: Any,
        *,
        method: str = "cv+",
        cv: Any = 5,
        calibration_fraction: float = 0.2,
        normalize: bool = True,
        n_groups: int = 1,
        group_by: Any = None,
        max_draws: int = 5000,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.regressor = regressor
        self.method = method
        self.cv = cv
        self.calibration_fraction = calibration_fraction
        self.normalize = normalize
        self.n_groups = n_groups
        self.group_by = group_by
        self.max_draws = max_draws
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        snr: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit the regressor and calibrate it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features, as the regressor takes them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels; as many as the regressor takes.
        snr : array-like of shape (n_samples,), default=None
            Signal-to-noise ratios, or whatever else the groups are to be cut by. It is handed on
            to the regressor too if its `fit` has a parameter `snr`.
        groups : array-like of shape (n_samples,), default=None
            Stars, of which there may be several spectra, to `cv`. A number of folds then cuts
            whole stars (:class:`~sklearn.model_selection.GroupKFold`), and so does "split". For a
            frozen regressor nothing is cut.
        **fit_params : object
            Passed on to the regressor's `fit`; what has a value for each sample, such as
            `sample_weight`, in parts. The calibration counts each sample once, whatever its weight.
            Under scikit-learn's metadata routing the regressor and `cv` get what they request.

        Returns
        -------
        self : CalibratedRegressor
            The fitted regressor.

        Raises
        ------
        ImportError
            If crepes is not installed.
        TypeError
            If the regressor gives no distributions but is to be normalised.
        ValueError
            If a parameter is out of its range, `y` is not finite, `cv` does not leave each sample
            out once, a predicted standard deviation is zero, the values to cut groups by are
            missing, useless or not finite, or there are fewer than 6 calibration samples, or fewer
            than 20 in one of several groups.

        Warns
        -----
        UserWarning
            If fewer than 39 scores (in each group) are kept, too few for intervals of 95%, or equal
            values make the groups so uneven that more than a tenth of one's scores is dropped.
        """
        self._validate_params()
        system_class = _import_crepes()
        if y is None:
            raise ValueError(
                "CalibratedRegressor requires y to be passed, but the target y is None."
            )
        X, y, groups = indexable(X, y, groups)
        labels = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        params, split_params = self._route(snr, groups, fit_params)
        source = self._source_of_groups(snr, params)
        values = self._values(X, snr, source)
        rng = check_random_state(self.random_state)
        folds = self._cut(X, y, split_params, rng)
        fits = self._fit_folds(X, y, folds, params)

        index, fold, centre, scale = _in_order(folds, fits)
        residual = _residual(labels[index], centre)
        edges = np.quantile(values[index], np.arange(1, self.n_groups) / self.n_groups)
        group = _group(values[index], edges)
        kept = self._keep(group, rng)
        self.regressors_, self._source = [each.regressor for each in fits], source
        self.calibration_indices_, self.folds_, self.group_edges_ = index[kept], fold[kept], edges
        self.scores_ = (residual / scale)[kept]
        self._calibrate(system_class, _columns(residual[kept]), _columns(scale[kept]), group[kept])
        return self

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in `fit`."""
        return self.regressors_[0].n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the features seen in `fit`."""
        return self.regressors_[0].feature_names_in_

    def predict(self, X: ArrayLike, snr: ArrayLike | None = None) -> FloatArray:
        """Estimate labels by the means of the calibrated distributions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        snr : array-like of shape (n_samples,), default=None
            Signal-to-noise ratios, if `fit` cut groups by them.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Estimated labels.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If `snr` is missing, of no use or not finite, or a predicted standard deviation is zero.
        """
        blocks = self._blocks_of_draws(X, snr)
        return self._shaped(np.concatenate([draws.mean(axis=1) for _, draws in blocks]))

    def predict_dist(self, X: ArrayLike, snr: ArrayLike | None = None) -> PredictiveDistribution:
        """Predict calibrated distributions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Spectra or other features.
        snr : array-like of shape (n_samples,), default=None
            Signal-to-noise ratios, if `fit` cut groups by them.

        Returns
        -------
        PredictiveDistribution
            Equally likely draws, one for each score (of the group) and two more: the outermost
            ones of each label once again.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        ValueError
            If `snr` is missing, of no use or not finite, or a predicted standard deviation is zero.
        """
        check_is_fitted(self)
        n_labels = len(self._systems)
        result = np.empty((_num_samples(X), self._n_scores + 2, n_labels))
        for block, draws in self._blocks_of_draws(X, snr):
            result[block] = draws
        return PredictiveDistribution(self._shaped(result), parts_known=False)

    def get_metadata_routing(self) -> MetadataRouter:
        """Tell scikit-learn who gets which metadata.

        Returns
        -------
        MetadataRouter
            The requests of this estimator, of the regressor and of the splitter.
        """
        fits = MethodMapping().add(caller="fit", callee="fit")
        splits = MethodMapping().add(caller="fit", callee="split")
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        router.add(regressor=self.regressor, method_mapping=fits)
        return router.add(splitter=self._splitter(grouped=True), method_mapping=splits)

    def __sklearn_tags__(self) -> Any:
        """Take over from the regressor what it says of labels and features."""
        tags = super().__sklearn_tags__()
        if not hasattr(self.regressor, "fit"):
            return tags
        inner = deepcopy(get_tags(self.regressor))
        tags.target_tags, tags.input_tags = inner.target_tags, inner.input_tags
        tags.target_tags.required = True
        # The columns of a precomputed kernel would have to be cut with the folds too.
        tags.input_tags.pairwise = False
        return tags

    def _route(
        self, snr: ArrayLike | None, groups: Any, fit_params: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tell what the regressor's fit gets and what the splitter gets."""
        given = {"snr": snr, "groups": groups, **fit_params}
        given = {name: value for name, value in given.items() if value is not None}
        if _routing_enabled():
            routed = process_routing(self, "fit", **given)
            return routed.regressor.fit, routed.splitter.split
        split_params = {"groups": given.pop("groups")} if "groups" in given else {}
        if not has_fit_parameter(self.regressor, "snr"):
            given.pop("snr", None)
        if given and isinstance(self.regressor, FrozenEstimator):
            raise ValueError(
                f"{sorted(given)} were passed to fit, but the regressor is frozen: it is not "
                "fitted, and the calibration knows no weights. Leave them out."
            )
        return given, split_params

    def _source_of_groups(self, snr: ArrayLike | None, params: dict[str, Any]) -> str | None:
        if self.n_groups == 1:
            if snr is not None and "snr" not in params:
                raise ValueError(
                    "snr was passed to fit, but nothing depends on it: n_groups=1, and the "
                    "regressor does not take it. Set n_groups, for example to 4, or leave snr out."
                )
            return None
        if snr is None and self.group_by is None:
            raise ValueError(
                f"n_groups={self.n_groups}, but there is nothing to cut groups by: pass "
                "fit(X, y, snr=...), or CalibratedRegressor(group_by=...), a function of X. "
                "What fit takes as groups are rows that belong together, such as the spectra of "
                "one star, and stay in one fold."
            )
        return "group_by" if snr is None else "snr"

    def _values(self, X: Any, snr: ArrayLike | None, source: str | None) -> FloatArray:
        """Return what the groups are cut by."""
        n_samples = _num_samples(X)
        if source is None:
            return np.zeros(n_samples)
        name, given = ("snr", snr) if source == "snr" else ("group_by(X)", self.group_by(X))
        values = np.asarray(given, dtype=np.float64)
        if values.shape != (n_samples,):
            raise ValueError(f"{name} has shape {values.shape}: expected ({n_samples},).")
        n_bad = n_samples - np.isfinite(values).sum()
        if n_bad:
            raise ValueError(
                f"{name} holds {n_bad} NaN or infinite values: they belong to no group. Leave "
                "these samples out, or give them a value."
            )
        return values

    def _splitter(self, grouped: bool, rng: Any = None) -> Any:
        if self.method == "split":
            one = GroupShuffleSplit if grouped else ShuffleSplit
            return one(1, test_size=self.calibration_fraction, random_state=rng)
        if isinstance(self.cv, Integral):
            several = GroupKFold if grouped else KFold
            return several(self.cv, shuffle=True, random_state=rng)
        return self.cv

    def _cut(self, X: Any, y: Any, split_params: dict[str, Any], rng: Any) -> list[Fold]:
        n_samples = _num_samples(X)
        if isinstance(self.regressor, FrozenEstimator):
            return [(np.arange(0), np.arange(n_samples))]
        splitter = self._splitter("groups" in split_params, rng)
        folds = list(splitter.split(X, y, **split_params))
        left_out = np.sort(np.concatenate([test for _, test in folds]))
        if self.method == "cv+" and not np.array_equal(left_out, np.arange(n_samples)):
            raise ValueError(
                f"cv={self.cv!r}: expected folds that leave each sample out exactly once, such as "
                "those of KFold or GroupKFold."
            )
        return folds

    def _fit_folds(
        self, X: Any, y: Any, folds: list[Fold], params: dict[str, Any]
    ) -> list[_FittedFold]:
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        fits = parallel(
            delayed(_fit_fold)(self.regressor, X, y, fold, params, self.normalize) for fold in folds
        )
        disable = not self.verbose
        return list(tqdm(fits, total=len(folds), unit="fold", desc="calibration", disable=disable))

    def _keep(self, group: IntArray, rng: Any) -> IntArray:
        """Choose as many samples of each group, since a PredictiveDistribution is rectangular."""
        counts = np.bincount(group, minlength=self.n_groups)
        _check_counts(counts)
        smallest, wanted = counts.min(), min(counts.max(), self.max_draws)
        n_kept = min(smallest, wanted)
        if n_kept < FEW_SCORES:
            each = " in each group" if self.n_groups > 1 else ""
            warnings.warn(
                f"There are {n_kept} calibration scores{each}: intervals of more than "
                f"{(n_kept - 1) / (n_kept + 1):.1%} cannot be calibrated and are no wider than "
                f"that. For 95% use {FEW_SCORES} or more{each}, for 99.7% 666 or more.",
                stacklevel=3,
            )
        if smallest < 0.9 * wanted:
            warnings.warn(
                f"Equal values make the groups uneven, of {counts.tolist()} calibration samples: "
                f"only {smallest} of each are used. Lower n_groups.",
                stacklevel=3,
            )
        members = [np.flatnonzero(group == g) for g in range(self.n_groups)]
        return np.sort(np.concatenate([rng.choice(m, n_kept, replace=False) for m in members]))

    def _calibrate(
        self, system_class: Any, residual: FloatArray, scale: FloatArray, group: IntArray
    ) -> None:
        """Fit a conformal predictive system for each label, with a bin for each group and fold."""
        bins = group * len(self.regressors_) + self.folds_
        labels = range(residual.shape[1])
        self._systems = [system_class().fit(residual[:, k], scale[:, k], bins) for k in labels]
        self._n_scores = len(group) // self.n_groups
        # A sample keeps its column among the draws of its group: all its labels are in that one.
        column = np.empty(len(group), dtype=np.intp)
        column[np.argsort(group, kind="stable")] = np.tile(np.arange(self._n_scores), self.n_groups)
        # crepes sorts the scores of a bin, label by label. This is where the sorted ones belong.
        scores = _columns(self.scores_)
        members = [np.flatnonzero(bins == b) for b in np.unique(bins)]
        self._bins = [_Bin(group[m[0]], column[m][scores[m].argsort(axis=0)]) for m in members]
        offset = scores - scores.mean(axis=0)
        self._falls = offset.T @ offset[:, 0] < 0

    def _blocks_of_draws(self, X: Any, snr: ArrayLike | None) -> Iterator[tuple[slice, FloatArray]]:
        """Predict some samples at a time, of shape (n_rows, n_scores + 2, n_outputs)."""
        check_is_fitted(self)
        if snr is None and self._source == "snr":
            raise ValueError(
                "snr is missing: fit cut the groups by it. Pass snr here too; or, for callers that "
                "cannot, cut by a function of X, CalibratedRegressor(group_by=...)."
            )
        if snr is not None and self._source != "snr":
            raise ValueError(
                f"snr was passed, but nothing depends on it: {self._source or 'n_groups=1'} made "
                "the groups in fit. Leave it out here, or fit with n_groups and snr."
            )
        (X,) = indexable(X)
        group = _group(self._values(X, snr, self._source), self.group_edges_)
        pairs = [_centre_and_scale(each, X, self.normalize) for each in self.regressors_]
        centre, scale = (
            np.stack([_columns(a) for a in each], axis=1) for each in zip(*pairs, strict=True)
        )
        for block in gen_batches(len(group), max(1, MAX_BLOCK // self._n_scores)):
            yield block, self._draws(centre[block], scale[block], group[block])

    def _draws(self, centre: FloatArray, scale: FloatArray, group: IntArray) -> FloatArray:
        """Put the scores around predictions of shape (n_rows, n_folds, n_outputs)."""
        n_rows, n_folds, n_labels = centre.shape
        draws = np.empty((n_rows, self._n_scores + 2, n_labels))
        bins = (group[:, np.newaxis] * n_folds + np.arange(n_folds)).ravel()
        for k, system in enumerate(self._systems):
            parts = system.predict_cpds(
                centre[..., k].ravel(), scale[..., k].ravel(), bins, cpds_by_bins=True
            )
            for (of_group, columns), part in zip(self._bins, parts, strict=True):
                rows = np.flatnonzero(group == of_group)
                if len(rows):
                    draws[rows[:, np.newaxis], columns[:, k], k] = part
        # With the outermost draws there twice, NumPy's quantile at j / (n + 1) is the j-th smallest
        # of the n draws. Below that one the truth is with a probability of j / (n + 1), since it
        # is as likely to be in each of the n + 1 gaps. Labels that rise together are paired low
        # with low, others low with high, so that the two draws fit in with the rest.
        low, high = draws[:, :-2].min(axis=1), draws[:, :-2].max(axis=1)
        draws[:, -2] = np.where(self._falls, high, low)
        draws[:, -1] = np.where(self._falls, low, high)
        return draws

    def _shaped(self, values: FloatArray) -> FloatArray:
        """Drop the axis of labels where the regressor has none."""
        return values[..., 0] if self.scores_.ndim == 1 else values


class _FittedFold(NamedTuple):
    """A regressor, and what it predicts for the samples that it was not fitted to."""

    regressor: Any
    centre: FloatArray
    scale: FloatArray


class _Bin(NamedTuple):
    """Scores of a group and fold: their columns among the draws (n_scores, n_outputs), sorted."""

    group: int
    columns: IntArray


def _import_crepes() -> Any:
    try:
        # crepes changes the filters of warnings when it is imported.
        with warnings.catch_warnings():
            from crepes import ConformalPredictiveSystem
    except ImportError as error:
        raise ImportError(
            'CalibratedRegressor needs crepes: pip install "skestnet[uncertainty]".'
        ) from error
    return ConformalPredictiveSystem


def _fit_fold(
    regressor: Any, X: Any, y: Any, fold: Fold, params: dict[str, Any], normalize: bool
) -> _FittedFold:
    train, test = fold
    if isinstance(regressor, FrozenEstimator):
        fitted = regressor.estimator
    else:
        of_fold = _check_method_params(X, params, indices=train)
        fitted = clone(regressor).fit(_safe_indexing(X, train), _safe_indexing(y, train), **of_fold)
    return _FittedFold(fitted, *_centre_and_scale(fitted, _safe_indexing(X, test), normalize))


def _centre_and_scale(fitted: Any, X: Any, normalize: bool) -> tuple[FloatArray, FloatArray]:
    """Predict, and say by which width to scale the scores."""
    if not normalize:
        centre = np.asarray(fitted.predict(X), dtype=np.float64)
        assert_all_finite(centre, input_name="predictions of the regressor")
        return centre, np.ones_like(centre)
    try:
        dist = predict_dist(fitted, X)
    except NoDistributionError as error:
        raise NoDistributionError(
            f"{error} Or pass CalibratedRegressor(normalize=False), which takes any regressor."
        ) from error
    scale = dist.std()
    n_zero = (_columns(scale) == 0).any(axis=1).sum()
    if n_zero:
        raise ValueError(
            f"The standard deviation of {type(fitted).__name__}'s distribution is 0 for {n_zero} "
            f"of {len(scale)} samples, and errors cannot be measured in units of it. Pass "
            "normalize=False, or a regressor whose distributions have a width."
        )
    return dist.mean(), scale


def _in_order(
    folds: list[Fold], fits: list[_FittedFold]
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Join what the folds left out: its index, fold, centre and scale, in the order of index."""
    index = np.concatenate([test for _, test in folds])
    fold = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
    centre = np.concatenate([each.centre for each in fits])
    scale = np.concatenate([each.scale for each in fits])
    order = np.argsort(index)
    return index[order], fold[order], centre[order], scale[order]


def _check_counts(counts: IntArray) -> None:
    """Insist on enough calibration samples in each group, of which there may be a single one."""
    if len(counts) == 1 and counts[0] < FEWEST_SCORES:
        raise ValueError(
            f"There are {counts[0]} calibration samples: expected at least {FEWEST_SCORES}, which "
            f"an interval of 68% needs; one of 95% needs {FEW_SCORES}. Calibrate with more "
            "samples: method='cv+' uses all, a larger calibration_fraction more of them."
        )
    if len(counts) > 1 and counts.min() < MIN_SCORES:
        advice = "Lower n_groups, or calibrate with more samples."
        if counts.sum() >= MIN_SCORES * len(counts):  # values that all differ would do
            advice = (
                "There are enough in all, but many of the values that groups are cut by are equal, "
                "and no cut parts these: lower n_groups, or cut by values that differ."
            )
        raise ValueError(
            f"The groups have {counts.tolist()} calibration samples: expected at least "
            f"{MIN_SCORES} in each, since an interval of 90% needs 19. {advice}"
        )


def _residual(labels: FloatArray, centre: FloatArray) -> FloatArray:
    if labels.size != centre.size:
        raise ValueError(
            f"The labels have shape {labels.shape}, but the regressor's predictions have shape "
            f"{centre.shape}: expected as many labels."
        )
    return labels.reshape(centre.shape) - centre


def _group(values: FloatArray, edges: FloatArray) -> IntArray:
    return np.searchsorted(edges, values, side="right")


def _columns(values: FloatArray) -> FloatArray:
    return values.reshape(len(values), -1)
