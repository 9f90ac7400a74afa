"""The smallest possible errors, against closed forms and against an estimator."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.templates._bound import cramer_rao_bound
from skestnet.templates._extinction import extinction
from skestnet.templates._grid import TemplateGrid

WAVELENGTH = np.linspace(4400.0, 4600.0, 201)
LINE = np.exp(-0.5 * ((WAVELENGTH - 4500) / 8) ** 2)
AT = [[12000, 8.0], [20000, 7.7], [9000, 8.8]]


@pytest.fixture(scope="module")
def depth_grid():
    """Line strength is exact in log flux: the derivative is -flux * profile."""
    depth = np.linspace(0, 2, 9)
    return TemplateGrid(WAVELENGTH, np.exp(-depth[:, np.newaxis] * LINE), {"depth": depth})


def fisher_bound(columns, sigma, n_labels):
    """Invert the Fisher matrix as it is written."""
    columns = columns / sigma
    return np.sqrt(np.diag(np.linalg.inv(columns @ columns.T))[:n_labels])


def test_one_line_in_closed_form(depth_grid):
    flux = np.exp(-0.7 * LINE)
    by_depth = -flux * LINE
    alone = cramer_rao_bound(depth_grid, [[0.7]], 0.02, nuisances=())
    assert_allclose(alone, [[0.02 / np.sqrt((by_depth**2).sum())]], rtol=1e-9)
    # A free scale takes away the part of the derivative that is parallel to the flux.
    left = (by_depth**2).sum() - (by_depth @ flux) ** 2 / (flux**2).sum()
    assert_allclose(cramer_rao_bound(depth_grid, [[0.7]], 0.02), [[0.02 / left**0.5]], rtol=1e-9)


def test_against_the_inverse_of_the_fisher_matrix(line_grid):
    wavelength, x = line_grid.wavelength, 2 * (line_grid.wavelength - 4000) / 1000 - 1
    flux, jacobian = line_grid.interpolate(AT), line_grid.jacobian(AT)
    sigma = flux / np.linspace(5, 50, wavelength.size)
    nuisances = [("continuum", 2), "velocity", "reddening", LINE_SHAPE, lambda w: [w**3, w**4]]
    bound = cramer_rao_bound(line_grid, AT, sigma, nuisances=nuisances)
    for row in range(3):
        f = flux[row]
        others = [
            f, f * x, f * x**2, np.gradient(f, wavelength) * wavelength,
            f * extinction(wavelength, 1.0), f * LINE_SHAPE, f * x**3, f * x**4,
        ]  # fmt: skip
        scale = [1e-4 * f[0], 1e8, *np.full(8, 1e8)]
        columns = np.vstack([jacobian[row], others]) / np.array(scale)[:, np.newaxis]
        expected = fisher_bound(columns, sigma[row], 2) / scale[:2]
        assert_allclose(bound[row], expected, rtol=1e-4)


LINE_SHAPE = np.cos(np.linspace(0, 40, 401))


def test_an_estimator_attains_it(line_grid):
    rng = np.random.default_rng(0)
    truth, n = np.array([12000, 8.0]), 400
    flux, jacobian = line_grid.interpolate(truth)[0], line_grid.jacobian(truth)[0]
    sigma = flux / 200
    data = 3e-9 * (flux + sigma * rng.standard_normal((n, flux.size)))
    labels, scale = np.tile(truth, (n, 1)), np.full(n, 3e-9)
    for _ in range(6):
        model, slopes = line_grid.interpolate(labels), line_grid.jacobian(labels)
        columns = np.concatenate([slopes * scale[:, None, None], model[:, None]], axis=1) / sigma
        misfit = (data - scale[:, None] * model) / sigma
        unit = np.linalg.norm(columns, axis=2)
        columns = columns / unit[:, :, None]
        normal = columns @ columns.swapaxes(1, 2)
        step = np.linalg.solve(normal, columns @ misfit[:, :, None])[:, :, 0] / unit
        labels, scale = labels + step[:, :2], scale + step[:, 2]
    bound = cramer_rao_bound(line_grid, truth, sigma)
    assert_allclose(labels.std(axis=0), bound[0], rtol=0.12)
    assert (np.abs(labels.mean(axis=0) - truth) < 4 * bound[0] / np.sqrt(n)).all()
    cov = cramer_rao_bound(line_grid, truth, sigma, return_cov=True)[0]
    found = np.corrcoef(labels.T)[0, 1]
    assert_allclose(found, cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]), atol=0.1)
    assert jacobian.shape == (2, 401)


def test_nuisances_by_position(line_grid):
    by_name = cramer_rao_bound(line_grid, AT, 1e6, nuisances=["velocity", "scale"])
    assert_array_equal(cramer_rao_bound(line_grid, AT, 1e6, ["velocity", "scale"]), by_name)


def test_more_unknowns_never_help(line_grid):
    sigma = line_grid.interpolate(AT) / 20
    chains = [(), ("scale",), (("continuum", 1),), (("continuum", 4),),
              (("continuum", 4), "velocity"), (("continuum", 4), "velocity", "reddening"),
              (("continuum", 9), "velocity", "reddening", LINE_SHAPE)]  # fmt: skip
    bounds = [cramer_rao_bound(line_grid, AT, sigma, nuisances=chain) for chain in chains]
    for lower, higher in pairwise(bounds):
        assert (higher >= lower * (1 - 1e-9)).all()
    assert (bounds[-1] > 1.2 * bounds[0]).all()


def test_scales_with_the_noise_and_the_unit(line_grid):
    sigma = line_grid.interpolate(AT) / 20
    once = cramer_rao_bound(line_grid, AT, sigma)
    assert_allclose(cramer_rao_bound(line_grid, AT, 2 * sigma), 2 * once, rtol=1e-12)
    columns = dict(zip(line_grid.label_names, line_grid.labels.T, strict=True))
    other = TemplateGrid(line_grid.wavelength, 1e-25 * line_grid.flux, columns)
    assert_allclose(cramer_rao_bound(other, AT, 1e-25 * sigma), once, rtol=1e-6)
    # Twice as many pixels of the same noise: errors are smaller by the root of 2.
    fine = line_grid.observe(np.linspace(4010, 4990, 785))
    coarse = line_grid.observe(np.linspace(4010, 4990, 393))
    ratio = cramer_rao_bound(coarse, AT, 1e6) / cramer_rao_bound(fine, AT, 1e6)
    assert_allclose(ratio, np.sqrt(785 / 393), rtol=5e-3)


def test_pixels_of_infinite_noise_do_not_count(line_grid):
    used = np.abs(line_grid.wavelength - 4500) < 300
    sigma = np.where(used, 1e6, np.inf)
    columns = dict(zip(line_grid.label_names, line_grid.labels.T, strict=True))
    part = TemplateGrid(line_grid.wavelength[used], line_grid.flux[:, used], columns)
    assert_allclose(
        cramer_rao_bound(line_grid, AT, sigma), cramer_rao_bound(part, AT, 1e6), rtol=1e-9
    )


def test_shapes_of_noise_agree(line_grid):
    rows = np.full((3, 401), 1e6)
    bound = cramer_rao_bound(line_grid, AT, rows)
    assert_array_equal(bound, cramer_rao_bound(line_grid, AT, rows[0]))
    assert_array_equal(bound, cramer_rao_bound(line_grid, AT, 1e6))
    assert_array_equal(bound[:1], cramer_rao_bound(line_grid, AT[0], 1e6, nuisances="scale"))
    cov = cramer_rao_bound(line_grid, AT, 1e6, return_cov=True)
    assert_allclose(np.sqrt(np.diagonal(cov, axis1=1, axis2=2)), bound)
    assert cramer_rao_bound(line_grid, np.empty((0, 2)), 1e6).shape == (0, 2)


def test_blocks_change_nothing(line_grid, monkeypatch):
    bound = cramer_rao_bound(line_grid, AT, 1e6)
    monkeypatch.setattr("skestnet.templates._interpolate._BLOCK", 10)
    assert_allclose(cramer_rao_bound(line_grid, AT, 1e6), bound, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_cannot_be_known_is_infinite(dtype, grid_at, all_pairs):
    grid = grid_at(all_pairs(), dtype)
    assert np.isinf(cramer_rao_bound(grid, AT, np.inf)).all()
    # log g acts on the line alone, and its depth alone tells no second label.
    sigma = np.full(401, np.inf)
    sigma[200] = 1e6
    assert np.isinf(cramer_rao_bound(grid, AT, sigma, nuisances=())).any(axis=1).all()
    # A nuisance that is the derivative itself takes one label, and leaves the other.
    shape = grid.jacobian(AT[0])[0, 1] / grid.interpolate(AT[0])[0]
    cov = cramer_rao_bound(grid, AT[0], 1e6, nuisances=[shape], return_cov=True)[0]
    assert np.isfinite(cov[0, 0])
    assert np.isinf(cov[1, 1])
    assert np.isnan(cov[0, 1])
    # Nuisances that say the same twice are no harm.
    twice = cramer_rao_bound(grid, AT, 1e6, nuisances=["scale", ("continuum", 0), LINE_SHAPE * 0])
    assert_allclose(twice, cramer_rao_bound(grid, AT, 1e6), rtol=1e-5)


def test_a_label_with_one_value_is_not_known(line_grid):
    bound = cramer_rao_bound(line_grid.select(logg=8.0), [[12000, 8.0]], 1e6)
    assert np.isfinite(bound[0, 0])
    assert np.isinf(bound[0, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": np.ones(5)}, r"sigma has shape \(5,\), but one number, \(401,\) or \(1, 401\)"),
        ({"sigma": 0.0}, "sigma must be above 0"),
        ({"sigma": np.full(401, np.nan)}, "sigma must be above 0"),
        ({"nuisances": ["dust"]}, "nuisance 'dust' is not known"),
        ({"nuisances": [("continuum",)]}, r"\('continuum',\) is not known. Try"),
        ({"nuisances": [("continuum", -1)]}, "of at least 0"),
        ({"nuisances": [("poly", 2)]}, r"\('poly', 2\) is not known"),
        ({"nuisances": [np.ones(7)]}, r"shape \(1, 7\), but finite values of shape"),
        ({"nuisances": [lambda w: w * np.nan]}, "finite values"),
        ({"labels": [5000, 8]}, "Row 0 of labels, {'teff': 5000.0"),
        ({"labels": [5000, 8, 0]}, r"shape \(1, 3\)"),
    ],
)
def test_messages(line_grid, change, message):
    with pytest.raises(ValueError, match=message):
        cramer_rao_bound(line_grid, **{"labels": [12000, 8], "sigma": 1e6, **change})


def test_velocity_needs_a_slope():
    grid = TemplateGrid([4000.0], [[1.0], [2.0]], {"depth": [1.0, 2.0]})
    with pytest.raises(ValueError, match="two pixels or more"):
        cramer_rao_bound(grid, [[1.5]], 0.1, nuisances=["velocity"])


def test_a_single_pair_is_a_nuisance(line_grid):
    pair = cramer_rao_bound(line_grid, line_grid.labels[:1], 0.1, ("continuum", 2))
    assert_array_equal(
        pair, cramer_rao_bound(line_grid, line_grid.labels[:1], 0.1, [("continuum", 2)])
    )
