"""The comparison and the ablation: what their summaries say, and runs that go on in parts."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

ROOT = Path(__file__).parent.parent
NOTHING = SimpleNamespace(wavelength=np.arange(977), averaged=lambda _: NOTHING)


@pytest.fixture(autouse=True)
def results(monkeypatch, tmp_path, compared_libraries):  # noqa: ARG001
    """Folder that takes the place of results/."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import _results
    import bench_ablation
    import bench_compare

    for module in (_results, bench_ablation, bench_compare):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture
def call(monkeypatch):
    """Run a script's main with arguments."""

    def run(module, *arguments):
        monkeypatch.setattr("sys.argv", [f"{module.__name__}.py", *arguments])
        monkeypatch.setattr("torch.set_num_threads", lambda _: None)
        monkeypatch.setattr("torch.set_flush_denormal", lambda _: None)
        module.main()

    return run


def row_of(method, label, seed, width=1.0, n=500, pixels=977):
    """Make a row of the comparison: errors of a width, the same for all methods but for that."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(8, 0.3, n)
    estimates = truth + width * rng.normal(0, 0.2, n)
    from _compare_tables import MEASURED
    from _results import paper_metrics

    found = {f"{m} truth": float(v[0]) for m, v in paper_metrics(truth, estimates).items()}
    about = {"data": "embedded", "pixels": pixels, "seed": seed, "digest": f"split {seed}"}
    kept = {"estimates": estimates.tolist(), "true labels": truth.tolist()}
    return {
        **about,
        "method": method,
        "label": label,
        **dict.fromkeys(MEASURED, 1.0),
        **found,
    } | kept


def test_standard_errors_are_those_of_the_test_spectra():
    from _compare_tables import BASE, summary

    rows = [row_of(BASE, "logg", s) for s in range(3)]
    rows += [row_of("XGBoost", "logg", s, 1.1) for s in range(3)]
    base, other = summary(rows)
    error = np.concatenate(
        [np.abs(np.subtract(r["estimates"], r["true labels"])) for r in rows[:3]]
    )
    assert_allclose(base["MAE truth"], error.mean(), rtol=1e-6)
    assert_allclose(base["MAE truth se"], error.std() / np.sqrt(error.size), rtol=0.1)
    assert base["MAE behind"] == base["ME behind se"] == 0
    # Errors that are all a tenth larger: the difference has a tenth of the scatter.
    assert_allclose(other["MAE behind"], 0.1 * base["MAE truth"], rtol=1e-6)
    assert_allclose(other["MAE behind se"], 0.1 * base["MAE truth se"], rtol=1e-6)


def test_a_method_that_lacks_a_split_is_left_out_with_a_word(capsys):
    from _compare_tables import BASE, summary

    rows = [row_of(BASE, "teff", s) for s in range(3)] + [row_of("XGBoost", "teff", 0)]
    assert [line["method"] for line in summary(rows)] == [BASE]
    assert "XGBoost, teff: only 1 of 3 splits, left out" in capsys.readouterr().out


def test_a_comparison_in_parts_ends_in_one_table(call, results, monkeypatch):
    import bench_compare

    done = []

    def evaluate(data, reference, method, label, seed, quick):  # noqa: ARG001
        done.append((method, label, seed))
        return row_of(method, label, seed, 1 + len(method) / 100, n=30)

    monkeypatch.setattr(bench_compare, "in_own_process", evaluate)
    monkeypatch.setitem(bench_compare.REFERENCES, "embedded", lambda *_: NOTHING)
    monkeypatch.setattr(bench_compare, "available", lambda: ["EstNet", "XGBoost"])
    monkeypatch.setattr("_compare_tables.N_BOOTSTRAP", 5)
    call(bench_compare, "--methods", "XGBoost", "--seeds", "1")
    assert not list(results.glob("*.csv"))
    call(bench_compare)
    assert len(done) == len(set(done)) == 12
    lines = (results / "compare_embedded.csv").read_text().splitlines()
    columns, *rows = (line.split(",") for line in lines if not line.startswith("#"))
    assert len(rows) == 12
    assert all(len(row) == len(columns) and row[columns.index("commit")] for row in rows)
    assert "estimates" not in columns
    assert (results / "compare_embedded_pareto.png").exists()


def test_another_number_of_pixels_has_a_table_of_its_own(call, results, monkeypatch):
    import bench_compare

    monkeypatch.setattr(bench_compare, "in_own_process", lambda *a: row_of(*a[2:5], pixels=3909))
    monkeypatch.setitem(bench_compare.REFERENCES, "embedded", lambda *_: NOTHING)
    monkeypatch.setattr("_compare_tables.N_BOOTSTRAP", 5)
    for _ in range(2):  # the second run finds all rows
        call(bench_compare, "--averaged", "1", "--seeds", "0", "--methods", "LightGBM")
    assert {path.name for path in results.glob("*.csv")} == {
        "compare_embedded_3909.csv",
        "compare_embedded_3909_summary.csv",
    }


def test_a_method_that_fails_is_named(monkeypatch, capfd):
    import bench_compare

    def evaluate(*_):
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr(bench_compare, "evaluate", evaluate)
    with pytest.raises(RuntimeError, match=r"XGBoost.* ended without a result"):
        bench_compare.in_own_process("embedded", None, "XGBoost", "teff", 0, False)
    assert "of no use" in capfd.readouterr().err


def test_three_networks_are_chosen_for_with_one():
    from bench_compare import fit, search

    model, then = search("EstNet, three networks", "teff", 0, quick=False)
    assert model.estimator.regressor[-1].n_estimators == 1
    assert [one["regressor__regressor__estimator__max_epochs"] for one in model.param_grid] == [
        [15],
        [8],
    ]
    small = {f"regressor__regressor__estimator__{name}": 1 for name in ("max_epochs", "width")}
    model.estimator.set_params(**small)
    part = SimpleNamespace(X=np.random.default_rng(0).normal(1, 0.1, (12, 250)), y=np.ones((12, 2)))
    part.y[:, 0] = np.linspace(1e4, 2e4, 12)
    fitted, about = fit(model.set_params(param_grid=small_grid(model)), then, part, part, 0)
    assert len(fitted.regressor_[-1].estimators_) == 3
    assert "max_epochs" in about["chosen"]


def small_grid(model):
    name = "regressor__regressor__estimator__max_epochs"
    return [{name: [1]} for _ in model.param_grid]


def test_an_ablation_in_parts_ends_in_one_table(call, results, monkeypatch):
    import bench_ablation

    labels = [{"label": label} for label in ("teff", "logg")]
    values = dict.fromkeys(("MAE", "RMSE", "MAPE", "ME", "CRPS", "fit_s"), 1.0)
    monkeypatch.setattr(
        bench_ablation, "evaluate", lambda *_: [{**one, **values} for one in labels]
    )
    monkeypatch.setattr(bench_ablation, "variants", lambda *_, **__: {"EstNet": 0, "without SE": 1})
    monkeypatch.setattr(bench_ablation, "split", lambda *_: ())
    monkeypatch.setattr(bench_ablation, "digest", str)
    monkeypatch.setitem(bench_ablation.REFERENCES, "embedded", lambda *_: NOTHING)
    call(bench_ablation, "--seeds", "2", "1")
    assert not list(results.glob("*.csv"))
    call(bench_ablation)
    text = (results / "ablation_embedded.csv").read_text()
    assert text.count("without SE") == 6
    assert text.count("embedded,977") == 12
    assert (results / "ablation_embedded.png").exists()


def test_networks_without_a_part_lack_it():
    from _ablation import EstNetWithoutGRU, EstNetWithoutSE

    from skestnet.nn import EstNet
    from skestnet.nn._blocks import SqueezeExcitation

    def has(network, kind):
        return any(isinstance(module, kind) for module in network.modules())

    whole = EstNet(325, 1)
    assert has(whole, SqueezeExcitation)
    assert has(whole, torch.nn.GRU)
    assert not has(EstNetWithoutSE(325, 1), SqueezeExcitation)
    without = EstNetWithoutGRU(325, 1)
    assert not has(without, torch.nn.GRU)
    assert without(torch.zeros(2, 325)).shape == whole(torch.zeros(2, 325)).shape
