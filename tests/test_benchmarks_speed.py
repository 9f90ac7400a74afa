"""The benchmarks of speed and scaling: their quick runs, and that they measure what they say."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.mark.slow
def test_speed(run_benchmark):
    output = run_benchmark("bench_speed.py", "--quick", timeout=600).stdout
    words = ("fit, validation", "200 full passes", "batch normalisation", "torch.compile")
    on = 2 if torch.cuda.is_available() else 1
    assert [output.count(word) for word in words] == [on, on, 1, 3]
    assert "Error" not in output


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_scaling(run_benchmark):
    output = run_benchmark("bench_scaling.py", "--quick", timeout=600).stdout
    words = ("exponent_se", "canonical rows", "predict_survey", "fit_s")
    assert [output.count(word) for word in words] == [1, 1, 2, 1]


@pytest.mark.slow
def test_survey(run_benchmark):
    pytest.importorskip("skops")
    pytest.importorskip("distributed")
    output = run_benchmark("bench_survey.py", "--quick", timeout=600).stdout
    assert "predict_survey" in output
    assert output.count("Dask") == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and memory from /proc")
def test_faults(run_benchmark):
    pytest.importorskip("skops")
    output = run_benchmark("bench_faults.py", "--quick", timeout=600).stdout
    tables = [block.split("\n")[1].split() for block in output.split("part ")[1:]]
    training, survey, soak = tables
    for part, kills, runs, _, identical, left in (training, survey):
        assert (part, kills, left) == (part, "5", "0")
        assert runs == identical != "0"
    assert soak[:2] == ["soak", "40"]
    assert soak[-2:] == ["0", "0"]


def test_growth_of_a_line():
    from bench_faults import growth

    slope, error = growth(np.arange(100) * 0.5 + 3)
    assert slope == pytest.approx(0.5)
    assert error == pytest.approx(0, abs=1e-9)


def test_bare_loop_does_the_work_of_a_fit():
    from _speed import bare_training, one_stage, spectra

    # Nothing moves, nothing is random, and one batch holds all spectra.
    X, y = spectra(32, 50)
    size = {"depth": 12, "width": 2, "dropout": 0.0}
    fitted = one_stage(2, lr=1e-12, **size).fit(X, 100 + 7 * y)
    standardised = (y - y.mean(axis=0)) / y.std(axis=0)
    bare = bare_training(fitted.net_.module_, X, standardised, 2, lr=1e-12)
    losses = [[epoch["train_loss"] for epoch in some] for some in (fitted.history_, bare)]
    assert_allclose(*losses, rtol=1e-4)


def test_bare_loop_learns_from_all_spectra():
    from _speed import bare_training

    X = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    y = X @ np.array([[1.0, 0], [0, 2.0], [0, 0.5]])
    module = nn.Linear(3, 2)
    history = bare_training(module, X, y, 400, lr=0.02)
    assert history[-1]["train_loss"] < 1e-3
    assert all(epoch["seconds"] > 0 for epoch in history)
    assert_allclose(module.weight.detach().numpy(), [[1, 0, 0], [0, 2, 0.5]], atol=0.05)


def test_functions_alternate():
    from _speed import alternate

    calls = []
    timed = alternate({name: lambda name=name: calls.append(name) or name for name in "ab"}, 3)
    assert "".join(calls) == "abbaab"
    assert timed["b"].results == ["b"] * 3
    assert timed["a"].seconds.shape == (3,)


def test_a_run_goes_on_unless_the_threads_changed(monkeypatch):
    from _speed import of_part, run_tasks

    class Kept:
        def __init__(self):
            self.kept = []

        def rows(self):
            return self.kept

        def add(self, rows):
            self.kept += rows

    done, progress = [], Kept()
    tasks = {
        tuple(key): lambda key=key: done.append(key[1]) or [{"value": key[1]}]
        for key in ("x1", "y2")
    }
    run_tasks({("y", "2"): tasks["y", "2"]}, progress)
    rows = run_tasks(tasks, progress)
    assert done == ["2", "1"]
    threads = torch.get_num_threads()
    assert of_part(rows, "x") == [{"threads": threads, "value": "1"}]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    run_tasks(tasks, progress)
    assert done == ["2", "1", "1", "2"]


def test_full_passes_are_draws_of_dropout():
    from bench_speed import Size, barely_fitted, full_pass

    size = Size(12, 2, 64, 64, 200)
    X = np.random.default_rng(0).standard_normal((5, 200)).astype(np.float32)
    regressor = barely_fitted(size, "cpu")
    mean, std = regressor.predict(X, return_std=True)
    torch.manual_seed(0)
    draws = np.stack([full_pass(regressor.net_.module_, X, "cpu") for _ in range(400)])
    draws = draws * regressor.label_scale_ + regressor.label_mean_
    assert_allclose(draws.std(axis=0), std, rtol=0.2)
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * std / 20).all()


@pytest.mark.parametrize(
    ("layer", "shape", "part"),
    [
        (nn.Conv1d(16, 64, 9), (32, 16, 500), "convolutions"),
        (nn.GRU(64, 64, batch_first=True), (32, 50, 64), "GRU"),
    ],
)
def test_profile_finds_forward_and_backward(layer, shape, part):
    from bench_speed import labelled, shares
    from torch.profiler import ProfilerActivity, profile

    x = torch.randn(shape, requires_grad=True)

    def step():
        out = layer(x)
        (out[0] if isinstance(out, tuple) else out).sum().backward()

    step()
    with labelled(layer), profile(activities=[ProfilerActivity.CPU]) as prof:
        step()
    found = shares(prof.events())
    assert_allclose(sum(found.values()), 1)
    assert found[part] > 0.8  # less than half without the backward pass
    assert found["PReLU"] == 0
    assert not layer._forward_hooks


def test_arithmetic_of_a_convolution_and_its_gradients():
    from bench_speed import flop_per_spectrum

    class Lone:
        n_pixels = 100

        def network(self):
            return nn.Sequential(nn.Unflatten(1, (1, 100)), nn.Conv1d(1, 8, 3, padding=1))

    # Multiplications and additions, forward and for the gradient of the weights alone.
    assert flop_per_spectrum(Lone()) == 2 * (2 * 100 * 8 * 3)


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [("fit", 0.98, True), ("fit", 0.96, False), ("predict_dist", 1.06, False), ("full", 150, True)],
)
def test_targets(target, ratio, met):
    from bench_speed import judged

    assert judged({"ratio": ratio}, target)["met"] is met


def test_exponents():
    from bench_scaling import points, slopes

    rng = np.random.default_rng(0)
    sizes = np.array([250, 500, 977, 1954, 3909])
    seconds = 0.01 * sizes**1.05 * np.exp(0.05 * rng.standard_normal(5))
    rows = [
        {"axis": "pixels", "size": int(n), "threads": 2, "seconds": factor * s}
        for factor in (1.0, 0.5, 9.0)  # the median is the first
        for n, s in zip(sizes, seconds, strict=True)
    ]
    line, later = slopes(points(rows))
    coefficients, covariance = np.polyfit(np.log(sizes), np.log(seconds), 1, cov=True)
    assert_allclose(line["exponent"], coefficients[0])
    assert_allclose(line["exponent_se"], covariance[0, 0] ** 0.5)
    assert line["met"] is True
    later_slope = np.polyfit(np.log(sizes[2:]), np.log(seconds[2:]), 1)[0]
    assert (later["from"], later["to"]) == (977, 3909)
    assert_allclose(later["exponent"], later_slope)
    assert slopes(points([{**r, "axis": "depth"} for r in rows]))[0]["target"] == ""


def test_points_of_a_curve_take_turns(monkeypatch):
    import bench_scaling

    calls = []
    monkeypatch.setattr(bench_scaling, "fitting", lambda *args: lambda: calls.append(args[:2]))
    for repeat in (0, 1):
        bench_scaling.one_round("depth", (12, 20), bench_scaling.QUICK, repeat)
    assert calls == [("depth", size) for size in (12, 20, 20, 12)]


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(1.2, 13, [1, 2, 5, 10, 20]), (0.02, 0.05, [0.02, 0.05])]
)
def test_ticks(low, high, ticks):
    from bench_scaling import nice_ticks

    assert_allclose(nice_ticks(low, high), ticks)


def test_figure(tmp_path):
    from bench_scaling import AXES, plot, points

    rows = [
        {"axis": name, "size": n, "threads": 2, "seconds": 0.01 * n * factor}
        for name, axis in AXES.items()
        for n in axis.sizes
        for factor in (1, 1.1)
    ]
    plot(points(rows), tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_of_a_mapped_file_is_not_its_own(tmp_path):
    from _speed import peak_memory
    from bench_scaling import write_spectra

    peak = peak_memory(write_spectra, tmp_path, (50_000, 500))  # 95 MB, in blocks of 19 MB
    assert 100 < peak["resident_MB"] < 180
    assert 15 < peak["own_MB"] < 60
    X = np.load(tmp_path / "spectra.npy", mmap_mode="r")
    assert len(np.unique(np.asarray(X[:, 0]))) > 49_000
    assert_allclose([X.mean(), X.std()], [0, 1], atol=0.01)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_that_was_let_go_counts():
    from _speed import peak_memory

    peak = peak_memory(np.ones, 25 * 2**20)  # 200 MB
    assert_allclose([peak["resident_MB"], peak["own_MB"]], 200, rtol=0.1)
