"""The comparison and the ablation: what their summaries say, and runs that go on in parts."""

import csv
import inspect
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

ROOT = Path(__file__).parent.parent
NOTHING = SimpleNamespace(averaged=lambda n: SimpleNamespace(wavelength=np.arange(3909 // n)))


@pytest.fixture(autouse=True)
def results(monkeypatch, tmp_path, compared_libraries):  # noqa: ARG001
    """Folder that takes the place of results/."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import _compare_tables
    import _results
    import bench_ablation
    import bench_compare

    for module in (_results, _compare_tables, bench_ablation, bench_compare):
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

    handler = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def compared(monkeypatch):
    """Let the comparison run on nothing, with two methods; return what it did."""
    import bench_compare

    done = []

    def evaluate(data, reference, method, labels, seed, quick):  # noqa: ARG001
        about = (seed, 1 + len(method) / 100, 30, len(reference.wavelength))
        done.extend((method, label, seed) for label in labels)
        return [row_of(method, label, *about) for label in labels]

    monkeypatch.setattr(bench_compare, "in_own_process", evaluate)
    monkeypatch.setattr(bench_compare, "split", lambda _, seed: seed)
    monkeypatch.setattr(bench_compare, "digest", lambda seed: f"split {seed}")
    monkeypatch.setitem(bench_compare.REFERENCES, "embedded", lambda *_: NOTHING)
    monkeypatch.setattr(bench_compare, "available", lambda: ["EstNet", "XGBoost"])
    monkeypatch.setattr("_compare_tables.N_BOOTSTRAP", 5)
    return done


def row_of(method, label, seed, width=1.0, n=500, pixels=977):
    """Make a row of the comparison: errors of a width, the same for all methods but for that."""
    rng = np.random.default_rng([seed, label == "logg"])
    truth = rng.normal(8, 0.3, n)
    estimates = truth + width * rng.normal(0, 0.2, n)
    from _compare_tables import MEASURED
    from _results import paper_metrics

    found = {f"{m} truth": float(v[0]) for m, v in paper_metrics(truth, estimates).items()}
    about = {"data": "embedded", "pixels": pixels, "seed": seed, "digest": f"split {seed}"}
    about |= {"chosen": "{'a': 1, 'b': PCA(2)}", "hardware": "2 cores, no GPU"}
    kept = {"estimates": estimates.tolist(), "true labels": truth.tolist()}
    return {
        **about,
        "method": method,
        "label": label,
        **dict.fromkeys(MEASURED, 1.0),
        "CRPS catalogue": np.nan,
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
    of_splits = np.std([0.1 * row["MAE truth"] for row in rows[:3]], ddof=1) / np.sqrt(3)
    assert_allclose(other["MAE behind se of splits"], of_splits, rtol=1e-6)


def test_a_method_that_lacks_a_split_is_left_out_with_a_word(capsys):
    from _compare_tables import BASE, summary

    rows = [row_of(BASE, "teff", s) for s in range(3)] + [row_of("XGBoost", "teff", 0)]
    assert [line["method"] for line in summary(rows)] == [BASE]
    assert "XGBoost, teff: only 1 of 3 splits, left out" in capsys.readouterr().out


def test_a_comparison_in_parts_ends_in_one_table(call, results, compared):
    import bench_compare

    call(bench_compare, "--methods", "XGBoost", "--seeds", "1")
    assert not list(results.glob("*.csv"))
    call(bench_compare)
    assert len(compared) == len(set(compared)) == 12
    columns, *rows = lines_of(results / "compare_embedded.csv")
    assert len(rows) == 12
    assert all(len(row) == len(columns) and row[columns.index("commit")] for row in rows)
    assert "estimates" not in columns
    columns, *rows = lines_of(results / "compare_embedded_estimates.csv")
    assert columns == ["label", "seed", "spectrum", "truth", "EstNet", "XGBoost"]
    assert len(rows) == 2 * 3 * 30
    assert (results / "compare_embedded_pareto.png").exists()


def lines_of(path):
    lines = path.read_text().splitlines()
    return list(csv.reader(line for line in lines if not line.startswith("#")))


def test_a_comparison_adds_to_saved_tables(call, results, compared, monkeypatch):
    import bench_compare
    from _compare_tables import read, summary

    monkeypatch.setattr("_results._commit", lambda: "12e4567890")  # could be read as a number
    call(bench_compare)
    fresh = [row_of(*task, 1 + len(task[0]) / 100, 30) for task in compared]
    for path in results.glob("*.jsonl"):
        path.unlink()  # as a new checkout has none
    rows = {(row["method"], row["label"], row["seed"]): row for row in read("compare_embedded")}
    for row in fresh:
        same = rows[row["method"], row["label"], row["seed"]]
        assert same["chosen"] == row["chosen"]
        for name in ("estimates", "true labels", "MAE truth", "CRPS truth", "CRPS catalogue"):
            assert_allclose(same[name], row[name], rtol=1e-4)
    assert_allclose(
        *([line["ME truth se"] for line in summary(r)] for r in (fresh, [*rows.values()])),
        rtol=1e-2,
    )
    first = lines_of(results / "compare_embedded.csv")
    call(bench_compare, "--keep")
    assert len(compared) == 12
    assert lines_of(results / "compare_embedded.csv") == first
    call(bench_compare, "--keep", "--methods", "ridge on components", "--seeds", "1")
    assert compared[12:] == [("ridge on components", label, 1) for label in ("teff", "logg")]
    rows = read("compare_embedded")
    assert len(rows) == 14
    assert {row["commit"] for row in rows} == {"12e4567890"}
    assert all(len(row["estimates"]) == len(row["true labels"]) == 30 for row in rows)


def test_a_comparison_does_not_mix_splits(call, compared, monkeypatch):
    import bench_compare

    call(bench_compare, "--keep", "--seeds", "0")
    monkeypatch.setattr(bench_compare, "digest", lambda seed: f"another split {seed}")
    with pytest.raises(AssertionError, match="different spectra"):
        call(bench_compare, "--keep", "--seeds", "1")
    assert len(compared) == 4


def test_tables_that_do_not_belong_together_are_refused(call, results, compared):
    import bench_compare
    from _compare_tables import read

    call(bench_compare)
    path = results / "compare_embedded_estimates.csv"
    text = path.read_text()
    path.write_text(text.replace(",XGBoost", ",another"))
    with pytest.raises(ValueError, match="XGBoost, teff, split 0: the estimates in"):
        read("compare_embedded")
    path.unlink()
    with pytest.raises(ValueError, match=r"estimates.csv is missing"):
        call(bench_compare, "--keep", "--methods", "LightGBM")
    assert len(compared) == 12


def test_a_whole_run_does_not_replace_tables_with_more_methods(call, compared):
    import bench_compare

    call(bench_compare, "--keep", "--methods", "LightGBM")
    with pytest.raises(SystemExit, match="also has LightGBM: add to it with --keep"):
        call(bench_compare)
    assert len(compared) == 6


def test_methods_of_other_names_are_named_before_the_work(call, compared, monkeypatch):
    import bench_compare

    call(bench_compare, "--keep", "--methods", "XGBoost")
    monkeypatch.setattr(bench_compare, "NAMES", ["EstNet"])
    with pytest.raises(SystemExit, match="methods of other names: XGBoost"):
        call(bench_compare, "--keep", "--methods", "EstNet")
    assert len(compared) == 6


def test_rows_that_no_split_has_together_are_saved(call, results, compared):
    import bench_compare

    call(bench_compare, "--keep", "--methods", "XGBoost", "--seeds", "0")
    call(bench_compare, "--keep", "--methods", "LightGBM", "--seeds", "1")
    assert len(lines_of(results / "compare_embedded.csv")) == 1 + 4
    assert len(compared) == 4


def test_one_label_alone_is_no_whole_run(call, results, compared):
    import bench_compare

    call(bench_compare, "--labels", "logg")
    assert {label for _, label, _ in compared} == {"logg"}
    assert len(compared) == 6
    assert not list(results.glob("*.csv"))
    call(bench_compare)
    assert len(compared) == 12
    assert list(results.glob("*.csv"))


@pytest.mark.usefixtures("compared")
def test_sigterm_ends_a_comparison_as_an_error(call):
    import bench_compare

    call(bench_compare, "--methods", "XGBoost", "--seeds", "0")
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143


def test_another_number_of_pixels_has_tables_of_its_own(call, results, compared):
    import bench_compare

    some = ("--averaged", "1", "--seeds", "0", "--keep", "--methods")
    call(bench_compare, *some, "LightGBM", "EstNet")
    call(bench_compare, *some, "LightGBM")  # loses nothing
    assert len(compared) == 4
    assert {path.name for path in results.glob("*.csv")} == {
        "compare_embedded_3909.csv",
        "compare_embedded_3909_estimates.csv",
        "compare_embedded_3909_summary.csv",
    }
    assert len(lines_of(results / "compare_embedded_3909.csv")) == 1 + 4


def test_a_method_that_fails_does_not_end_the_others(call, results, compared, monkeypatch):
    import bench_compare

    works = bench_compare.in_own_process

    def evaluate(*task):
        if task[2:5] == ("EstNet", ("logg",), 1):
            raise bench_compare.MethodError("ended without a result")
        return works(*task)

    monkeypatch.setattr(bench_compare, "in_own_process", evaluate)
    with pytest.raises(SystemExit, match=r"'EstNet', \('logg',\), 1.* failed"):
        call(bench_compare)
    assert len(compared) == 11
    assert not list(results.glob("*.csv"))
    monkeypatch.setattr(bench_compare, "in_own_process", works)
    call(bench_compare)
    assert compared[11:] == [("EstNet", "logg", 1)]


def test_an_interrupted_comparison_ends_its_process(monkeypatch):
    import multiprocessing
    import time

    import bench_compare

    def recv(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_compare, "evaluate", lambda *_: time.sleep(20))
    start = time.monotonic()
    monkeypatch.setattr("multiprocessing.connection.Connection.recv", recv)
    with pytest.raises(KeyboardInterrupt):
        bench_compare.in_own_process("embedded", None, "XGBoost", ("teff",), 0, False)
    assert not multiprocessing.active_children()
    assert time.monotonic() - start < 10


def test_the_parameters_of_all_grids_exist():
    from bench_compare import METHODS, search

    for name in METHODS.keys() - {"MiniRocket and ridge"}:
        for label in ("teff", "logg"):
            model, then = search(name, label, 0, quick=False)
            estimator = getattr(model, "estimator", model)
            for params in getattr(model, "param_grid", []):
                for key, values in params.items():
                    for value in values:
                        estimator.set_params(**{key: value})
                    assert_has(estimator, key)
            estimator.set_params(**then)


def assert_has(estimator, key):
    """Libraries of trees take parameters of any name, and ignore what they do not know."""
    *path, name = key.split("__")
    owner = estimator.get_params()["__".join(path)] if path else estimator
    known = {
        parameter
        for each in type(owner).__mro__[:-1]
        for parameter in inspect.signature(each.__init__).parameters
    }
    assert name in known | set(getattr(owner, "named_steps", [])), key


def test_a_method_that_fails_is_named(monkeypatch, capfd):
    import bench_compare

    def evaluate(*_):
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr(bench_compare, "evaluate", evaluate)
    with pytest.raises(RuntimeError, match=r"XGBoost.* ended without a result"):
        bench_compare.in_own_process("embedded", None, "XGBoost", ("teff",), 0, False)
    assert "of no use" in capfd.readouterr().err


def test_estnet_chooses_between_long_and_short_training_and_two_scalings():
    from bench_compare import search

    model, _ = search("EstNet", "teff", 0, quick=False)
    epochs = [one["regressor__regressor__max_epochs"] for one in model.param_grid]
    assert epochs == [[15], [8]]
    scalings = [[scale.method for scale in one["regressor__scale"]] for one in model.param_grid]
    assert scalings == [["standard", "median"]] * 2


def test_three_networks_are_chosen_for_with_one():
    from bench_compare import fit, search

    model, then = search("EstNet, three networks, both labels", "teff", 0, quick=False)
    assert model.estimator.regressor[-1].n_estimators == 1
    small = {f"regressor__regressor__estimator__{name}": 1 for name in ("max_epochs", "width")}
    model.estimator.set_params(**small)
    part = SimpleNamespace(X=np.random.default_rng(0).normal(1, 0.1, (12, 250)), y=np.ones((12, 2)))
    part.y[:] = np.transpose([np.linspace(1e4, 2e4, 12), np.linspace(7.5, 8.5, 12)])
    fitted, about = fit(model, then, part, part, [0, 1])
    assert len(fitted.regressor_[-1].estimators_) == 3
    assert "scale" in about["chosen"]


def test_a_search_for_both_labels_weighs_them_by_their_spread():
    from bench_compare import negative_error

    class Model:
        def predict(self, X):
            return X

    y = np.array([[1e4, 8.5], [3e4, 7.5]])  # spreads of 1e4 and 0.5
    assert negative_error(Model(), y + np.array([5000, 0]), y) == -0.25
    assert negative_error(Model(), y - np.array([0, 0.25]), y) == -0.25


def test_one_model_of_both_labels_has_a_row_for_each():
    from _reference import embedded
    from bench_compare import evaluate

    reference = embedded(None, 60).averaged(12)
    method = "MLP, fresh noise, both labels"
    rows = evaluate("embedded", reference, method, ("teff", "logg"), 0, True)
    assert [row["label"] for row in rows] == ["teff", "logg"]
    assert rows[0]["fit_s"] == rows[1]["fit_s"]
    for row, low, high in zip(rows, (3000, 6), (1e5, 10), strict=True):
        assert np.shape(row["estimates"]) == np.shape(row["true labels"]) == (6,)
        assert low < np.median(row["estimates"]) < high
        assert low < np.median(row["true labels"]) < high
        assert np.isfinite([row["MAE truth"], row["CRPS truth"], row["over bound"]]).all()


def test_both_labels_are_one_piece_of_work(call, compared, monkeypatch):
    import bench_compare

    pieces, works = [], bench_compare.in_own_process
    monkeypatch.setattr(
        bench_compare, "in_own_process", lambda *task: pieces.append(task[3]) or works(*task)
    )
    call(bench_compare, "--methods", "MLP, fresh noise, both labels", "XGBoost", "--seeds", "1")
    assert sorted(pieces) == [("logg",), ("teff",), ("teff", "logg")]
    assert len(compared) == 4


def fake_ablation():
    values = dict.fromkeys(("MAE", "RMSE", "MAPE", "ME", "CRPS", "fit_s"), 1.0)
    return [{"label": label, **values} for label in ("teff", "logg")]


@pytest.fixture
def ablated(monkeypatch):
    """Let the ablation run on nothing, with two variants."""
    import bench_ablation

    monkeypatch.setattr(bench_ablation, "evaluate", lambda *_: fake_ablation())
    monkeypatch.setattr(bench_ablation, "variants", lambda *_, **__: {"EstNet": 0, "without SE": 1})
    monkeypatch.setattr(bench_ablation, "split", lambda *_: ())
    monkeypatch.setattr(bench_ablation, "digest", str)
    monkeypatch.setitem(bench_ablation.REFERENCES, "embedded", lambda *_: NOTHING)


@pytest.mark.usefixtures("ablated")
def test_an_ablation_in_parts_ends_in_one_table(call, results):
    import bench_ablation

    call(bench_ablation, "--seeds", "2", "1")
    assert not list(results.glob("*.csv"))
    call(bench_ablation)
    text = (results / "ablation_embedded.csv").read_text()
    assert text.count("without SE") == 6
    assert text.count("embedded,325") == 12
    assert (results / "ablation_embedded.png").exists()


@pytest.mark.usefixtures("ablated")
def test_an_ablation_adds_to_the_saved_table(call, results, monkeypatch):
    import bench_ablation

    monkeypatch.setattr("_results._commit", lambda: "12e4567890")  # could be read as a number
    call(bench_ablation, "--keep", "--seeds", "1")
    for path in results.glob("*.jsonl"):
        path.unlink()  # as a new checkout has none
    worked = []
    monkeypatch.setattr(bench_ablation, "evaluate", lambda *_: worked.append(1) or fake_ablation())
    call(bench_ablation, "--keep", "--seeds", "0", "1")
    assert len(worked) == 2
    columns, *rows = lines_of(results / "ablation_embedded.csv")
    assert "".join(row[columns.index("seed")] for row in rows) == "00110011"
    assert {row[columns.index("commit")] for row in rows} == {"12e4567890"}


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
