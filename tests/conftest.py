"""Fixtures shared by the tests: real data where present, an easy signal, small networks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skestnet import EstNetRegressor

N_PIXELS = 24

# Tests that run side by side (pytest -n 2) share the cores: several threads each would only wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for scripts that tests start


@pytest.fixture(scope="session")
def data_dir():
    """Folder of test data."""
    folder = os.environ.get("SKESTNET_DATA")
    if not folder:
        pytest.skip("set SKESTNET_DATA to the folder of test data (model grids, survey FITS)")
    return Path(folder)


def _line_spectra(n_samples, seed=0):
    rng = np.random.default_rng(seed)
    depth, centre = rng.uniform(0, 1, n_samples), rng.uniform(9, 15, n_samples)
    pixels = np.arange(N_PIXELS)
    line = depth[:, None] * np.exp(-0.5 * ((pixels - centre[:, None]) / 2) ** 2)
    flux = 1 - 5 * line + 0.05 * rng.standard_normal((n_samples, N_PIXELS))
    return flux.astype(np.float32), np.column_stack([8000 + 4000 * depth, 7 + centre / 10])


def _small_regressor(**params):
    small = {"depth": 12, "width": 2, "max_epochs": 2, "batch_size": 8, "dropout": 0.3}
    return EstNetRegressor(**{**small, "random_state": 0, "device": "cpu", **params})


def _plain_weights(
    y,
    y_pred,
    train=None,
    gamma=0.0,
    bandwidth="scott",
    sample_weight=None,
    phi1=lambda g: g,
    phi2=lambda beta: 1 - beta,
):
    """Eqs. 12 to 17, one sample and one label at a time."""
    y, y_pred = np.asarray(y, float), np.asarray(y_pred, float)
    y, y_pred = y.reshape(len(y), -1), y_pred.reshape(len(y_pred), -1)
    t, t_pred = (y, y_pred) if train is None else [np.reshape(a, (len(a), -1)) for a in train]
    w = np.ones(len(t)) if sample_weight is None else sample_weight
    rule = {"scott": sum(w) ** -0.2, "silverman": (sum(w) * 3 / 4) ** -0.2}
    h = rule.get(bandwidth, bandwidth)
    s = np.zeros(len(y))
    for k in range(y.shape[1]):
        alpha = [abs(t[j, k] - t_pred[j, k]) for j in range(len(t))]
        for i in range(len(y)):
            spread = max(alpha) - min(alpha)
            beta = (abs(y[i, k] - y_pred[i, k]) - min(alpha)) / spread if spread else 0.0
            beta = min(max(beta, 0.0), 1.0)
            g = 0.0
            for j in range(len(t)):
                z = (y[i, k] - t[j, k]) / h
                g += w[j] * np.exp(-(z**2) / 2) / (np.sqrt(2 * np.pi) * h * sum(w))
            s[i] += (gamma * phi1(g) + (1 - gamma) * phi2(beta)) / y.shape[1]
    return s


@pytest.fixture(scope="session")
def line_spectra():
    """Make noisy spectra of one absorption line, and its depth and centre as two labels."""
    return _line_spectra


@pytest.fixture(scope="session")
def small_regressor():
    """Make an unfitted EstNetRegressor that trains in a fraction of a second."""
    return _small_regressor


@pytest.fixture(scope="session")
def plain_weights():
    """Weigh by the minmax score and plain loops."""
    return _plain_weights


@pytest.fixture(scope="session")
def lines():
    """Thirty spectra and their two labels."""
    X, y = _line_spectra(30)
    X.flags.writeable = y.flags.writeable = False
    return X, y


@pytest.fixture(scope="session")
def fitted(lines):
    """Fitted to one label; not to be changed."""
    X, y = lines
    return _small_regressor().fit(X, y[:, 0])


@pytest.fixture(scope="session")
def fitted_two(lines):
    """Fitted to two labels; not to be changed."""
    return _small_regressor().fit(*lines)


@pytest.fixture(scope="session")
def compared_libraries():
    """Skip where one of the libraries is missing that the comparison's methods import."""
    for library in ("pandas", "lightgbm", "xgboost", "catboost", "ngboost"):
        pytest.importorskip(library)


@pytest.fixture(scope="session")
def run_benchmark():
    """Run a benchmark script as a user does; return what it prints, and what it says beside."""

    def run(script, *arguments, timeout=300):
        done = subprocess.run(
            [sys.executable, f"benchmarks/{script}", *arguments],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run
