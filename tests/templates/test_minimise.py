import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import least_squares

from skestnet.spectra._redshift import redshift_of
from skestnet.templates._grid import TemplateGrid
from skestnet.templates._lines import FitPixels, Window
from skestnet.templates._minimise import Target, covariance, minimise
from skestnet.templates._model import Between, MovingModel, RestModel, hermite, unit_scale
from skestnet.templates._starts import best_minima, neighbours, starting_points

X = np.linspace(-1, 1, 40)
BASIS = np.ones((40, 1))


class Bump:
    """A line of any depth and position, in closed form."""

    lower, upper = np.array([-2.0, -0.8]), np.array([2.0, 0.8])

    def contains(self, parameters):
        return np.ones(len(parameters), dtype=bool)

    def __call__(self, parameters):
        depth, centre = parameters[:, :1], parameters[:, 1:]
        line = np.exp(-0.5 * ((X - centre) / 0.3) ** 2)
        slopes = np.stack([-line, -depth * line * (X - centre) / 0.3**2], axis=1)
        return 1 - depth * line, slopes


class Ring(Bump):
    """The same without the deep lines."""

    def contains(self, parameters):
        return parameters[:, 0] < 0.5


def target_of(flux, ivar=1e4):
    flux = np.atleast_2d(flux)
    ivar = np.full(flux.shape, ivar)
    dof = np.full(len(flux), X.size - 3.0)
    return Target(flux, ivar, dof, np.sum(ivar * flux**2, axis=1))


def fit(model, flux, start, max_steps=50):
    start = np.broadcast_to(start, (len(np.atleast_2d(flux)), 2))
    return minimise(model, target_of(flux), BASIS, start, max_steps=max_steps, tol=1e-3)


def test_against_scipy():
    rng = np.random.default_rng(0)
    truth = np.column_stack([rng.uniform(0.2, 0.8, 20), rng.uniform(-0.4, 0.4, 20)])
    flux = 3 * Bump()(truth)[0] + 0.03 * rng.normal(size=(20, 40))
    found = fit(Bump(), flux, [0.5, 0.0])
    assert found.converged.all()
    assert not found.limited.any()
    for i in range(20):
        scipys = least_squares(
            lambda p, i=i: 100 * (flux[i] - p[2] * Bump()(p[None, :2])[0][0]), [0.5, 0, 3]
        )
        assert_allclose(found.parameters[i], scipys.x[:2], atol=1e-4)
        assert_allclose(found.profile.chi2[i], 2 * scipys.cost, rtol=1e-6)


def test_spectra_do_not_influence_each_other():
    rng = np.random.default_rng(1)
    flux = Bump()(rng.uniform(-0.5, 0.5, (9, 2)))[0] + 0.1 * rng.normal(size=(9, 40))
    together = fit(Bump(), flux, [0.3, 0.1])
    alone = [fit(Bump(), row, [0.3, 0.1]).parameters[0] for row in flux]
    assert_allclose(together.parameters, alone, rtol=1e-9)


def test_a_minimum_beyond_a_limit():
    flux = 1 - 0.5 * np.exp(-0.5 * ((X - 0.95) / 0.3) ** 2)
    found = fit(Bump(), flux, [0.4, 0.5])
    assert found.converged.all()
    assert found.limited.all()
    assert found.parameters[0, 1] == 0.8
    at_edge = least_squares(lambda p: flux - p[1] * Bump()(np.array([[p[0], 0.8]]))[0][0], [0.5, 1])
    assert_allclose(found.parameters[0, 0], at_edge.x[0], rtol=1e-4)


def test_a_minimum_on_the_limit_is_inside():
    flux = Bump()(np.array([[0.5, 0.8]]))[0]
    found = fit(Bump(), flux, [0.4, 0.5])
    assert found.converged.all()
    assert not found.limited.any()
    assert_allclose(found.parameters, [[0.5, 0.8]], rtol=1e-5)


def test_where_there_is_no_template():
    found = fit(Ring(), Bump()(np.array([[0.7, 0.1]]))[0], [0.3, 0.0])
    assert_allclose(found.parameters[0, 0], 0.5, atol=0.02)
    assert found.parameters[0, 0] < 0.5
    assert not found.converged.any()


def test_too_few_steps():
    found = fit(Bump(), Bump()(np.array([[0.7, 0.3]]))[0], [0.1, -0.3], max_steps=1)
    assert not found.converged.any()


def test_covariances():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(3, 3, 3)) * [1, 1e3, 1e-4]
    fisher = root.transpose(0, 2, 1) @ root
    nothing = np.zeros(3, dtype=bool)
    assert_allclose(covariance(fisher, nothing), np.linalg.inv(fisher), rtol=1e-6)
    known = np.array([False, True, False])
    free = np.ix_([0, 1, 2], [0, 2], [0, 2])
    assert_allclose(covariance(fisher, known)[free], np.linalg.inv(fisher[free]), rtol=1e-6)
    assert_array_equal(covariance(fisher, known)[:, 1], 0)
    fisher[0, 2] = fisher[0, :, 2] = 0
    assert np.isinf(covariance(fisher, nothing)[0]).all()
    assert np.isfinite(covariance(fisher, nothing)[1:]).all()


# Templates between labels and velocities


@pytest.fixture
def moving():
    """Lines of two depths at velocities up to 900 km/s, in two windows."""
    wavelength = np.linspace(4800, 4950, 301)
    depth = np.linspace(0.1, 0.9, 9)
    windows = [Window("a", 4830, 4870), Window("b", 4875, 4920)]
    pixels = FitPixels.of(wavelength, windows, degree=1, stretch=0.004)
    flux = bump(wavelength, depth)
    return MovingModel(depth[:, None], flux, wavelength, pixels, 900.0), wavelength, pixels


def bump(wavelength, depth):
    return 1 - np.asarray(depth)[:, None] * np.exp(-0.5 * ((wavelength - 4862) / 6) ** 2)


def test_moving_templates_in_closed_form(moving):
    model, wavelength, pixels = moving
    velocity = np.array([-900.0, -31.0, 0.0, 420.0])
    depth = np.array([0.15, 0.3, 0.5, 0.85])
    found = model(np.column_stack([depth, velocity]))[0]
    for i in range(4):
        expected = bump(wavelength / (1 + redshift_of(velocity[i])), depth[i : i + 1])
        expected = pixels.select(expected)[0]
        for group in pixels.groups:
            level = found[i, group].mean() / expected[group].mean()
            assert_allclose(found[i, group], level * expected[group], rtol=2e-5)


def test_derivatives_of_moving_templates(moving):
    model, *_ = moving
    point = np.array([[0.42, 123.0], [0.77, -511.0]])
    slopes = model(point)[1]
    for axis, step in enumerate((1e-4, 1e-2)):
        shift = step * np.eye(2)[axis]
        difference = (model(point + shift)[0] - model(point - shift)[0]) / (2 * step)
        assert_allclose(slopes[:, axis], difference, rtol=1e-5, atol=1e-9)


def test_no_velocity_leaves_templates_alone(moving):
    model, wavelength, pixels = moving
    depth = np.linspace(0.1, 0.9, 9)
    rest = RestModel(depth[:, None], pixels.select(bump(wavelength, depth)), pixels.groups)
    still = model(np.array([[0.33, 0.0]]))[0][0]
    for group in pixels.groups:
        ratio = still[group] / rest(np.array([[0.33]]))[0][0, group]
        assert_allclose(ratio, ratio[0], rtol=1e-4)


@pytest.mark.parametrize("method", ["auto", "linear"])
@pytest.mark.parametrize("lowest", [1.0, -0.5])
def test_templates_are_interpolated_as_in_their_grid(method, lowest):
    """In one window all pixels are positive, in the other not all of them, with `lowest` < 0."""
    rng = np.random.default_rng(3)
    teff, logg = np.meshgrid(np.geomspace(8000.0, 32000.0, 6), [7.0, 7.5, 8.0, 9.0], indexing="ij")
    labels = np.column_stack([teff.ravel(), logg.ravel()])
    flux = 1e-17 * teff.reshape(-1, 1) ** 3 * rng.uniform(1, 2, (24, 20))
    flux[:, 15] *= lowest
    columns = {"teff": labels[:, 0], "logg": labels[:, 1]}
    grid = TemplateGrid(np.arange(4000.0, 4020.0), flux, columns, interpolation=method)
    groups = [slice(0, 10), slice(10, 20)]
    model = RestModel(labels, flux, groups, Between((0,), True, method))
    at = np.array([[9000.0, 7.2], [25000.0, 8.7]])
    found, expected = model(at)[0], grid.interpolate(at)
    for group in groups:
        ratio = found[:, group] / expected[:, group]
        assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-10)
    for axis, step in enumerate((1e-1, 1e-5)):
        shift = step * np.eye(2)[axis]
        difference = (model(at + shift)[0] - model(at - shift)[0]) / (2 * step)
        assert_allclose(model(at)[1][:, axis], difference, rtol=1e-6, atol=1e-9)


def test_hermite_is_exact_for_cubics():
    knots = np.array([0.0, 1.0, 2.5, 3.0])
    curves = np.stack([knots**3 - knots, 2 * knots**3])[None]
    powers = np.vander(knots, 4)
    derivatives = np.column_stack([3 * knots**2, 2 * knots, np.ones(4), np.zeros(4)])
    x = np.array([[0.3, 1.0, 2.9]])
    values, tangent = hermite(curves, np.linalg.solve(powers.T, derivatives.T), knots, x)
    assert_allclose(values[0], [x[0] ** 3 - x[0], 2 * x[0] ** 3], atol=1e-12)
    assert_allclose(tangent[0], 3 * x[0] ** 2 - 1, atol=1e-12)


def test_unit_scale():
    spectra = np.array([[3.0, 4.0, 0.0, 0.0], [1e-20, 1e-20, -2e30, 2e30]])
    scaled = unit_scale(spectra, [slice(0, 2), slice(2, 4)])
    root = 12.5**0.5
    assert_allclose(scaled, [[3 / root, 4 / root, 0, 0], [1, 1, -1, 1]])


# Starting points


def test_neighbours_on_a_grid():
    labels = np.stack(np.meshgrid([1, 10, 100, 1000], [7, 8, 9], indexing="ij"), -1).reshape(-1, 2)
    around = neighbours(labels.astype(float))
    assert around.shape == (12, 9)
    middle = 4  # (10, 8)
    assert sorted(around[middle]) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert neighbours(np.arange(3.0)[:, None]).shape == (3, 3)
    assert neighbours(np.ones((2, 1))).shape == (2, 1)


def test_minima_against_a_loop():
    rng = np.random.default_rng(6)
    around = neighbours(np.arange(30.0)[:, None])
    chi2 = rng.normal(size=(8, 30))
    spectrum, point = best_minima(chi2, around, 3)
    for i in range(8):
        padded = np.concatenate([[np.inf], chi2[i], [np.inf]])
        minima = [j for j in range(30) if padded[j + 1] == padded[j : j + 3].min()]
        expected = sorted(minima, key=lambda j: chi2[i, j])[:3]
        assert sorted(point[spectrum == i]) == sorted(expected)


def test_every_spectrum_has_a_start():
    spectrum, _ = best_minima(np.full((2, 5), np.nan), neighbours(np.arange(5.0)[:, None]), 3)
    assert set(spectrum) == {0, 1}


def test_starting_points():
    labels = np.array([[1.0, 7.0], [2.0, 8.0]])
    assert starting_points(labels, 0.0) is labels
    assert_array_equal(starting_points(labels, 100.0), [[1, 7, 0], [2, 8, 0]])
    velocities = np.unique(starting_points(labels, 1000.0)[:, 2])
    assert_allclose(velocities, [-800, -400, 0, 400, 800], atol=1e-9)
