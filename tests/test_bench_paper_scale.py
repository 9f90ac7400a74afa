"""bench_paper_scale.py runs to its end in its quick mode, and its table keeps earlier rows."""

from argparse import Namespace
from pathlib import Path

import pytest

from skestnet import load
from skestnet._callbacks import StageLog

ROOT = Path(__file__).parent.parent
SIZE = {"data": "embedded", "label": "teff", "depth": 34, "width": 8, "pixels": 977}
KEY = {**SIZE, "max_epochs": 100, "batch_size": 32, "seed": 0}


@pytest.mark.slow
@pytest.mark.usefixtures("paper_scale")
def test_quick(run_benchmark):
    pytest.importorskip("skops")
    before = sorted((ROOT / "benchmarks" / "results").glob("paper_scale*"))
    done = run_benchmark("bench_paper_scale.py", "--quick")
    columns, *lines = (line.split() for line in done.stdout.splitlines()[-3:])
    assert columns[:8] == list(KEY)
    found = [dict(zip(columns, line, strict=False)) for line in lines]
    assert [row["label"] for row in found] == ["teff", "logg"]
    assert all((row["depth"], row["width"], row["pixels"]) == ("12", "2", "325") for row in found)
    assert "stage 2" in done.stderr
    assert sorted((ROOT / "benchmarks" / "results").glob("paper_scale*")) == before


@pytest.fixture
def paper_scale(monkeypatch, compared_libraries):  # noqa: ARG001
    """Module of the benchmark."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import bench_paper_scale

    return bench_paper_scale


def _arguments(**params):
    settings = {"width": 64, "depth": None, "epochs": 100, "batch_size": 32, "seed": 0}
    return Namespace(**{**settings, **params})


def test_it_is_the_paper_s_network_unless_asked_otherwise(paper_scale):
    for label, depth, dropout in (("teff", 34, 0.6), ("logg", 66, 0.75)):
        network = paper_scale.build(label, _arguments())
        assert (network.depth, network.width, network.dropout) == (depth, 64, dropout)
        assert network.noise == "none"
        assert paper_scale.build(label, _arguments(depth=12)).depth == 12
    steps = paper_scale.model_of("teff", network).regressor
    assert steps[-1] is network
    assert type(steps.named_steps["scale"]).__name__ == "FluxScaler"
    steps = paper_scale.model_of("logg", network)
    assert type(steps.named_steps["scale"]).__name__ == "ContinuumNormalizer"


@pytest.fixture
def results(paper_scale, tmp_path, monkeypatch):
    """Folder that takes the place of results/."""
    import _results

    monkeypatch.setattr(_results, "RESULTS", tmp_path)
    monkeypatch.setattr(paper_scale, "RESULTS", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_an_interrupted_training_gives_no_row_and_goes_on(paper_scale, results, monkeypatch):
    pytest.importorskip("skops")
    command = "--labels teff --width 2 --depth 12 --averaged 12 --epochs 2 --batch-size 16"
    monkeypatch.setattr("sys.argv", ["bench_paper_scale.py", *command.split()])
    monkeypatch.setitem(paper_scale.N_SPECTRA, "embedded", 100)
    monkeypatch.setattr(paper_scale, "announce", lambda *_: None)
    table = results / "paper_scale_embedded.csv"
    with monkeypatch.context() as patch:
        patch.setattr("skestnet._callbacks.StageLog.on_epoch_end", _ctrl_c_in_epoch(4))
        with pytest.raises(SystemExit, match="the same command goes on"):
            paper_scale.main()
    assert not table.exists()
    (checkpoint,) = results.glob("*.checkpoint")
    assert len(load(checkpoint).history_) == 3

    paper_scale.main()
    (row,) = paper_scale.saved(table)
    assert (row["epochs stage 1"], row["epochs stage 2"]) == ("2", "2")
    for path in results.glob("*.jsonl"):
        path.unlink()
    judge, seen = paper_scale.judge, []
    monkeypatch.setattr(paper_scale, "judge", lambda *a: seen.append(a) or judge(*a))
    paper_scale.main()  # from the finished checkpoint: even the seconds are the same
    paper_scale.main()  # from the progress file
    assert len(seen) == 1
    assert paper_scale.saved(table) == [row]


def _ctrl_c_in_epoch(number):
    epochs, original = [], StageLog.on_epoch_end

    def on_epoch_end(self, net, **kwargs):
        epochs.append(1)
        if len(epochs) == number:
            raise KeyboardInterrupt
        original(self, net, **kwargs)

    return on_epoch_end


def test_the_table_keeps_rows_of_other_sizes(paper_scale, results):
    small = {**KEY, "MAE truth": 3000.5, "device": "CPU, 2 cores"}
    other_label = {**small, "label": "logg", "depth": 66}
    paper_scale.save("embedded", [other_label, small])
    wide = {**small, "width": 64, "pixels": 3909, "MAE truth": 2000.0, "device": "GPU"}
    again = {**small, "MAE truth": 2900.0}
    paper_scale.save("embedded", [wide, again])  # as from a progress file of another machine
    rows = paper_scale.saved(results / "paper_scale_embedded.csv")
    assert [(r["label"], r["width"], r["MAE truth"], r["device"]) for r in rows] == [
        ("teff", "8", "2900", "CPU, 2 cores"),
        ("teff", "64", "2000", "GPU"),
        ("logg", "8", "3000.5", "CPU, 2 cores"),
    ]
