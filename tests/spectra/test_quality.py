from itertools import groupby

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from numpy.testing import assert_array_equal

from skestnet.spectra import Spectra, usable_spectra
from skestnet.spectra._quality import longest_zero_run


def plain_longest(row):
    return max((len(list(run)) for zero, run in groupby(row == 0) if zero), default=0)


@pytest.mark.parametrize("n_pixels", [1, 2, 7, 50])
def test_longest_run_against_a_loop(n_pixels):
    flux = np.random.default_rng(n_pixels).integers(0, 2, (200, n_pixels)).astype(float)
    flux[0], flux[1] = 0, 1
    assert_array_equal(longest_zero_run(flux), [plain_longest(row) for row in flux])
    assert_array_equal(longest_zero_run(flux[:, ::-1]), longest_zero_run(flux))


def test_five_zeros_drop_and_four_do_not():
    flux = np.ones((3, 20), dtype="f4")
    flux[0, 3:7] = 0
    flux[0, 10:14] = 0
    flux[1, 15:] = 0
    flux[2, :5] = np.nan
    keep, report = usable_spectra(flux)
    assert_array_equal(keep, [True, False, True])
    assert report.counts == {"consecutive zeros": 1}
    assert_array_equal(usable_spectra(flux, max_consecutive_zeros=3)[0], [False, False, True])
    assert_array_equal(usable_spectra(flux, max_consecutive_zeros=5)[0], [True, True, True])


def test_every_reason_is_reported():
    flux = np.ones((5, 9))
    flux[[0, 3]] = 0
    labels = np.array([[np.nan, 8.0], [1e4, 8.0], [1e4, np.nan], [1e4, 8.0], [1e4, 8.0]])
    snr = [-9999.0, np.nan, 3.0, 4.0, -1.0]
    keep, report = usable_spectra(flux, labels=labels, snr=snr)
    assert_array_equal(keep, [False, False, False, False, True])
    indices = {reason: rows.tolist() for reason, rows in report.indices.items()}
    assert indices == {"no label": [0, 2], "no S/N": [0, 1], "consecutive zeros": [0, 3]}
    assert (report.n_spectra, report.n_dropped) == (5, 4)
    assert str(report).splitlines() == [
        "1 of 5 spectra kept, 4 dropped:",
        "  no label: 2",
        "  no S/N: 2",
        "  consecutive zeros: 2",
    ]


def test_one_band_of_snr_is_enough():
    snr = [[np.nan, 2.0], [-9999, np.inf], [1.0, 2.0]]
    assert_array_equal(usable_spectra(np.ones((3, 2)), snr=snr)[0], [True, False, True])


def test_container():
    pixels = np.linspace(3900, 4100, 21)
    flux = np.ones((3, 21))
    flux[0, :8] = 0  # below 4000 A
    flux[1, 12:17] = 0
    meta = Table({"snr_u": [np.nan, 1, np.nan], "snr_g": [1.0, 1.0, np.nan]})
    ragged = [pixels, pixels, pixels[:5]]
    spectra = Spectra(ragged, [*flux[:2], flux[2, :5]], ragged, meta=meta)
    keep, report = usable_spectra(spectra)
    assert_array_equal(keep, [True, False, False])
    assert report.counts == {"no S/N": 1, "consecutive zeros": 1}
    assert len(spectra[keep]) == 1
    assert_array_equal(usable_spectra(spectra, snr=[1, 1, 1])[0], [True, False, True])
    for limits in (
        (3900, 4100),
        [390, 410] * u.nm,
        (390 * u.nm, 4100 * u.AA),
    ):
        assert not usable_spectra(spectra, wavelength_range=limits)[0][0]


def test_no_spectra():
    keep, report = usable_spectra(np.empty((0, 5)), labels=[], snr=[])
    assert keep.shape == (0,)
    assert str(report).startswith("0 of 0 spectra kept")


def test_messages():
    with pytest.raises(ValueError, match=r"flux has shape \(3,\).*reshape\(1, -1\)"):
        usable_spectra([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"labels has shape \(2,\), but one row for each of the 3"):
        usable_spectra(np.ones((3, 4)), labels=[1, 2])
    with pytest.raises(ValueError, match=r"snr has shape \(\), but one row"):
        usable_spectra(np.ones((3, 4)), snr=5)


def test_wavelength_range_in_order():
    wavelength, flux = np.linspace(4000, 8000, 9), np.ones(9)
    spectra = Spectra([wavelength], [flux], [flux])
    with pytest.raises(ValueError, match=r"wavelength_range=\(8000, 4000\).*the shorter first"):
        usable_spectra(spectra, wavelength_range=(8000, 4000))
    with pytest.raises(ValueError, match="wavelength_range is in km / s, but a unit like Angstrom"):
        usable_spectra(spectra, wavelength_range=[4000, 8000] * u.km / u.s)
    with pytest.raises(ValueError, match="expected two wavelengths"):
        usable_spectra(spectra, wavelength_range=(4000,))


def test_a_range_without_any_pixel():
    spectra = Spectra.from_matrix([400.0, 500.0], np.ones((2, 2)))
    with pytest.raises(ValueError, match="No spectrum has a pixel in wavelength_range"):
        usable_spectra(spectra)
