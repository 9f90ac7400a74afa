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


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_real_lamost():
    output = _run("bench_real_lamost.py", "--quick")
    assert all(f"== {name} ==" in output for name in ("files", "stars", "dwarf"))
    assert output.count("LAMOST image") == 13
    assert output.count("SDSS spectrum") == 1


def test_real_lamost_says_what_it_needs(monkeypatch):
    monkeypatch.delenv("SKESTNET_DATA", raising=False)
    with pytest.raises(AssertionError, match="SKESTNET_DATA is not set"):
        _run("bench_real_lamost.py", "--quick")
