"""The benchmark scripts run to their end in their quick mode, so that they cannot rot."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context

from skestnet import predict_dist
from skestnet.datasets import make_white_dwarfs

ROOT = Path(__file__).parent.parent


def test_seeds(run_benchmark):
    output = run_benchmark("bench_seeds.py", "--quick").stdout
    assert output.count("EstNet") == 2


def test_preprocessing(run_benchmark):
    output = run_benchmark("bench_preprocessing.py", "--quick").stdout
    assert output.count("ContinuumNormalizer") == 4
    assert "times_the_loop_median" in output


def test_fresh_noise(run_benchmark):
    output = run_benchmark("bench_fresh_noise.py", "--quick").stdout
    assert output.count("fresh") == output.count("drawn once") == 2


@pytest.mark.usefixtures("data_dir")
def test_template_fit(run_benchmark):
    output = run_benchmark("bench_template_fit.py", "--quick").stdout
    assert "largest_relative_error" in output
    assert output.count("teff") == 2


@pytest.mark.slow
def test_uncertainty(run_benchmark):
    output = run_benchmark("bench_uncertainty.py", "--quick").stdout
    assert output.count("EstNet, ensemble, calibrated by S/N") == 2
    assert output.count("NGBoost, calibrated by S/N") == 2


@pytest.mark.slow
@pytest.mark.usefixtures("compared_libraries")
def test_compare(run_benchmark):
    output = run_benchmark("bench_compare.py", "--quick").stdout
    methods = ("EstNet", "EstNet, three networks, both labels", "MLP of the paper", "XGBoost")
    methods += ("NGBoost", "template fit, knows the models")
    assert all(output.count(f" {name}  ") == 2 for name in methods)


@pytest.mark.slow
@pytest.mark.usefixtures("compared_libraries")
def test_ablation(run_benchmark):
    output = run_benchmark("bench_ablation.py", "--quick").stdout
    assert output.count(" without SE ") == output.count(" one label at a time ") == 2


@pytest.mark.slow
@pytest.mark.usefixtures("compared_libraries")
def test_figures(run_benchmark):
    output = run_benchmark("bench_figures.py", "--quick").stdout
    folder = Path(output.splitlines()[-1].removeprefix("figures in "))
    assert len(list(folder.glob("fig*_embedded.png"))) == 8
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_information(run_benchmark):
    output = run_benchmark("bench_information.py", "--quick").stdout
    assert "CRPS of the labels alone" in output


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_out_of_domain(run_benchmark):
    output = run_benchmark("bench_out_of_domain.py", "--quick").stdout
    assert "AUROC DB" in output


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_real_dwarfs(run_benchmark):
    output = run_benchmark("bench_real_dwarfs.py", "--quick").stdout
    assert "the wavelengths are in air" in output
    assert output.count("50 spectra") == output.count("52 spectra") == 6


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_real_lamost(run_benchmark):
    output = run_benchmark("bench_real_lamost.py", "--quick").stdout
    assert all(f"== {name} ==" in output for name in ("files", "stars", "dwarf"))
    assert output.count("LAMOST image") == 13
    assert output.count("SDSS spectrum") == 1
    assert output.count("DESI spectra") == 5


@pytest.mark.slow
@pytest.mark.parametrize("data", ["embedded", "koester"])
def test_robustness(run_benchmark, data, request):
    if data == "koester":
        request.getfixturevalue("data_dir")
    for library in ("xgboost", "catboost", "cleanlab"):
        pytest.importorskip(library)
    output = run_benchmark("bench_robustness.py", "--quick", "--data", data).stdout
    assert output.count("cleanlab") == 6
    assert output.count("EstNet") == output.count("MLP") == 8


@pytest.fixture
def benchmarks(monkeypatch):
    """Make the modules of the benchmarks importable."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for library in ("pandas", "lightgbm"):
        pytest.importorskip(library)


@pytest.mark.usefixtures("benchmarks")
def test_reference_set():
    from _reference import embedded, split

    fine = embedded(n=100)
    again = embedded(n=100)
    assert fine.digest() == again.digest()
    assert fine.X.shape == fine.sigma.shape == (100, 3909)
    assert np.isnan(fine.X).sum() == np.isinf(fine.sigma).sum() > 0
    parts = split(fine, 0)
    assert [len(part.y) for part in parts] == [80, 10, 10]
    assert len(np.unique(np.concatenate([part.snr for part in parts]))) == 100
    assert parts[2].digest() != split(fine, 1)[2].digest()


@pytest.mark.usefixtures("benchmarks")
def test_averaged_pixels_keep_the_noise_of_their_good_ones():
    from _reference import Reference

    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.5, 2, (3000, 9)).astype(np.float32)
    sigma[:, 1] = sigma[:, 4:8] = np.inf  # one of the first four, all of the next four
    noise = np.where(np.isinf(sigma), np.nan, rng.standard_normal(sigma.shape) * sigma)
    some = np.zeros((3000, 2))
    mean = Reference(noise, some, some, some[:, 0], sigma, np.arange(9.0)).averaged(4)
    assert mean.X.shape == mean.sigma.shape == (3000, 2)
    assert_array_equal(mean.wavelength, [1.5, 5.5])
    assert np.isnan(mean.X[:, 1]).all()
    assert np.isinf(mean.sigma[:, 1]).all()
    assert_allclose((mean.X[:, 0] / mean.sigma[:, 0]).std(), 1, rtol=0.05)


@pytest.mark.usefixtures("benchmarks")
def test_errors_of_the_catalogue():
    from _reference import WRONG, catalogue

    truth = np.tile([10_000.0, 8.0], (40_000, 1))
    for snr, expected in ((1.0, (0.11, 0.5)), (10.0, (0.0186, 0.103)), (1e4, (0.015, 0.05))):
        y = catalogue(truth, np.full(len(truth), snr), np.random.default_rng(0))
        error = np.column_stack([np.log(y[:, 0] / 1e4), y[:, 1] - 8])
        assert_allclose(1.4826 * np.median(np.abs(error), axis=0), expected, rtol=0.1)
        far = np.abs(error[:, 0]) > 5 * expected[0]
        assert far.mean() < WRONG


@pytest.mark.usefixtures("benchmarks")
def test_methods_with_other_splits_are_found():
    from _reference import check_same_splits

    row = {"data": "embedded", "pixels": 977, "seed": 0, "digest": "a"}
    check_same_splits([row, row, {**row, "seed": 1, "digest": "b"}])
    with pytest.raises(AssertionError, match="different spectra"):
        check_same_splits([row, {**row, "digest": "b"}])


@pytest.mark.usefixtures("benchmarks", "compared_libraries")
@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", ["CatBoost", "NGBoost"])
def test_boosting_for_distributions_in_a_search(name, routing):
    from bench_compare import search, small

    X, y = make_white_dwarfs(60, n_pixels=50, return_X_y=True, random_state=0)
    with config_context(enable_metadata_routing=routing):
        model, _ = search(name, "teff", 0, quick=False)
        small(model.estimator.regressor)
        prefix = "regressor__"
        model.set_params(param_grid={prefix + "pca__n_components": [2, 5]}, cv=2, refit=True)
        model.fit(X[:50], y[:50, 0])
        predicted = model.predict(X[50:])
    assert predicted.shape == (10,)
    assert 3_000 < predicted.mean() < 60_000
    assert predict_dist(model, X[50:]).shape == (10,)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Module of the benchmarks' tables, which writes to a folder of its own."""
    spec = importlib.util.spec_from_file_location("_results", ROOT / "benchmarks" / "_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def test_a_killed_run_goes_on_from_its_whole_lines(results):
    progress = results.Progress("answer", __file__)
    assert progress.rows() == []
    progress.add([{"seed": 0, "MAE": 1.5}, {"seed": 1, "weights": [0.5]}])
    with progress.path.open("a") as file:
        file.write('{"seed": 2, "MA')  # killed here
    again = results.Progress("answer", __file__)
    rows = [{"seed": 0, "MAE": 1.5}, {"seed": 1, "weights": [0.5]}]
    at = {"commit": progress.commit}
    assert again.rows() == [{**row, **at} for row in rows]
    again.add([{"seed": 2}])
    assert again.rows()[2:] == [{"seed": 2, **at}]


def test_of_rows_that_two_processes_computed_the_last_counts(results):
    progress = results.Progress("answer", __file__, key=("seed",))
    progress.add([{"seed": 0, "MAE": 1.5}, {"seed": 1, "MAE": 2.0}])
    progress.add([{"seed": 0, "MAE": 1.6}])
    assert [(row["seed"], row["MAE"]) for row in progress.rows()] == [(0, 1.6), (1, 2.0)]


def test_rows_of_another_version_are_not_mixed_in(results, tmp_path, capsys):
    script = tmp_path / "bench.py"
    script.write_text("SEEDS = (0,)")
    earlier = results.Progress("answer", str(script))
    earlier.add([{"seed": 0}])
    script.write_text("SEEDS = (1,)")
    assert results.Progress("answer", str(script)).rows() == []
    assert f"are not used: {earlier.path.name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["real_lamost", "real_dwarfs", "template_fit"])
def test_scripts_say_what_they_need(run_benchmark, monkeypatch, name):
    monkeypatch.delenv("SKESTNET_DATA", raising=False)
    with pytest.raises(AssertionError, match="SKESTNET_DATA is not set"):
        run_benchmark(f"bench_{name}.py", "--quick")
