"""The benchmark scripts run to their end in their quick mode, so that they cannot rot."""

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


@pytest.mark.parametrize("name", ["real_lamost", "real_dwarfs", "template_fit"])
def test_scripts_say_what_they_need(monkeypatch, name):
    monkeypatch.delenv("SKESTNET_DATA", raising=False)
    with pytest.raises(AssertionError, match="SKESTNET_DATA is not set"):
        _run(f"bench_{name}.py", "--quick")
