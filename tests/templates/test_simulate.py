"""A simulated survey: its labels, its spectra against the plain way, its statistics."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra import usable_spectra
from skestnet.templates._degrade import SpectrumDegrader
from skestnet.templates._grid import TemplateGrid
from skestnet.templates._simulate import simulate_survey

PIXELS = np.linspace(4100.0, 4900.0, 400)


@pytest.fixture
def degrader(line_grid):
    return SpectrumDegrader(line_grid.wavelength, PIXELS, resolution=600.0, snr_band=(4100, 4900))


def test_it_is_interpolation_and_degradation(line_grid, degrader):
    survey = simulate_survey(line_grid, 150, degrader=degrader, random_state=1)
    noiseless = degrader.set_params(
        snr=np.inf, ebv=list(survey.truth["ebv"]), velocity=list(survey.truth["velocity"]),
        warp=0, sky_residual=0, cosmic_rays=0, missing=0,
    )  # fmt: skip
    plain = noiseless.degrade(line_grid.interpolate(survey.labels))
    flux, ivar = (np.array(rows) for rows in (survey.spectra.flux, survey.spectra.ivar))
    good = ivar > 0
    pull = np.where(good, (flux - plain.flux) * np.sqrt(ivar), 0)
    # Warps shift all pixels, and cosmic rays a few.
    assert np.median(np.abs(pull)) < 1.0
    snr = np.median(plain.flux * np.sqrt(ivar), axis=1)
    assert_allclose(snr, survey.truth["snr"], rtol=0.25)


def test_noise_against_inverse_variance(line_grid, degrader):
    degrader.set_params(warp=0, sky_residual=0, cosmic_rays=0, ebv=0, velocity=0)
    survey = simulate_survey(line_grid, 500, degrader=degrader, random_state=1)
    clean = line_grid.observe(PIXELS, resolution=600.0).interpolate(survey.labels)
    flux, ivar = (
        np.array(rows, dtype=float) for rows in (survey.spectra.flux, survey.spectra.ivar)
    )
    assert_allclose(np.mean((flux - clean)[ivar > 0] ** 2 * ivar[ivar > 0]), 1.0, atol=0.02)


def test_parts_belong_together(line_grid, degrader):
    labels, spectra, truth = simulate_survey(line_grid, 70, degrader=degrader, random_state=1)
    assert labels.shape == (70, 2)
    assert_array_equal(labels, np.column_stack([truth["teff"], truth["logg"]]))
    assert len(spectra) == len(truth) == 70
    keep, _ = usable_spectra(spectra, labels=labels, wavelength_range=(4100, 4900))
    assert_array_equal(spectra[keep].meta["teff"], labels[keep, 0])
    assert_array_equal(spectra.wavelength[69], PIXELS)
    assert truth.colnames[:2] == ["teff", "logg"]


def test_reproducible(line_grid, degrader):
    first, second, other = (
        simulate_survey(line_grid, 5, degrader=degrader, random_state=seed) for seed in (1, 1, 2)
    )
    assert_array_equal(first.labels, second.labels)
    assert_array_equal(np.array(first.spectra.flux), np.array(second.spectra.flux))
    assert (first.labels != other.labels).all()


def test_default_labels_fill_the_grid(line_grid, degrader):
    labels = simulate_survey(line_grid, 2000, degrader=degrader, random_state=0).labels
    (low, high), (weak, strong) = line_grid.limits.values()
    teff, logg = np.log(labels[:, 0] / low) / np.log(high / low), labels[:, 1]
    for share in (teff, (logg - weak) / (strong - weak)):
        counts, _ = np.histogram(share, 10, (0, 1))
        assert_allclose(counts, 200, atol=60)


def test_ranges(line_grid, degrader):
    ranges = {"teff": (9000, 10000), "logg": 8.0}
    labels = simulate_survey(line_grid, 200, labels=ranges, degrader=degrader).labels
    assert 9000 <= labels[:, 0].min() < 9050
    assert 9950 < labels[:, 0].max() <= 10000
    assert (labels[:, 1] == 8.0).all()


def test_given_labels(line_grid, degrader):
    given = [[9000.0, 7.5], [32000.0, 9.0]]
    assert_array_equal(simulate_survey(line_grid, 2, labels=given, degrader=degrader).labels, given)


def test_a_population_is_cut_at_the_grid(line_grid, degrader):
    def population(rng, n):
        return np.column_stack([rng.normal(9000, 2000, n), rng.normal(8, 0.2, n)])

    labels = simulate_survey(line_grid, 300, labels=population, degrader=degrader).labels
    assert line_grid.contains(labels).all()
    assert labels[:, 0].min() < 8300


def test_holes_in_the_grid_are_avoided(grid_at, all_pairs, degrader):
    labels = all_pairs()
    grid = grid_at(labels[(labels[:, 0] < 15000) | (labels[:, 1] > 7.9)], interpolation="linear")
    survey = simulate_survey(grid, 300, degrader=degrader, random_state=0)
    assert grid.contains(survey.labels).all()
    assert not ((survey.labels[:, 0] > 17000) & (survey.labels[:, 1] < 7.7)).any()


def test_default_degrader():
    wavelength, teff = np.arange(3900.0, 8100.0), np.array([8000.0, 9000.0])
    grid = TemplateGrid(wavelength, (teff[:, None] / wavelength) ** 4, {"teff": teff})
    survey = simulate_survey(grid, 3, random_state=0)
    assert survey.spectra.wavelength[0].size == 3909


def test_progress(line_grid, degrader, capsys):
    simulate_survey(line_grid, 3, degrader=degrader, verbose=1)
    assert "3/3" in capsys.readouterr().err
    simulate_survey(line_grid, 3, degrader=degrader)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[9000.0, 8.0]], "labels has shape \\(1, 2\\), but 3 spectra need \\(3, 2\\)"),
        ([[9000.0, 8.0]] * 2 + [[9000.0, 5.0]], "row 2, and 1 such rows"),
        ({"teff": (1000, 9000)}, "not within 8000-32000"),
        ({"mass": (0.5, 0.6)}, r"labels has \['mass'\]"),
        ({"teff": (9000, 8500)}, "the smaller first"),
        (lambda _, n: np.full((n, 2), 5.0), "drawn 200 times"),
        (lambda rng, n: rng.normal(size=n), "labels has shape"),
    ],
)
def test_mistakes_in_labels(line_grid, degrader, labels, message):
    with pytest.raises(ValueError, match=message):
        simulate_survey(line_grid, 3, labels=labels, degrader=degrader)


def test_degrader_of_another_grid(line_grid, degrader):
    degrader.set_params(wavelength_in=line_grid.wavelength[1:])
    with pytest.raises(ValueError, match="set_params"):
        simulate_survey(line_grid, 3, degrader=degrader)


def test_mistakes_are_found_before_templates_are_interpolated(line_grid, degrader, monkeypatch):
    monkeypatch.setattr(TemplateGrid, "interpolate", lambda *_: pytest.fail("work has begun"))
    with pytest.raises(ValueError, match="Try a shorter wavelength_out"):
        simulate_survey(line_grid, 3, degrader=degrader.set_params(velocity=3000.0, resolution=50))


def test_no_spectra(line_grid):
    with pytest.raises(ValueError, match="n=0"):
        simulate_survey(line_grid, 0)
