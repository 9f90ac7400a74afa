import sys

import numpy as np
import pytest
from astropy import units as u
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skestnet.inspection import saliency
from skestnet.plotting import SaliencyDisplay
from skestnet.plotting._shared import PALETTE

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import same_color  # noqa: E402

N_SAMPLES, N_PIXELS = 7, 50
WAVELENGTH = np.linspace(4000, 8000, N_PIXELS)
NAMES = ("Teff (K)", "log g (dex)")
RNG = np.random.default_rng(0)
TWO = RNG.uniform(0, 5, (N_SAMPLES, N_PIXELS, 2))
FLUX = RNG.uniform(1, 2, (N_SAMPLES, N_PIXELS))


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


def draw(gradient=TWO, **params):
    return SaliencyDisplay.from_saliency(gradient, **params)


def dotted(ax):
    return [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"]


def labels_in(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_means_against_loops():
    display = draw(wavelength=WAVELENGTH, flux=FLUX, label_names=NAMES, name="net")
    top, *panels = display.axes_
    for k, (ax, curve, name) in enumerate(zip(panels, display.curves_, NAMES, strict=True)):
        expected = [sum(TWO[:, i, k]) / N_SAMPLES for i in range(N_PIXELS)]
        assert curve in ax.lines
        assert_array_equal(curve.get_xdata(), WAVELENGTH)
        assert_allclose(curve.get_ydata(), expected)
        assert ax.get_ylabel() == f"saliency of {name}\nper unit of flux"
        assert 0 == ax.get_ylim()[0] < max(expected) < ax.get_ylim()[1]
    assert_allclose(top.lines[0].get_ydata(), FLUX.mean(axis=0))
    assert panels[-1].get_xlabel() == "wavelength (Å)"
    assert panels[-1].get_xlim() == (4000, 8000)
    assert labels_in(panels[0]) == ["net"]


def test_one_label_without_spectrum_and_wavelength():
    display = draw(TWO[..., 0])
    (ax,) = display.axes_
    (curve,) = display.curves_
    assert_array_equal(curve.get_xydata().T, [np.arange(N_PIXELS), TWO[..., 0].mean(axis=0)])
    assert ax.get_ylabel() == "saliency of label\nper unit of flux"
    assert ax.get_xlabel() == "pixel"
    assert ax.get_legend() is None
    assert [ax.get_ylabel()[:19] for ax in draw().axes_] == [f"saliency of label {k}" for k in "01"]


def test_spectrum_may_be_a_mean_and_wavelengths_may_have_units():
    many = draw(flux=FLUX, wavelength=WAVELENGTH)
    one = draw(flux=FLUX.mean(axis=0), wavelength=WAVELENGTH / 10 * u.nm)
    for ax, other in zip(many.axes_, one.axes_, strict=True):
        assert_allclose(ax.lines[0].get_xydata(), other.lines[0].get_xydata())


def test_lines_are_marked_where_the_spectrum_is():
    display = draw(wavelength=WAVELENGTH, flux=FLUX, lines={"inside": 5000, "outside": 3999})
    for ax in display.axes_:
        assert dotted(ax) == [5000]
    assert [text.get_text() for text in display.axes_[0].texts] == ["inside"]
    assert not display.axes_[1].texts


@pytest.mark.parametrize("lines", ["balmer", {"a": 4000.0}])
def test_wavelengths_in_other_units_than_the_lines(lines):
    with pytest.warns(
        UserWarning, match=r"None of the lines, .* 400 to 800 Å, .*wavelength \* u\."
    ):
        display = draw(wavelength=WAVELENGTH / 10, lines=lines)
    assert not dotted(display.axes_[0])
    draw(wavelength=WAVELENGTH / 10 * u.nm, lines=lines)
    assert draw(wavelength=WAVELENGTH, lines={}).lines == {}


def test_names_of_axes_stay_unless_others_are_given():
    params = {"wavelength": WAVELENGTH, "flux": FLUX}
    first = draw(**params, label_names=NAMES, flux_name="flux (Jy)")
    shown = [ax.get_ylabel() for ax in first.axes_]
    assert shown[0] == "flux (Jy)"
    draw(**params, axes=first.axes_)
    assert [ax.get_ylabel() for ax in first.axes_] == shown
    draw(**params, axes=first.axes_, label_names=("a", "b"), flux_name="counts")
    assert [ax.get_ylabel() for ax in first.axes_] == [
        "counts",
        *(f"saliency of {name}\nper unit of flux" for name in "ab"),
    ]


def test_balmer_lines():
    display = draw(wavelength=WAVELENGTH, lines="balmer")
    names = [text.get_text() for text in display.axes_[0].texts]
    assert names == ["Hα", "Hβ", "Hγ", "Hδ"]  # noqa: RUF001
    assert_allclose(dotted(display.axes_[1]), [6564.6, 4862.7, 4341.7, 4102.9], atol=0.1)
    blue = draw(wavelength=WAVELENGTH - 200, lines="balmer")
    assert [text.get_text() for text in blue.axes_[0].texts][-2:] == ["Hε", "H8"]


def test_models_share_axes():
    params = {"wavelength": WAVELENGTH, "flux": FLUX, "lines": "balmer"}
    first = draw(**params, name="first")
    second = draw(2 * TWO, **params, name="second", axes=first.axes_)
    third = draw(TWO, **params, name="third", axes=first.axes_, color="red")
    assert list(second.axes_) == list(first.axes_)
    assert third.figure_ is first.figure_
    assert len(plt.get_fignums()) == 1
    colors = [display.curves_[0].get_color() for display in (first, second, third)]
    assert all(map(same_color, colors, (*PALETTE[:2], "red")))
    assert labels_in(first.axes_[1]) == ["first", "second", "third"]
    assert len(first.axes_[0].texts) == 4
    assert all(len(dotted(ax)) == 4 for ax in first.axes_)
    assert first.axes_[1].get_ylim()[1] > 2 * TWO.mean(axis=0)[:, 0].max()


@pytest.mark.parametrize("kind", ["one label", "two labels", "pipeline"])
def test_from_estimator(kind, fitted, fitted_two, lines, small_regressor):
    X, y = lines
    model, seen = fitted if kind == "one label" else fitted_two, X
    if kind == "pipeline":
        model = make_pipeline(StandardScaler(), small_regressor()).fit(X, y)
        seen = model[0].transform(X)
    display = SaliencyDisplay.from_estimator(model, X)
    assert display.name == "EstNetRegressor"
    expected = saliency(model, X).mean(axis=0).reshape(24, -1)
    assert_allclose(display.saliency, expected)
    assert_allclose(display.flux, seen.mean(axis=0), atol=1e-6)
    assert len(display.axes_) == 1 + expected.shape[1]
    assert display.axes_[0].get_ylabel() == "mean flux that\nthe network sees"
    observed = SaliencyDisplay.from_estimator(model, X, flux=100 * X)
    assert_allclose(observed.flux, 100 * X.mean(axis=0), rtol=1e-5)
    assert observed.axes_[0].get_ylabel() == "mean flux"
    other = SaliencyDisplay.from_estimator(model, X, name="mine", flux=None)
    assert other.name == "mine"
    assert len(other.axes_) == expected.shape[1]


def test_wrong_input():
    with pytest.raises(ValueError, match="saliency contains NaN"):
        draw(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        draw(TWO[0, :, 0])
    with pytest.raises(ValueError, match=r"saliency has shape \(1, 7, 50, 2\): expected \(n_sam"):
        draw(TWO[np.newaxis])
    with pytest.raises(ValueError, match=r"negative values, .* those of signed=False"):
        draw(-TWO)
    with pytest.raises(ValueError, match=r"wavelength has shape \(49,\): expected \(50,\), one"):
        draw(wavelength=WAVELENGTH[1:])
    with pytest.raises(ValueError, match=r"flux has shape \(49,\): expected \(50,\)"):
        draw(flux=FLUX[:, 1:])
    with pytest.raises(ValueError, match=r"label_names has shape \(1,\): .* one for each of 2 lab"):
        draw(label_names=["Teff"])
    with pytest.raises(ValueError, match="pass wavelength, too"):
        draw(lines="balmer")
    for lines in ("paschen", [6563.0], np.array([6563.0, 4861.0])):
        with pytest.raises(ValueError, match=r"lines=.*: expected 'balmer', or names with wavel"):
            draw(wavelength=WAVELENGTH, lines=lines)
    with pytest.raises(ValueError, match="axes holds 3 axes: expected 2"):
        draw(axes=plt.subplots(3)[1])
    X = np.ones((5, 3))
    with pytest.raises(TypeError, match="Ridge is no network"):
        SaliencyDisplay.from_estimator(Ridge().fit(X, X[:, 0]), X)


def test_missing_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "skestnet\[plot\]"'):
        draw()
    with pytest.raises(ImportError, match="not installed"):  # before anything is computed
        SaliencyDisplay.from_estimator(None, TWO)
