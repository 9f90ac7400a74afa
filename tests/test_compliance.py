"""scikit-learn's own checks of every public estimator and transformer."""

import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skestnet import (
    AdaptiveMLPRegressor,
    AdaptiveWeighter,
    AdaptiveWeightRegressor,
    EstNetRegressor,
)
from skestnet.spectra import (
    ContinuumNormalizer,
    CosmicRayClipper,
    FluxScaler,
    MaskedPixelImputer,
    Resampler,
)
from skestnet.templates import TemplateFitRegressor

# Small, but trained enough for the check that asks for R2 > 0.5.
SMALL = {
    "depth": 12,
    "width": 4,
    "dropout": 0.1,
    "max_epochs": 6,
    "batch_size": 25,
    "lr": 0.03,
    "n_draws": 5,
    "device": "cpu",
}
SMALL_MLP = {
    "hidden_layer_sizes": (32, 32, 16),
    "dropout": 0.1,
    "max_epochs": 8,
    "batch_size": 25,
    "lr": 0.02,
    "n_draws": 5,
    "device": "cpu",
}
NEEDS_LABELS = "transform needs labels, transform(X, y): the checks call transform(X)"
EXPECTED = dict.fromkeys(
    [
        "check_dict_unchanged",
        "check_dtype_object",
        "check_estimators_dtypes",
        "check_estimators_nan_inf",
        "check_estimators_pickle",
        "check_f_contiguous_array_estimator",
        "check_fit2d_predict1d",
        "check_fit_idempotent",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_n_features_in_after_fitting",
        "check_sample_weight_equivalence_on_dense_data",
        "check_transformer_data_not_an_array",
        "check_transformer_general",
        "check_transformer_preserve_dtypes",
        "check_transformers_unfitted",
    ],
    NEEDS_LABELS,
)


TRANSFORMERS = [
    FluxScaler(),
    FluxScaler("median"),
    FluxScaler("standard"),
    ContinuumNormalizer(),
    Resampler(),
    Resampler(method="flux-conserving"),
    MaskedPixelImputer(),
    CosmicRayClipper(),
    CosmicRayClipper(replace="median"),
]


def checks_of(*estimators, expected=None):
    """List the checks: some versions of scikit-learn give a generator, which pytest 9 refuses."""
    mark = parametrize_with_checks(
        list(estimators), expected_failed_checks=lambda _: expected or {}
    )
    names, checks = mark.args
    return pytest.mark.parametrize(names, list(checks), **mark.kwargs)


@checks_of(EstNetRegressor(**SMALL))
def test_regressor(estimator, check):
    check(estimator)


@checks_of(EstNetRegressor(**SMALL, weighter=None, validation_fraction=0))
def test_regressor_of_one_stage(estimator, check):
    check(estimator)


@checks_of(EstNetRegressor(**SMALL, noise="heteroscedastic"))
def test_regressor_of_heteroscedastic_noise(estimator, check):
    check(estimator)


@checks_of(AdaptiveWeighter(Ridge()), expected=EXPECTED)
def test_weighter(estimator, check):
    # pyproject.toml makes an expected failure that passes an error (xfail_strict).
    check(estimator)


@checks_of(
    AdaptiveWeightRegressor(Ridge()),
    AdaptiveWeightRegressor(Ridge(), AdaptiveWeighter.paper("logg")),
)
def test_weighted_regressor(estimator, check):
    check(estimator)


@checks_of(AdaptiveMLPRegressor(**SMALL_MLP))
def test_mlp(estimator, check):
    check(estimator)


@checks_of(*TRANSFORMERS)
def test_transformers(estimator, check):
    check(estimator)


# The checks' random labels are rightly fitted at their limits.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@checks_of(TemplateFitRegressor())
def test_template_fit(estimator, check):
    check(estimator)


PREPARE = make_pipeline(MaskedPixelImputer(), FluxScaler("standard"))


@checks_of(EstNetRegressor(**SMALL, preprocess=PREPARE, augment=0.05))
def test_regressor_with_fresh_noise(estimator, check):
    check(estimator)
