"""The transformers inside scikit-learn; its own checks are in tests/test_compliance.py."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skestnet.spectra import ContinuumNormalizer, FluxScaler, Resampler

GRID = np.linspace(4000, 5000, 50)
WITH_GRID = [FluxScaler(), ContinuumNormalizer(GRID), Resampler(GRID, GRID[5:-5:2])]


@pytest.mark.parametrize("transformer", WITH_GRID, ids=lambda t: type(t).__name__)
def test_clone_pickle_and_pandas(transformer):
    pandas = pytest.importorskip("pandas")
    flux = np.random.default_rng(0).normal(3, 1, (6, 50)).astype("f4")
    fitted = clone(transformer).fit(flux)
    expected = fitted.transform(flux)
    assert expected.dtype == np.float32
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(flux), expected)
    frame = clone(fitted).set_output(transform="pandas").fit_transform(flux)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == fitted.get_feature_names_out().tolist()
    assert_array_equal(frame.to_numpy(), expected)


def test_pipeline_carries_the_names():
    flux = np.random.default_rng(0).normal(3, 1, (6, 50))
    steps = make_pipeline(Resampler(GRID, GRID[::2]), FluxScaler()).fit(flux)
    assert steps.get_feature_names_out()[1] == f"flux_{GRID[2]:.2f}"
