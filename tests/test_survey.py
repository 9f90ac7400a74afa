"""predict_survey: catalogues that are complete, also after kills, and the same in all formats."""

import os
import subprocess
import sys
import textwrap
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from sklearn.linear_model import BayesianRidge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet import OutOfDomainDetector, load, predict_dist, predict_survey, save
from skestnet.__main__ import run
from skestnet.spectra import Spectra, estimate_snr, lamost_grid, usable_spectra

GRID = np.linspace(4000.0, 4009.0, 10)
ERRORS = "ignore:.* errors beside .* spectra:UserWarning"


class Killed(BaseException):
    """What stands for a kill: no handler of the package may stop it."""


class Recorder(BayesianRidge):
    """Remember how many spectra were predicted at a time."""

    def predict(self, X, return_std=False):
        self.__dict__.setdefault("seen", []).append(len(X))
        return super().predict(X, return_std=return_std)


class NoNegative(BayesianRidge):
    """Refuse spectra that begin below zero."""

    def predict(self, X, return_std=False):
        if (X[:, 0] < 0).any():
            raise ValueError("A spectrum begins below zero.")
        return super().predict(X, return_std=return_std)


@pytest.fixture(scope="module", name="X")
def flux_matrix():
    return 1 + 0.1 * np.random.default_rng(0).normal(size=(53, GRID.size))


@pytest.fixture(scope="module")
def model(X):
    return BayesianRidge().fit(X, 1e4 * X[:, 0])


@pytest.fixture(scope="module")
def files(X, tmp_path_factory):
    """Seven files of one spectrum, one of three, one that is damaged and one that is absent."""
    folder = tmp_path_factory.mktemp("spectra")
    paths = []
    for k, flux in enumerate(X[:7]):
        paths.append(folder / f"star{k}.csv")
        rows = "".join(f"{w},{f},0.1\n" for w, f in zip(GRID, flux, strict=True))
        paths[-1].write_text("wave,flux,err\n" + rows)
    paths.insert(2, folder / "three.npz")
    np.savez(paths[2], wavelength=GRID, flux=X[7:10], ivar=np.full((3, GRID.size), 100.0))
    (folder / "damaged.fits").write_bytes(b"SIMPLE  = nothing")
    return [*paths[:4], folder / "damaged.fits", *paths[4:], folder / "absent.fits"]


def survey(model, data, out, **params):
    """Run quietly, in small parts."""
    return predict_survey(model, data, out, **{"chunk_size": 4, "verbose": 0} | params)


def tables(out):
    """Return the columns of catalogue and errors as plain lists."""
    paths = out, out.with_name(f"{out.stem}_errors{out.suffix}")
    if out.suffix == ".fits":
        read = [Table.read(path, mask_invalid=False) for path in paths]
        return [{name: table[name].tolist() for name in table.colnames} for table in read]
    parquet = pytest.importorskip("pyarrow.parquet")
    return [parquet.read_table(path).to_pydict() for path in paths]


def everything_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# What is in the tables


def test_array_gives_the_distributions_of_its_rows(X, model, tmp_path):
    out = survey(model, X, tmp_path / "stars.fits", label_names="teff", confidence=(0.68, 0.954))
    assert out == tmp_path / "stars.fits"
    stars, errors = tables(out)
    dist = predict_dist(model, X)
    low, high = dist.interval(0.954)
    assert stars["row"] == list(range(len(X)))
    expected = {
        "snr": estimate_snr(X),
        "teff": dist.mean(),
        "teff_std": dist.std(),
        "teff_lower68": dist.interval(0.68)[0],
        "teff_upper68": dist.interval(0.68)[1],
        "teff_lower95_4": low,
        "teff_upper95_4": high,
    }
    assert list(stars) == ["row", *expected]
    for name, values in expected.items():
        np.testing.assert_allclose(stars[name], values, rtol=1e-10, err_msg=name)
    assert errors == {"row": [], "reason": []}


@pytest.mark.filterwarnings(ERRORS)
def test_files_give_the_spectra_that_they_hold(X, files, model, tmp_path):
    stars, errors = tables(survey(model, files, tmp_path / "stars.fits", wavelength=GRID))
    order = [0, 1, 7, 8, 9, *range(2, 7)]
    np.testing.assert_allclose(stars["label"], predict_dist(model, X[order]).mean(), rtol=1e-5)
    names = [Path(name).name for name in stars["file"]]
    assert names[:6] == ["star0.csv", "star1.csv", *["three.npz"] * 3, "star2.csv"]
    assert stars["row"] == [0, 0, 0, 1, 2, *[0] * 5]
    assert stars["obsid"][2:5] == ["0", "1", "2"]
    np.testing.assert_allclose(stars["snr"], estimate_snr(X[order]), rtol=1e-4)
    assert [Path(name).name for name in errors["file"]] == ["damaged.fits", "absent.fits"]
    assert errors["row"] == [-1, -1]
    assert "damaged FITS file" in errors["reason"][0]
    assert "does not exist" in errors["reason"][1]


@pytest.mark.filterwarnings(ERRORS)
def test_fits_and_parquet_hold_the_same(files, model, tmp_path):
    pytest.importorskip("pyarrow")
    one = tables(survey(model, files, tmp_path / "stars.fits", wavelength=GRID))
    other = tables(survey(model, files, tmp_path / "stars.parquet", wavelength=GRID))
    for a, b in zip(one, other, strict=True):
        assert list(a) == list(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.filterwarnings(ERRORS)
def test_processes_change_nothing_and_chunks_only_rounding(files, model, tmp_path):
    one = survey(model, files, tmp_path / "one.fits", wavelength=GRID, chunk_size=1)
    own = {"prepare": lambda spectra: spectra.to_matrix(GRID), "n_jobs": 2}
    two = survey(model, files, tmp_path / "two.fits", **own, chunk_size=1)
    assert one.read_bytes() == two.read_bytes()
    more = survey(model, files, tmp_path / "more.fits", wavelength=GRID, chunk_size=100)
    (stars, errors), (others, same) = tables(one), tables(more)
    assert errors == same
    assert stars["obsid"] == others["obsid"]
    np.testing.assert_allclose(stars["label"], others["label"], rtol=1e-12)


@pytest.mark.parametrize("suffix", [".fits", ".parquet"])
def test_nothing_but_errors(tmp_path, model, suffix):
    with pytest.warns(UserWarning, match="1 errors beside 0 spectra"):
        out = survey(model, "absent.fits", tmp_path / f"stars{suffix}", wavelength=GRID)
    stars, errors = tables(out)
    assert stars == {"file": [], "row": []}
    assert len(errors["reason"]) == 1


def test_names_that_are_not_ascii(X, model, tmp_path):
    file = tmp_path / "étoile.npz"
    np.savez(file, wavelength=GRID, flux=X[0], ivar=np.ones(GRID.size))
    stars, _ = tables(survey(model, file, tmp_path / "stars.fits", wavelength=GRID))
    assert stars["file"] == [str(file).replace("é", "\\xe9")]
    parquet = tmp_path / "stars.parquet"
    pytest.importorskip("pyarrow")
    assert tables(survey(model, file, parquet, wavelength=GRID))[0]["file"] == [str(file)]


def test_two_labels_and_a_detector(X, tmp_path):
    y = np.column_stack([X[:, 0], X[:, 1]])
    model = make_pipeline(StandardScaler(), MultiOutputRegressor(BayesianRidge())).fit(X, y)
    detector = OutOfDomainDetector(random_state=0).fit(X)
    strange = np.vstack([X[:5], X[:5] + 100])
    out = tmp_path / "stars.fits"
    stars, _ = tables(survey(model, strange, out, label_names=["a", "b"], detector=detector))
    assert stars["out_of_domain"] == (detector.predict(strange) == -1).tolist()
    assert stars["out_of_domain"][5:] == [True] * 5
    np.testing.assert_allclose(stars["domain_margin"], detector.decision_function(strange))
    np.testing.assert_allclose(stars["b"], predict_dist(model, strange).mean()[:, 1])
    stars, _ = tables(survey(model, strange, tmp_path / "other.fits"))
    assert [name for name in stars if name.endswith("_std")] == ["label_0_std", "label_1_std"]


def test_parameters_reach_the_model(fitted, lines, tmp_path):
    X, _ = lines
    stars, _ = tables(survey(fitted, X, tmp_path / "stars.fits", n_draws=7, random_state=3))
    dist = predict_dist(fitted, X, n_draws=7, random_state=3)
    np.testing.assert_allclose(stars["label_lower68"], dist.interval(0.68)[0], rtol=1e-5)


@pytest.mark.parametrize("n_draws", [20])
def test_draws_of_a_network_do_not_depend_on_the_chunks(fitted_two, lines, tmp_path, n_draws):
    X, _ = lines
    one = survey(fitted_two, X, tmp_path / "one.fits", n_draws=n_draws, chunk_size=30)
    two = survey(fitted_two, X, tmp_path / "two.fits", n_draws=n_draws, chunk_size=7)
    assert one.read_bytes() == two.read_bytes()


# What is left out


def test_spectra_that_the_model_refuses_do_not_stop_the_others(X, tmp_path):
    model = NoNegative().fit(X, X[:, 1])
    data = X.copy()
    data[[2, 3, 20], 0] = -1
    data[5] = np.nan
    data[6, 3] = np.inf
    data[7, 3] = np.nan
    with pytest.warns(UserWarning, match="6 errors beside 47 spectra") as caught:
        out = survey(model, data, tmp_path / "stars.fits", chunk_size=15)
    assert len(caught) == 1
    stars, errors = tables(out)
    reasons = dict(zip(errors["row"], errors["reason"], strict=True))
    assert reasons.keys() == {2, 3, 5, 6, 7, 20}
    assert sorted([*stars["row"], *reasons]) == list(range(len(X)))
    assert reasons[2] == reasons[3] == reasons[20] == "A spectrum begins below zero."
    assert reasons[5] == "No pixel has a flux."
    assert reasons[6] == "The flux of a pixel is infinite."
    assert "NaN" in reasons[7]
    kept = stars["row"]
    np.testing.assert_allclose(stars["label"], predict_dist(model, data[kept]).mean())


def no_zeros(spectra):
    return usable_spectra(np.stack(spectra.flux) if isinstance(spectra, Spectra) else spectra)


@pytest.mark.filterwarnings(ERRORS)
def test_cuts_give_their_reasons(X, model, files, tmp_path):
    data = X.copy()
    data[4, 2:8] = 0
    out = survey(model, data, tmp_path / "array.fits", select=usable_spectra)
    assert tables(out)[1] == {"row": [4], "reason": ["consecutive zeros"]}
    np.savez(tmp_path / "two.npz", wavelength=GRID, flux=data[3:5], ivar=np.ones((2, GRID.size)))
    paths = [tmp_path / "two.npz", *files[:2]]
    out = survey(model, paths, tmp_path / "files.fits", select=no_zeros, wavelength=GRID)
    stars, errors = tables(out)
    assert len(stars["file"]) == 3
    assert errors["row"] == [1]
    assert errors["reason"] == ["consecutive zeros"]


@pytest.mark.filterwarnings(ERRORS)
def test_a_file_whose_first_spectra_are_refused(X, tmp_path):
    model = NoNegative().fit(X, X[:, 1])
    flux = X[:6].copy()
    flux[[0, 1, 4], 0] = -1
    np.savez(tmp_path / "six.npz", wavelength=GRID, flux=flux, ivar=np.ones(flux.shape))
    out = survey(model, tmp_path / "six.npz", tmp_path / "a.fits", wavelength=GRID, chunk_size=2)
    stars, errors = tables(out)
    assert stars["row"] == [2, 3, 5]
    assert errors["row"] == [0, 1, 4]
    np.testing.assert_allclose(stars["label"], predict_dist(model, X[[2, 3, 5]]).mean(), rtol=1e-5)


@pytest.mark.filterwarnings(ERRORS)
def test_prepare_may_refuse_spectra(model, files, tmp_path):
    def prepare(spectra):
        flux = spectra.to_matrix(GRID)
        if (flux[:, 0] < 1).any():
            raise ValueError("too faint")
        return flux

    stars, errors = tables(survey(model, files[:4], tmp_path / "stars.fits", prepare=prepare))
    assert set(errors["reason"]) == {"too faint"}
    assert len(stars["row"]) + len(errors["row"]) == 6
    assert min(stars["label"]) >= 0.99e4


def test_a_model_that_takes_nothing_stops_the_run(X, tmp_path):
    model = NoNegative().fit(X, X[:, 1])
    with pytest.raises(ValueError, match=r"takes none of the first 53 spectra.*begins below"):
        survey(model, X - 5, tmp_path / "stars.fits", chunk_size=60)


def test_predictions_that_are_not_finite_are_errors(X, tmp_path):
    class Sometimes(BayesianRidge):
        def predict(self, X, return_std=False):
            mean, std = super().predict(X, return_std=return_std)
            return np.where(X[:, 0] > 1, np.nan, mean), std

    bad = np.flatnonzero(X[:, 0] > 1).tolist()
    with pytest.warns(UserWarning, match="26 errors beside 27 .*NaN or inf"):
        out = survey(Sometimes().fit(X, X[:, 1]), X, tmp_path / "stars.fits")
    assert tables(out)[1]["row"] == bad


# Memory


def test_no_more_than_a_chunk_is_predicted_at_a_time(X, files, tmp_path):
    model = Recorder().fit(X, X[:, 0])
    survey(model, X, tmp_path / "array.fits", chunk_size=10)
    assert model.seen == [10] * 5 + [3]
    model.seen.clear()
    survey(model, files[:4], tmp_path / "files.fits", wavelength=GRID, chunk_size=2)
    assert sum(model.seen) == 6
    assert max(model.seen) == 2


def test_rows_of_a_memmap_are_read_as_they_are_needed(X, model, tmp_path):
    file = tmp_path / "X.npy"
    np.save(file, X.astype(">f4"))
    out = survey(model, np.load(file, mmap_mode="r"), tmp_path / "stars.fits")
    np.testing.assert_allclose(tables(out)[0]["label"], model.predict(X), rtol=1e-5)
    changed = np.load(file, mmap_mode="c")
    changed[:] = 1
    survey(model, changed, tmp_path / "stars.fits", overwrite=True)
    assert (changed == 1).all()


def test_memory_does_not_grow_with_the_number_of_spectra(tmp_path):
    n_pixels, peaks = 50, []
    wide = np.random.default_rng(0).normal(size=(32_000, n_pixels))
    model = BayesianRidge().fit(wide[:200], wide[:200, 0])
    np.save(tmp_path / "X.npy", wide)
    data = np.load(tmp_path / "X.npy", mmap_mode="r")
    for n_spectra in (2_000, 4_000, 32_000):  # the first call imports and fills caches
        tracemalloc.start()
        survey(model, data[:n_spectra], tmp_path / f"{n_spectra}.fits", chunk_size=1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.05 * peaks[1]


# Kills


def crash_points(monkeypatch, at, after):
    """Let the `at`-th change of the file system be the last, or the first that is not done."""
    calls = [0]

    def watched(owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            calls[0] += 1
            is_last = calls[0] == at
            if is_last and not after:
                raise Killed
            result = original(*args, **kwargs)
            if is_last:
                raise Killed
            return result

        monkeypatch.setattr(owner, name, call)

    for owner, name in [(os, "replace"), (os, "fsync"), (np, "savez")]:
        watched(owner, name)
    for name in ("unlink", "mkdir", "rmdir", "write_text"):
        watched(Path, name)


@pytest.mark.filterwarnings(ERRORS)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("old", [{}, {"stars.fits": b"old", "stars_errors.fits": b"old"}])
def test_resumed_after_a_kill_at_any_change_of_the_file_system(X, model, tmp_path, after, old):
    whole = tmp_path / "whole"
    whole.mkdir()
    data = X[:11].copy()
    data[[0, 5]] = np.nan
    survey(model, data, whole / "stars.fits")
    n_kills, finished = 0, []
    for at in range(1, 100):
        folder = tmp_path / f"killed{at}"
        folder.mkdir()
        for name, content in old.items():
            (folder / name).write_bytes(content)
        with pytest.MonkeyPatch.context() as monkeypatch:
            crash_points(monkeypatch, at, after)
            try:
                survey(model, data, folder / "stars.fits", overwrite=bool(old))
                break
            except Killed:
                n_kills += 1
        for name in old:
            assert (folder / name).read_bytes() in (b"old", (whole / name).read_bytes())
        try:
            survey(model, data, folder / "stars.fits", overwrite=bool(old))
        except FileExistsError:
            finished.append(at)  # nothing but an empty folder was left
        assert everything_in(folder) == everything_in(whole)
    assert n_kills > 20
    assert set(finished) <= {n_kills - after, n_kills}


SCRIPT = """
    import os, random, signal, threading, time, warnings
    import numpy as np
    from sklearn.linear_model import BayesianRidge
    from tqdm import tqdm
    from skestnet import predict_survey

    # Its own lock is shared by forks, and stays locked by one that is killed while it holds it.
    tqdm.set_lock(threading.RLock())

    class Slow(BayesianRidge):
        def predict(self, X, return_std=False):
            time.sleep(0.005)
            return super().predict(X, return_std=return_std)

    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).normal(size=(200, 8))
    model = Slow().fit(X, X[:, 0])
    X[::7] = np.nan

    def run(name):
        predict_survey(model, X, f"{name}.fits", chunk_size=10, verbose=0)

    def finished(name):
        return os.path.exists(f"{name}.fits") and not os.path.exists(f"{name}.fits.parts")

    run("whole")
    random.seed(0)
    n_kills = k = 0
    while n_kills < 30:
        k += finished(f"killed{k}")
        if (child := os.fork()) == 0:
            run(f"killed{k}")
            os._exit(0)
        time.sleep(random.uniform(0, 0.15))
        os.kill(child, signal.SIGKILL)
        n_kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if not finished(f"killed{k}"):
        run(f"killed{k}")
    print(k + 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks, which elsewhere is not safe")
def test_thirty_kills_leave_the_catalogue_of_a_run_without(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    done = subprocess.run(command, cwd=tmp_path, check=True, timeout=120, stdout=subprocess.PIPE)
    n_resumed = int(done.stdout)
    assert n_resumed < 20  # most kills met a run that had not finished
    names = ["whole", *(f"killed{k}" for k in range(n_resumed))]
    found = everything_in(tmp_path)
    assert found.keys() == {f"{name}{end}.fits" for name in names for end in ("", "_errors")}
    for end in (".fits", "_errors.fits"):
        assert len({found[name + end] for name in names}) == 1
    stars, errors = tables(tmp_path / "whole.fits")
    assert sorted(stars["row"] + errors["row"]) == list(range(200))


def stop_after(monkeypatch, n_parts, error=Killed):
    """Let a run end after some parts."""
    original, written = np.savez, []

    def savez(*args, **kwargs):
        if len(written) == n_parts:
            raise error
        written.append(original(*args, **kwargs))

    monkeypatch.setattr(np, "savez", savez)


@pytest.fixture
def begun(X, model, tmp_path):
    """Begin a run of which two parts are finished."""
    out = tmp_path / "stars.fits"
    detector = OutOfDomainDetector(random_state=0).fit(X)
    arguments = {"label_names": ["teff"], "detector": detector}
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 2)
        with pytest.raises(Killed):
            survey(model, X, out, **arguments)
    assert not out.exists()
    return out, arguments


def test_finished_parts_are_not_done_again(X, begun):
    out, arguments = begun
    recorder = Recorder().fit(X, 1e4 * X[:, 0])
    survey(recorder, X, out, **arguments)
    assert sum(recorder.seen) == len(X) - 2 * 4 + 4  # the first part is the probe
    assert tables(out)[0]["row"] == list(range(len(X)))


def other_model(X):
    return BayesianRidge().fit(X, 1e4 * X[:, 0] + np.linspace(-1, 1, len(X)) * 100)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"label_names": ["logg"]}, r"label_names \(\['teff'\], now \['logg'\]\)"),
        ({"confidence": 0.9}, r"confidence \(.*, now \[0.9\]\)"),
        ({"chunk_size": 5}, r"chunk_size \(4, now 5\)"),
        ({"detector": None}, r"detector \('OutOfDomainDetector', now None\)"),
        ({"select": usable_spectra}, "select"),
        ({"n_draws": 3}, r"further parameters \({}, now {'n_draws': '3'}\)"),
    ],
)
def test_parts_of_another_run_are_refused_by_name(X, model, begun, change, name):
    out, arguments = begun
    with pytest.raises(ValueError, match=rf"different are {name}\. Choose"):
        survey(model, X, out, **arguments | change)


def test_a_call_that_was_refused_is_in_nobodys_way(X, model, tmp_path):
    out = tmp_path / "stars.fits"
    with pytest.raises(ValueError, match="expected a name for each"):
        survey(model, X, out, label_names=["teff", "logg"])
    survey(model, X, out, label_names=["teff"])
    assert len(tables(out)[0]["row"]) == len(X)


def test_matrices_of_zarr(X, model, tmp_path):
    zarr = pytest.importorskip("zarr", reason="needs Zarr: pip install zarr")
    zarr.create_array(tmp_path / "spectra.zarr", data=X, chunks=(7, 10))
    stored = zarr.open_array(tmp_path / "spectra.zarr", mode="r")
    out = survey(model, stored, tmp_path / "stars.fits", chunk_size=10)
    same = survey(model, X, tmp_path / "same.fits", chunk_size=10)
    assert out.read_bytes() == same.read_bytes()
    truth = zarr.create_array(tmp_path / "truth.zarr", data=X > 1)
    with pytest.raises(ValueError, match="expected real numbers"):
        survey(model, truth, tmp_path / "truth.fits")


def test_detectors_that_are_none(X, model, tmp_path):
    with pytest.raises(TypeError, match="detector is a BayesianRidge, which has no decision_fun"):
        survey(model, X, tmp_path / "stars.fits", detector=model)
    assert list(tmp_path.iterdir()) == []


def test_parts_of_other_data_a_model_or_a_detector_are_refused(X, model, begun):
    out, arguments = begun
    with pytest.raises(ValueError, match=r"different are data\."):
        survey(model, X[:-1], out, **arguments)
    with pytest.raises(ValueError, match=r"different are the model\."):
        survey(other_model(X), X, out, **arguments)
    other = OutOfDomainDetector(random_state=0).fit(X + 0.01)
    with pytest.raises(ValueError, match=r"different are the detector\."):
        survey(model, X, out, **arguments | {"detector": other})
    survey(other_model(X), X, out, **arguments, overwrite=True)
    np.testing.assert_allclose(tables(out)[0]["teff"], other_model(X).predict(X))


@pytest.mark.filterwarnings(ERRORS)
def test_parts_of_other_files_or_another_grid_are_refused(files, model, tmp_path, monkeypatch):
    out = tmp_path / "stars.fits"
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Killed):
            survey(model, files, out, wavelength=GRID)
    with pytest.raises(ValueError, match=r"different are data\."):
        survey(model, files[1:], out, wavelength=GRID)
    with pytest.raises(ValueError, match=r"different are wavelength or prepare\."):
        survey(model, files, out, wavelength=GRID + 0.1)
    method = partial(Spectra.to_matrix, grid=GRID, method="flux-conserving")
    with pytest.raises(ValueError, match=r"different are wavelength or prepare\."):
        survey(model, files, out, prepare=method)
    survey(model, files, out, wavelength=GRID)


def test_functions_without_a_name_are_known_by_what_they_do(files, model, tmp_path, monkeypatch):
    out = tmp_path / "stars.fits"
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Killed):
            survey(model, files[:4], out, prepare=lambda s: s.to_matrix(GRID), chunk_size=2)
    with pytest.raises(ValueError, match="different are the spectra, or what is made of them"):
        survey(model, files[:4], out, prepare=lambda s: s.to_matrix(GRID) ** 2, chunk_size=2)


def test_files_of_others_are_not_removed(X, model, tmp_path):
    folder = tmp_path / "stars.fits.parts"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match=r"stars\.fits\.parts"):
        survey(model, X, tmp_path / "stars.fits")
    assert (folder / "notes.txt").exists()


def test_ctrl_c_says_how_to_go_on(X, model, tmp_path, monkeypatch):
    out = tmp_path / "stars.fits"
    with monkeypatch.context() as patch:
        stop_after(patch, 3, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt, match=r"stars\.fits\.parts: the same call goes on"):
            survey(model, X, out)
    survey(model, X, out)
    assert [path.name for path in tmp_path.iterdir() if path != out] == ["stars_errors.fits"]


def test_progress_counts_what_was_done_before(X, model, begun, capsys):
    out, arguments = begun
    survey(model, X, out, **arguments, verbose=1)
    shown = capsys.readouterr().err
    assert "8/53" in shown
    assert "53/53" in shown
    assert "spectrum/s" in shown
    survey(model, X, out, **arguments, overwrite=True)
    assert capsys.readouterr().err == ""


# Arguments


def test_existing_tables_are_not_replaced_unasked(X, model, tmp_path):
    out = survey(model, X, tmp_path / "stars.fits")
    before = everything_in(tmp_path)
    with pytest.raises(FileExistsError, match=r"stars\.fits and .*stars_errors\.fits exist"):
        survey(model, X, out)
    assert everything_in(tmp_path) == before
    survey(other_model(X), X, out, overwrite=True)
    assert everything_in(tmp_path).keys() == before.keys()
    assert everything_in(tmp_path) != before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"out": "stars.csv"}, r"ends in one of \.fits, \.parquet"),
        ({"confidence": 1.0}, r"confidence=1\.0: expected a number in \(0, 1\)"),
        ({"confidence": []}, "or several"),
        ({"confidence": [0.68, 0.68]}, "two columns label_lower68, label_upper68"),
        ({"label_names": ["snr"]}, "two columns snr"),
        ({"label_names": ["a", "b"]}, r"label_names=\('a', 'b'\), but the model predicts 1"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"wavelength": GRID}, "are for files, but data is an array"),
        ({"data": ["a.fits"]}, "neither was passed"),
        ({"data": ["a.fits"], "wavelength": GRID, "prepare": len}, "each was passed"),
        ({"data": []}, "data is empty"),
        ({"data": np.ones(3)}, r"array of shape \(3,\) and type float64"),
        ({"data": np.ones((3, 4))}, "Spectra of 4 pixels, but the model was fitted to 10"),
    ],
)
def test_arguments_that_are_refused(X, model, tmp_path, params, message):
    arguments = {"data": X, "out": "stars.fits"} | params
    arguments["out"] = tmp_path / arguments["out"]
    with pytest.raises(ValueError, match=message):
        survey(model, **arguments)


def test_spectra_are_to_be_made_a_matrix_first(X, model, tmp_path):
    with pytest.raises(TypeError, match="to_matrix"):
        survey(model, Spectra.from_matrix(GRID, X), tmp_path / "stars.fits")


def test_prepare_has_to_return_a_matrix(model, files, tmp_path):
    with pytest.raises(TypeError, match=r"shape \(3, 10\) for 1 spectra: expected a matrix"):
        survey(
            model,
            files[:2],
            tmp_path / "stars.fits",
            prepare=lambda s: np.tile(s.to_matrix(GRID), (3, 1)),
        )


def test_parquet_without_pyarrow(X, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "skestnet\[benchmark\]"'):
        survey(model, X, tmp_path / "stars.parquet")


# The command line


@pytest.fixture
def saved(X, tmp_path):
    """Save a pipeline for the grid of the files, and the grid."""
    pytest.importorskip("skops")
    pytest.importorskip("safetensors")
    y = np.column_stack([X[:, 0], X[:, 1]])
    model = make_pipeline(StandardScaler(), MultiOutputRegressor(BayesianRidge())).fit(X, y)
    save(model, tmp_path / "model")
    save(OutOfDomainDetector(random_state=0).fit(X), tmp_path / "detector")
    np.savetxt(tmp_path / "grid.txt", GRID)
    np.save(tmp_path / "grid.npy", GRID)
    return model


@pytest.mark.filterwarnings(ERRORS)
@pytest.mark.parametrize("grid", ["grid.txt", "grid.npy"])
def test_command_line(saved, files, tmp_path, monkeypatch, grid):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("\n\n".join(map(str, files)) + "\n\n")
    command = "predict model @list.txt --out stars.fits --labels teff,logg --confidence 0.68,0.95"
    run([*command.split(), "--detector", "detector", "--wavelength", grid, "--quiet"])
    wanted = {"label_names": ["teff", "logg"], "confidence": (0.68, 0.95), "wavelength": GRID}
    detector = load("detector")
    survey(saved, map(str, files), tmp_path / "same.fits", detector=detector, **wanted)
    assert Path("stars.fits").read_bytes() == Path("same.fits").read_bytes()
    assert Path("stars_errors.fits").read_bytes() == Path("same_errors.fits").read_bytes()


@pytest.mark.usefixtures("saved")
def test_command_line_says_what_is_wrong(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["predict", "model", str(files[0]), "--wavelength", "grid.npy", "--quiet"]
    for out, message in [("stars.csv", "ends in one of"), ("stars.fits", None)]:
        if message is None:
            run([*arguments, "--out", out])
            message = "stars_errors.fits exist(s)"
        with pytest.raises(SystemExit) as stopped:
            run([*arguments, "--out", out])
        assert stopped.value.code == 1
        assert message in capsys.readouterr().err
    stop_after(monkeypatch, 0, KeyboardInterrupt)
    with pytest.raises(SystemExit) as stopped:
        run([*arguments, "--out", "other.fits"])
    assert stopped.value.code == 130
    assert "the same call goes on from there" in capsys.readouterr().err


@pytest.mark.filterwarnings("always::UserWarning")
@pytest.mark.usefixtures("saved")
def test_command_line_is_for_people(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("no.txt").write_text("no numbers")
    own = ["predict", "model", "--out", "stars.fits", "--quiet"]
    wrong = {
        "no.txt is no list of wavelengths": f"{files[0]} --wavelength no.txt",
        "detector is a Pipeline": f"{files[0]} --wavelength grid.npy --detector model",
        "stars.fits has no rows": "absent.fits --wavelength grid.npy",
    }
    for message, arguments in wrong.items():
        with pytest.raises(SystemExit) as stopped:
            run([*own, *arguments.split()])
        assert stopped.value.code == 1
        *told, last = capsys.readouterr().err.splitlines()
        assert last.startswith("python -m skestnet: ")
        assert message in last
    assert told[0].startswith("python -m skestnet: 1 errors beside 0 spectra")
    assert len(told) == 1


def test_command_line_is_there():
    command = [sys.executable, "-m", "skestnet", "predict", "--help"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "--wavelength GRID" in shown.stdout


# Real files


@pytest.mark.filterwarnings(ERRORS)
def test_real_files_of_three_surveys(data_dir, tmp_path):
    paths = sorted((data_dir / "fits").glob("*.fits*"))
    grid = lamost_grid(200)
    model = BayesianRidge().fit(np.random.default_rng(0).normal(size=(50, 200)), np.arange(50))
    stars, errors = tables(survey(model, paths, tmp_path / "stars.fits", wavelength=grid))
    named = set(stars["file"]) | set(errors["file"])
    assert named == {str(path) for path in paths}
    assert len(stars["file"]) + len(errors["file"]) == 20  # DESI has five
    assert len(stars["file"]) > 5
    assert np.isfinite(stars["ra"]).sum() > 5
