"""What do 200 Monte Carlo dropout draws cost on top of a point prediction?

Held fixed: network, spectra, batches; `predict` and `predict_dist` alternate in one process, and
the ratio is taken pair by pair. Only the linear head is drawn 200 times, so the ratio should be
close to 1. Full passes, which a plain Monte Carlo dropout would make, are timed too, a few of them,
and their cost is multiplied. Two sizes: the default at 977 pixels, and EstNet34 at 3909 pixels.

About 2 minutes on two cores; ``--quick`` about 10 seconds.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _results import print_table, save_table

from skestnet import EstNetRegressor

N_DRAWS = 200
FULL_PASSES = 3


def seconds(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    start = time.perf_counter()
    fn(*args, **kwargs)
    return time.perf_counter() - start


def fitted(regressor: EstNetRegressor, n_pixels: int) -> EstNetRegressor:
    """Train just enough to have a network: its cost does not depend on its weights."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4, n_pixels)).astype(np.float32)
    return regressor.set_params(max_epochs=1, weighter=None).fit(X, rng.standard_normal(4))


def measure(name: str, regressor: EstNetRegressor, n_pixels: int, n: int, repeats: int) -> dict:
    regressor = fitted(regressor, n_pixels)
    X = np.random.default_rng(1).standard_normal((n, n_pixels)).astype(np.float32)
    regressor.predict_dist(X[:32], N_DRAWS)  # warm up
    pairs = np.array(
        [
            (seconds(regressor.predict, X), seconds(regressor.predict_dist, X, n_draws=N_DRAWS))
            for _ in range(repeats)
        ]
    )
    ratio = pairs[:, 1] / pairs[:, 0]
    full = np.median([seconds(regressor.net_.predict, X) for _ in range(FULL_PASSES)])
    return {
        "network": name,
        "n_pixels": n_pixels,
        "n_spectra": n,
        "n_draws": N_DRAWS,
        "repeats": repeats,
        "predict_s": np.median(pairs[:, 0]),
        "predict_dist_s": np.median(pairs[:, 1]),
        "ratio_median": np.median(ratio),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "times_faster_than_full_passes": N_DRAWS * full / np.median(pairs[:, 1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="the small network only, fewer spectra"
    )
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    small = EstNetRegressor(random_state=0)
    rows = [measure("default", small, 977, 320 if quick else 2000, 3 if quick else 9)]
    if not quick:
        paper = EstNetRegressor.paper("teff", random_state=0)
        rows.append(measure("EstNet34, width 64", paper, 3909, 64, 5))
    print_table(rows)
    if not quick:
        print("saved", save_table("predict_dist", rows).name)


if __name__ == "__main__":
    main()
