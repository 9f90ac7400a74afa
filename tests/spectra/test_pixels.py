"""The matrix between pixels, against integrals computed by brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra._pixels import gaussian_sigma, pixel_edges, pixel_matrix


def test_edges_are_halfway():
    assert_allclose(pixel_edges(np.array([1.0, 2.0, 4.0])), [0.5, 1.5, 3.0, 5.0])
    assert_allclose(pixel_edges(np.array([5.0])), [4.5, 5.5])


def test_without_blur_it_is_the_overlap():
    matrix = pixel_matrix(np.array([0.0, 1, 2, 3]), np.array([0.5, 2.0, 3.0])).toarray()
    assert_allclose(matrix, [[1 / 3, 2 / 3, 0], [0, 0, 1]], atol=1e-15)


def test_blur_against_a_fine_sum():
    rng = np.random.default_rng(0)
    edges_in = np.concatenate([[0], np.sort(rng.uniform(0, 30, 60)), [30]])
    edges_out = np.linspace(10, 20, 8)
    flux = rng.uniform(1, 2, edges_in.size - 1)
    step = 0.002
    fine = np.arange(edges_in[0], edges_in[-1], step) + step / 2
    boxes = flux[np.searchsorted(edges_in[1:-1], fine)]
    centre = np.linspace(10, 20, 7 * 60 + 1)[:-1] + 10 / 7 / 120
    kernel = np.exp(-0.5 * ((centre[:, None] - fine) / 0.7) ** 2)
    blurred = kernel @ boxes * step / (0.7 * np.sqrt(2 * np.pi))
    expected = blurred.reshape(7, 60).mean(axis=1)
    assert_allclose(pixel_matrix(edges_in, edges_out, 0.7) @ flux, expected, rtol=6e-4)


def test_pixels_outside_get_nothing():
    matrix = pixel_matrix(np.array([0.0, 1, 2]), np.array([5.0, 6, 7])).toarray()
    assert_array_equal(matrix, np.zeros((2, 2)))


def test_width_of_a_blurred_line():
    edges = np.arange(4000, 4100, 0.25)
    centre = 0.5 * (edges[1:] + edges[:-1])
    sigma = gaussian_sigma(centre, resolution=1000)
    line = pixel_matrix(edges, edges, sigma)[:, [200]].toarray().ravel()
    line /= line.sum()
    mean = line @ centre
    fwhm = np.sqrt(line @ (centre - mean) ** 2 - 2 * 0.25**2 / 12) * 2.3548
    assert_allclose(fwhm, centre[200] / 1000, rtol=2e-3)


@pytest.mark.parametrize("bad", [{"resolution": 0}, {"resolution": -5}, {"fwhm": np.nan}])
def test_bad_resolution(bad):
    with pytest.raises(ValueError, match="expected a positive resolution"):
        gaussian_sigma(np.array([4000.0]), **bad)


def test_one_of_resolution_and_fwhm():
    with pytest.raises(ValueError, match="Pass one of them"):
        gaussian_sigma(np.array([4000.0]), resolution=1800, fwhm=3)
