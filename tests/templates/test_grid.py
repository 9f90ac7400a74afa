"""A grid of templates: between its nodes, outside them, and through an instrument."""

import pickle

import numpy as np
import pytest
from astropy import units as u
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.datasets import make_white_dwarf_grid
from skestnet.spectra._pixels import gaussian_sigma, pixel_edges, pixel_matrix
from skestnet.spectra._wavelength import lamost_grid
from skestnet.templates._grid import TemplateGrid

WAVELENGTH = np.linspace(4000.0, 5000.0, 401)


@pytest.fixture(scope="module")
def inside(line_grid):
    rng = np.random.default_rng(0)
    limits = line_grid.limits.values()
    return np.column_stack([rng.uniform(low, high, 60) for low, high in limits])


def as_labels(rows):
    return {"teff": rows[:, 0], "logg": rows[:, 1]}


def test_between_templates_is_the_closed_form(line_grid, inside, closed_form):
    truth = closed_form(line_grid.wavelength, *inside.T)
    error = np.abs(line_grid.interpolate(inside) / truth - 1)
    assert error.max() < 1e-3
    assert np.median(error) < 1e-5


def test_templates_come_back(line_grid):
    assert_allclose(line_grid.interpolate(line_grid.labels), line_grid.flux, rtol=1e-12)


def test_jacobian_is_the_derivative(line_grid, inside):
    for i, step in enumerate((1.0, 1e-4)):
        shift = step * np.eye(2)[i]
        x = inside[(inside[:, 0] < 31000) & (inside[:, 0] > 9000) & (abs(inside[:, 1] - 8) < 0.9)]
        slope = line_grid.interpolate(x + shift) - line_grid.interpolate(x - shift)
        scale = np.abs(slope / (2 * step)).max()
        assert_allclose(
            line_grid.jacobian(x)[:, i], slope / (2 * step), rtol=1e-5, atol=1e-6 * scale
        )


def test_float32_stays(line_grid, inside):
    single = TemplateGrid(
        line_grid.wavelength, line_grid.flux.astype("f4"), as_labels(line_grid.labels)
    )
    assert single.flux.dtype == single.interpolate(inside).dtype == np.float32
    assert single.jacobian(inside).dtype == np.float32
    assert_allclose(single.interpolate(inside), line_grid.interpolate(inside), rtol=3e-6)
    scale = np.abs(line_grid.jacobian(inside)).max(axis=(0, 2), keepdims=True)
    assert_allclose(single.jacobian(inside) / scale, line_grid.jacobian(inside) / scale, atol=2e-5)
    assert single.observe(WAVELENGTH[50:-50], fwhm=3).flux.dtype == np.float32


def test_exact_in_log_flux_and_log_teff():
    teff = np.array([8000.0, 9000, 15000, 20000, 40000])
    flux = (teff[:, np.newaxis] / 1e4) ** np.array([1.0, 2.0, -0.5])
    grid = TemplateGrid([1.0, 2, 3], flux, {"teff": teff})
    assert_allclose(grid.interpolate([[11000.0]]), [1.1 ** np.array([1.0, 2.0, -0.5])], rtol=1e-12)
    assert_allclose(grid.jacobian([[11000.0]])[0, 0, :2], [1e-4, 2.2e-4], rtol=1e-10)
    plain = TemplateGrid([1.0, 2, 3], np.exp(teff[:, np.newaxis] * [1e-5, 0, 2e-5]), {"teff": teff},
                         log_labels=())  # fmt: skip
    assert_allclose(np.log(plain.interpolate([[11000.0]])), [[0.11, 0, 0.22]], atol=1e-12)


def test_pixels_that_are_not_positive_are_interpolated_as_they_are():
    depth = np.array([0.0, 1, 2, 3])
    flux = np.column_stack([np.exp(depth), depth, depth - 1])
    grid = TemplateGrid([1.0, 2, 3], flux, {"depth": depth})
    assert_allclose(grid.interpolate([[1.5], [0.25]]), [[np.exp(1.5), 1.5, 0.5],
                                                        [np.exp(0.25), 0.25, -0.75]])  # fmt: skip
    assert_allclose(grid.jacobian([[1.5]]), [[[np.exp(1.5), 1, 1]]])


def test_unit_of_the_flux_does_not_matter(line_grid, inside):
    tiny = TemplateGrid(line_grid.wavelength, line_grid.flux * 1e-25, as_labels(line_grid.labels))
    assert_allclose(tiny.interpolate(inside) * 1e25, line_grid.interpolate(inside), rtol=1e-11)


def test_order_of_templates_does_not_matter(line_grid, inside):
    order = np.random.default_rng(1).permutation(len(line_grid))
    mixed = TemplateGrid(
        line_grid.wavelength, line_grid.flux[order], as_labels(line_grid.labels[order])
    )
    assert_allclose(mixed.interpolate(inside), line_grid.interpolate(inside), rtol=1e-12)


def test_incomplete_and_scattered(grid_at, all_pairs, closed_form):
    labels = all_pairs()
    notched = grid_at(labels[(labels[:, 0] < 15000) | (labels[:, 1] > 7.6)])
    assert_array_equal(
        notched.contains([[10000, 7.2], [20000, 7.2], [20000, 8.2]]), [True, False, True]
    )
    truth = closed_form(WAVELENGTH, [20000.0], [8.2])
    assert_allclose(notched.interpolate([20000, 8.2]), truth, rtol=1e-2)
    rng = np.random.default_rng(0)
    scattered = grid_at(np.column_stack([rng.uniform(8000, 32000, 300), rng.uniform(7, 9, 300)]))
    assert_allclose(scattered.interpolate([20000, 8.2]), truth, rtol=1e-2)
    with pytest.raises(ValueError, match="interpolation='cubic' needs labels that fill"):
        grid_at(notched.labels, interpolation="cubic").interpolate([20000, 8.2])


def test_contains(line_grid):
    rows = [[8000, 7], [32000, 9], [7990, 8], [8000, 9.01], [np.nan, 8], [-1, 8], [0, 8]]
    assert_array_equal(line_grid.contains(rows), [True] * 2 + [False] * 5)
    assert_array_equal(line_grid.contains(np.float32([[8000 - 0.0004, 7 - 5e-7]])), [True])


def test_attributes(line_grid):
    assert line_grid.label_names == ("teff", "logg")
    limits = line_grid.limits
    assert list(limits) == ["teff", "logg"]
    assert_allclose(list(limits.values()), [(8000, 32000), (7, 9)])
    assert len(line_grid) == 117
    assert repr(line_grid) == (
        "<TemplateGrid: 117 templates, teff 8000-32000, logg 7-9, 401 pixels, 4000.0-5000.0 A>"
    )
    one = line_grid.select(logg=8.0)
    assert "13 templates, teff 8000-32000, logg 8, 401" in repr(one)


def test_one_row_is_a_matrix(line_grid):
    assert line_grid.interpolate([10000, 8]).shape == (1, 401)
    assert line_grid.jacobian([10000, 8]).shape == (1, 2, 401)
    assert_array_equal(line_grid.contains([10000, 8]), [True])
    assert line_grid.interpolate(np.empty((0, 2))).shape == (0, 401)


def test_pickle(line_grid, inside):
    copy = pickle.loads(pickle.dumps(line_grid))
    assert_array_equal(copy.interpolate(inside), line_grid.interpolate(inside))


def test_select(line_grid):
    part = line_grid.select(teff=(9000, 20000), logg=(7.5, 8.5))
    inside = (line_grid.labels >= [9000, 7.5]).all(axis=1)
    inside &= (line_grid.labels <= [20000, 8.5]).all(axis=1)
    assert_array_equal(part.labels, line_grid.labels[inside])
    assert_array_equal(part.flux, line_grid.flux[inside])
    assert part.label_names == line_grid.label_names
    one = line_grid.select(logg=8)
    assert one.limits["logg"] == (8, 8)
    assert_array_equal(one.contains([[9000, 8], [9000, 8.25]]), [True, False])
    assert_array_equal(one.jacobian([9000, 8])[0, 1], np.zeros(401))


def test_parameters_are_kept(grid_at, all_pairs):
    grid = grid_at(all_pairs(), log_labels=(), interpolation="linear")
    for copy in (grid.select(logg=(7, 8)), grid.observe(WAVELENGTH[20:-20])):
        assert (copy.log_labels, copy.interpolation) == ((), "linear")


def test_observe_is_the_blurred_mean_of_pixels(line_grid):
    target = np.linspace(4100, 4900, 150)
    observed = line_grid.observe(target, resolution=800)
    matrix = pixel_matrix(
        pixel_edges(line_grid.wavelength), pixel_edges(target),
        gaussian_sigma(line_grid.wavelength, resolution=800),
    )  # fmt: skip
    assert_allclose(observed.flux, (matrix @ line_grid.flux.T).T, rtol=1e-8)
    assert_array_equal(observed.wavelength, target)
    assert_array_equal(observed.labels, line_grid.labels)


def test_observe_own_pixels_is_nothing(line_grid):
    assert_allclose(line_grid.observe(line_grid.wavelength).flux, line_grid.flux, rtol=1e-12)


def test_width_per_pixel(line_grid):
    target = np.linspace(4100, 4900, 150)
    same = line_grid.observe(target, fwhm=np.full(150, 6.0))
    assert_allclose(same.flux, line_grid.observe(target, fwhm=6.0).flux, rtol=1e-12)
    growing = line_grid.observe(target, resolution=target / 6.0)
    assert_allclose(growing.flux, same.flux, rtol=2e-6)


def test_points_far_apart_are_joined_by_lines():
    # Few points where a model is straight, many in its line, as in model atmospheres.
    line = 4500 + np.linspace(-20, 20, 401)
    sparse = np.concatenate([[4000, 4130, 4321, 4390], line, [4620, 4777, 4801, 5000]])
    fine = np.arange(4000, 5000, 0.05)
    flux = 3 - sparse / 4000 - np.exp(-0.5 * ((sparse - 4500) / 3) ** 2)
    target = np.arange(4050, 4950, 1.5)
    one = {"depth": [1.0]}
    observed = TemplateGrid(sparse, [flux], one).observe(target, resolution=1500)
    exact = TemplateGrid(fine, [np.interp(fine, sparse, flux)], one)
    assert_allclose(observed.flux, exact.observe(target, resolution=1500).flux, rtol=3e-4)
    assert_allclose(observed.flux[0, :150], 3 - target[:150] / 4000, rtol=1e-5)


def test_only_what_is_near_matters():
    # Far in the infrared the line-spread function is wider than the whole optical range.
    wavelength = np.concatenate([np.arange(3900.0, 5100), np.geomspace(5100, 1e8, 300)])
    grid = TemplateGrid(wavelength, [1e4 / wavelength], {"depth": [1.0]})
    short = TemplateGrid(wavelength[:1200], [1e4 / wavelength[:1200]], {"depth": [1.0]})
    target = np.arange(4000.0, 5000)
    assert_allclose(
        grid.observe(target, resolution=500).flux, short.observe(target, resolution=500).flux,
        rtol=1e-12,
    )  # fmt: skip


def test_reach_of_the_instrument(line_grid):
    fwhm = 2.3548 * 10  # three standard deviations are 30 A
    assert line_grid.observe(np.arange(4030, 4970.0), fwhm=fwhm).flux.shape == (117, 940)
    message = (
        r"cover 4019.50-4970.50 A, and .* needs templates over 3989.50-5000.50 A, but they cover "
        r"3998.75-5001.25 A. Try pixels within 4028.75-4971.25 A"
    )
    with pytest.raises(ValueError, match=message):
        line_grid.observe(np.arange(4020, 4971.0), fwhm=fwhm)
    with pytest.raises(ValueError, match=r"The pixels cover 4099.50-5010.50 A"):
        line_grid.observe(np.arange(4100, 5011.0))


def test_too_few_points(line_grid):
    coarse = TemplateGrid(
        line_grid.wavelength[::12], line_grid.flux[:, ::12], as_labels(line_grid.labels)
    )
    message = r"points 30.00 A apart at 4\d\d0.0 A, 30 times what .* bend by [1-6]\d%"
    with pytest.raises(ValueError, match=message):
        coarse.observe(np.arange(4100, 4900.0))
    with pytest.raises(ValueError, match=r"points 30.00 A apart .* 3 times"):
        coarse.observe(np.arange(4100, 4900.0), fwhm=20)
    assert coarse.observe(np.arange(4100, 4900, 30.0)).flux.shape == (117, 27)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wavelength": [1.0, 3, 2]}, "wavelength must be finite and strictly increasing"),
        ({"flux": np.ones((4, 2))}, r"flux has shape \(4, 2\), but \(n_templates, 3\)"),
        ({"flux": np.ones(3)}, r"flux has shape \(3,\)"),
        ({"flux": np.ones((0, 3)), "labels": {"teff": []}}, "at least one template"),
        ({"flux": np.diag([1, np.nan, 1, np.inf])[:, :3]}, r"flux of template 1 .* \(1 templates"),
        ({"labels": {}}, "labels is empty"),
        ({"labels": {"teff": [1.0, 2, 3]}}, r"labels\['teff'\] has shape \(3,\)"),
        ({"labels": {"teff": [1.0, 2, 3, np.nan]}}, "of which 3 are finite"),
        ({"labels": {"teff": [1.0, 2, 3, 0]}}, "'teff' reaches down to 0, and has no logarithm"),
        ({"log_labels": ("tef",)}, r"log_labels has \['tef'\], but the labels are"),
        ({"interpolation": "quintic"}, "interpolation='quintic' is not known"),
    ],
)
def test_messages(change, message):
    good = {"wavelength": [1.0, 2, 3], "flux": np.ones((4, 3)), "labels": {"teff": [1.0, 2, 3, 4]}}
    with pytest.raises(ValueError, match=message):
        TemplateGrid(**{**good, **change})


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda g: g.interpolate([[1e4, 8], [5000, 8]]),
         r"Row 1 of labels, {'teff': 5000.0, 'logg': 8.0}, is not .* 1 of 2 rows.*'teff': \(8000"),
        (lambda g: g.jacobian([1e4, 9.5]), "'logg': 9.5"),
        (lambda g: g.interpolate([[1e4, np.nan]]), "'logg': nan"),
        (lambda g: g.interpolate([1e4, 8, 0]), r"shape \(3,\), but \(n, 2\) is needed"),
        (lambda g: g.contains([[[1e4, 8]]]), r"shape \(1, 1, 2\)"),
        (lambda g: g.select(mass=(0.5, 0.6)), "'mass' is not a label of this grid. It has"),
        (lambda g: g.select(logg=(9, 8)), r"logg=\(9, 8\): expected \(low, high\)"),
        (lambda g: g.select(logg=(7, 8, 9)), "expected"),
        (lambda g: g.select(logg=(9.5, 9.7)), r"No template is inside {'logg': \(9.5, 9.7\)}"),
        (lambda g: g.observe([4200.0, 4300], resolution=100, fwhm=1), "Pass one of them"),
        (lambda g: g.observe([4200.0, 4300], fwhm=[1, 2, 3]), r"shape \(3,\), but one number"),
        (lambda g: g.observe([4300.0, 4200]), "strictly increasing"),
    ],
)  # fmt: skip
def test_messages_of_methods(line_grid, use, message):
    with pytest.raises(ValueError, match=message):
        use(line_grid)


def test_leaving_out_koester_models(data_dir):
    grid = TemplateGrid.read(data_dir / "models_da_koester2010_svo.npz")
    grid = grid.select(teff=(6000, 60000)).observe(lamost_grid(), resolution=1800)
    rank = [np.unique(column, return_inverse=True)[1].ravel() for column in grid.labels.T]
    kept = (rank[0] % 2 == 0) & (rank[1] % 2 == 0)
    half = TemplateGrid(grid.wavelength, grid.flux[kept], as_labels(grid.labels[kept]))
    out = ~kept & half.contains(grid.labels)
    error = np.abs(half.interpolate(grid.labels[out]) / grid.flux[out] - 1)
    assert out.sum() > 500
    assert np.median(error) < 2e-4
    assert np.quantile(error, 0.99) < 5e-3


def test_incomplete_grids_cover_their_templates(data_dir):
    for name in ("models_da_tremblay_3d_lte", "models_db_tremblay_1d"):
        grid = TemplateGrid.read(data_dir / f"{name}.npz")
        assert_allclose(grid.interpolate(grid.labels[::7]), grid.flux[::7], rtol=3e-6)
    assert_array_equal(
        grid.contains([[5750, 8, -30], [2500, 8, -15], [2500, 8, -7]]), [True, False, True]
    )


def test_widths_with_a_unit(line_grid):
    pixels = np.linspace(4100.0, 4900.0, 400)
    plain = line_grid.observe(pixels, fwhm=5.0).flux
    assert_allclose(line_grid.observe(pixels, fwhm=0.5 * u.nm).flux, plain, rtol=1e-12)
    each = np.full(400, 0.5) * u.nm
    assert_allclose(line_grid.observe(pixels / 10 * u.nm, fwhm=each).flux, plain, rtol=1e-9)
    with pytest.raises(u.UnitConversionError, match="fwhm is in km"):
        line_grid.observe(pixels, fwhm=5 * u.km / u.s)


def test_white_dwarfs_with_units():
    x = np.linspace(400.0, 500.0, 50)
    grid = make_white_dwarf_grid(teff=[10, 20] * u.kK, logg=8.0, wavelength=x * u.nm)
    plain = make_white_dwarf_grid(teff=[10_000, 20_000], logg=8.0, wavelength=10 * x)
    assert_allclose(grid.flux, plain.flux, rtol=1e-9)
