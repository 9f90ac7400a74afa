"""The benchmark scripts run to their end in their quick mode, so that they cannot rot."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _run(script, *arguments):
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_predict_dist():
    output = _run("bench_predict_dist.py", "--quick")
    assert "ratio_median" in output


def test_seeds():
    output = _run("bench_seeds.py", "--quick")
    assert output.count("EstNet") == 2


def test_preprocessing():
    output = _run("bench_preprocessing.py", "--quick")
    assert output.count("ContinuumNormalizer") == 4
    assert "times_the_loop_median" in output


def test_fresh_noise():
    output = _run("bench_fresh_noise.py", "--quick")
    assert output.count("fresh") == output.count("drawn once") == 2


@pytest.mark.usefixtures("data_dir")
def test_template_fit():
    output = _run("bench_template_fit.py", "--quick")
    assert "largest_relative_error" in output
    assert output.count("teff") == 2


@pytest.mark.slow
def test_uncertainty():
    output = _run("bench_uncertainty.py", "--quick")
    assert output.count("EstNet, ensemble, calibrated by S/N") == 2
    assert output.count("NGBoost, calibrated by S/N") == 2


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_out_of_domain():
    output = _run("bench_out_of_domain.py", "--quick")
    assert "AUROC DB" in output


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_real_dwarfs():
    output = _run("bench_real_dwarfs.py", "--quick")
    assert "the wavelengths are in air" in output
    assert output.count("50 spectra") == output.count("52 spectra") == 6


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_real_lamost():
    output = _run("bench_real_lamost.py", "--quick")
    assert all(f"== {name} ==" in output for name in ("files", "stars", "dwarf"))
    assert output.count("LAMOST image") == 13
    assert output.count("SDSS spectrum") == 1
    assert output.count("DESI spectra") == 5


@pytest.mark.slow
@pytest.mark.parametrize("data", ["embedded", "koester"])
def test_robustness(data, request):
    if data == "koester":
        request.getfixturevalue("data_dir")
    for library in ("xgboost", "catboost", "cleanlab"):
        pytest.importorskip(library)
    output = _run("bench_robustness.py", "--quick", "--data", data)
    assert output.count("cleanlab") == 6
    assert output.count("EstNet") == output.count("MLP") == 8


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


def test_rows_of_another_version_are_not_mixed_in(results, tmp_path):
    script = tmp_path / "bench.py"
    script.write_text("SEEDS = (0,)")
    results.Progress("answer", str(script)).add([{"seed": 0}])
    script.write_text("SEEDS = (1,)")
    assert results.Progress("answer", str(script)).rows() == []


@pytest.mark.parametrize("name", ["real_lamost", "real_dwarfs", "template_fit"])
def test_scripts_say_what_they_need(monkeypatch, name):
    monkeypatch.delenv("SKESTNET_DATA", raising=False)
    with pytest.raises(AssertionError, match="SKESTNET_DATA is not set"):
        _run(f"bench_{name}.py", "--quick")
