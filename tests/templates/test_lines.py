import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skestnet.spectra._wavelength import BALMER_LINES
from skestnet.templates._lines import HALF_WIDTHS, FitPixels, Window, line_windows


def test_named_windows():
    names = ["H-beta", "H-delta"]
    delta, beta = line_windows(names)
    assert delta == ("H-delta", 4102.90 - 75, 4102.90 + 75)
    assert beta == ("H-beta", 4862.69 - 200, 4862.69 + 200)
    assert [w.high - w.low for w in line_windows(names, 30.0)] == pytest.approx([60.0, 60.0])


def test_centres_are_those_of_rydberg_in_vacuum():
    hydrogen = 1.09677583e-3  # Rydberg constant of hydrogen, per Angstrom
    for centre, n in zip(BALMER_LINES.values(), range(3, 9), strict=True):
        assert_allclose(centre, 1 / hydrogen / (1 / 4 - 1 / n**2), rtol=2e-5)  # and fine structure


def test_the_usual_windows_are_disjoint():
    windows = line_windows(list(BALMER_LINES))
    usual = [(line - HALF_WIDTHS[n], line + HALF_WIDTHS[n]) for n, line in BALMER_LINES.items()]
    assert [(w.low, w.high) for w in windows] == sorted(usual)


def test_overlapping_windows_are_cut_midway():
    left, right = line_windows([(4050, 4200), (4000, 4100)])
    assert (left.low, left.high) == (4000, 4075)
    assert right.low == np.nextafter(4075, np.inf)
    assert right.high == 4200


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.sets(st.sampled_from(list(BALMER_LINES)), min_size=1), st.floats(15, 90))
def test_no_pixel_is_in_two_windows(names, half_width):
    wavelength = np.arange(3700.0, 7000.0)
    windows = line_windows(sorted(names), half_width)
    pixels = FitPixels.of(wavelength, windows, degree=1)
    used = np.concatenate([np.arange(wavelength.size)[columns] for columns in pixels.inside])
    wanted = [any(w.low <= value <= w.high for w in windows) for value in wavelength]
    assert_array_equal(used, np.flatnonzero(wanted))


def test_the_continuum_is_any_polynomial_in_each_window():
    wavelength = np.sort(np.random.default_rng(0).uniform(4000, 4200, 150))
    windows = [Window("a", 4010, 4070), Window("b", 4100, 4180)]
    pixels = FitPixels.of(wavelength, windows, degree=2)
    assert pixels.basis.shape == (sum(map(len, (wavelength[c] for c in pixels.inside))), 6)
    for group, term, columns in zip(pixels.groups, pixels.terms, pixels.inside, strict=True):
        assert not np.delete(pixels.basis[group], term, axis=1).any()
        powers = np.vander(wavelength[columns] - 4100, 3)
        found = np.linalg.lstsq(pixels.basis[group, term], powers, rcond=None)[0]
        assert_allclose(pixels.basis[group, term] @ found, powers, rtol=1e-9, atol=1e-6)


def test_short_windows_get_a_lower_degree():
    terms = [
        FitPixels.of(np.arange(n, dtype=float), [Window("all", 0, n - 1)], degree=3).basis.shape[1]
        for n in (2, 7, 8, 12, 40)
    ]
    assert terms == [1, 1, 2, 3, 4]


def test_reach_holds_every_shifted_pixel():
    wavelength = np.linspace(4000, 4200, 201)
    window = [Window("a", 4050, 4150)]
    pixels = FitPixels.of(wavelength, window, degree=1, stretch=0.002)
    reached, inside = wavelength[pixels.reach[0]], wavelength[pixels.inside[0]]
    assert reached[0] <= inside[0] / 1.002 < reached[1]
    assert reached[-2] < inside[-1] / 0.998 <= reached[-1]
    still = FitPixels.of(wavelength, window, degree=1)
    assert still.reach == still.inside


def test_selecting_the_pixels():
    spectra = np.arange(40).reshape(2, 20)
    pixels = FitPixels.of(np.arange(20.0), [Window("a", 2, 5), Window("b", 11, 12.5)], degree=0)
    assert_array_equal(pixels.select(spectra)[0], [2, 3, 4, 5, 11, 12])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"holds no line: expected names \(H-alpha, .*H8\)"),
        (["Hbeta"], r"lines holds 'Hbeta': known names are H-alpha.*\(low, high\) pair"),
        ([(4100, 4000)], r"lines holds \(4100, 4000\).*the shorter first"),
        ([(4000, 4100, 4200)], "expected a name or two wavelengths"),
        ((4000, 4100), "lines holds 4000: expected a name or two wavelengths"),
        ([("4000", 4100)], "expected a name or two wavelengths"),
        ([(4000, 4100), (4020, 4050)], r"4000.0-4100.0 A\) and .*one inside the other"),
        (["H-beta", "H-beta"], "one inside the other"),
    ],
)
def test_messages(lines, message):
    with pytest.raises(ValueError, match=message):
        line_windows(lines)


@pytest.mark.parametrize(
    ("lines", "stretch", "message"),
    [
        (
            ["H-beta", "H-epsilon"],
            0.0,
            r"covers 3999.5-5100.5 A, but not all of H-epsilon \(3921.2",
        ),
        (["H-alpha", "H-epsilon"], 0.0, "H-epsilon .* H-alpha .*Leave these out of lines"),
        ([(4000.0, 4100.0)], 0.001, "not all of window"),
        ([(4000.3, 4000.7)], 0.0, r"window \(4000.3-4000.7 A\) holds 0 pixels: at least 2"),
    ],
)
def test_messages_of_windows_without_pixels(lines, stretch, message):
    wavelength = np.arange(4000.0, 5101.0)
    with pytest.raises(ValueError, match=message):
        FitPixels.of(wavelength, line_windows(lines), degree=1, stretch=stretch)


def test_a_single_name_is_a_line():
    assert line_windows("H-beta") == line_windows(["H-beta"])
