"""bench_quoted.py runs to its end in its quick mode, and judges figures as it says."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
NEED_DATA = (
    "closed_form",
    "continuum",
    "interpolation",
    "lamost_noise",
    "balmer_models",
    "catalogue_errors",
)
ALWAYS = ("scatter/error", "spikes of 8 sigma", "error by chance", "lines in noise")


@pytest.fixture
def bench(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import bench_quoted

    return bench_quoted


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_quick(run_benchmark):
    pytest.importorskip("lightgbm")
    done = run_benchmark("bench_quoted.py", "--quick")
    assert "left out" not in done.stdout
    assert "of 43 hold" in done.stdout
    assert "nan" not in done.stdout


@pytest.mark.slow
def test_without_data_it_says_what_is_missing(run_benchmark, monkeypatch):
    monkeypatch.delenv("SKESTNET_DATA", raising=False)
    output = run_benchmark("bench_quoted.py", "--quick").stdout
    for name in NEED_DATA:
        assert f"left out: {name} (SKESTNET_DATA is not set" in output
    assert all(text in output for text in ALWAYS)


@pytest.mark.parametrize(
    ("draws", "expected"),
    [([1.27], "yes"), ([1.3], "NO"), ([1.3, 1.34, 1.26], "yes"), ([1.3, 1.301, 1.302], "NO")],
)
def test_two_standard_errors_are_allowed(bench, draws, expected):
    found = bench.row("where", "what", "1.28", 1.265, 1.285, draws)
    assert found["holds"] == expected
    assert found["measured"] == pytest.approx(np.mean(draws))
    if len(draws) > 1:
        assert found["standard_error"] == pytest.approx(np.std(draws, ddof=1) / np.sqrt(3))


def test_equivalent_width_of_gaussian_lines(bench):
    wavelength = np.arange(4600.0, 5100.0, 0.5)
    depth = np.array([[0.2], [0.6]]) * np.exp(-0.5 * ((wavelength - 4862.68) / 12) ** 2)
    flux = (wavelength / 4800 - 0.5) * (1 - depth)  # a straight continuum
    expected = np.array([0.2, 0.6]) * 12 * np.sqrt(2 * np.pi)
    np.testing.assert_allclose(bench.line_width(wavelength, flux, 4862.68), expected, rtol=1e-3)
