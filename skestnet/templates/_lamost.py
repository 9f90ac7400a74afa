"""What a LAMOST exposure collects: the throughput of the spectrograph and the night sky.

Read off the error spectra of 176 public LAMOST DR1 low-resolution spectra: the variance of each
pixel was decomposed, over spectra of different brightness, into a part proportional to the flux,
which gives the throughput, and a constant one, which gives sky and read-out. The decomposition
follows the errors within 5% in the median, three quarters of the pixels within 10%
(``benchmarks/bench_quoted.py``). One native pixel is 1e-4 in log10 wavelength.
"""

import numpy as np
from numpy.typing import NDArray

from skestnet.spectra._pixels import FWHM_PER_SIGMA

FloatArray = NDArray[np.float64]

READ_NOISE = 15.0  # electrons per native pixel, of all the detector pixels that it sums
ARMS_JOIN = 5800.0  # A: here the blue arm of the spectrograph ends and the red one begins

# Wavelength (A), electrons per unit of flux relative to 5000 A, variance without a source
# (electrons per native pixel, between the lines of the sky).
_TABLE = np.array(
    [
        (3700, 0.030, 290), (3725, 0.039, 315), (3760, 0.055, 402), (3800, 0.075, 546),
        (3850, 0.099, 620), (3900, 0.132, 685), (4000, 0.198, 875), (4100, 0.265, 980),
        (4200, 0.345, 1067), (4300, 0.420, 1180), (4400, 0.516, 1274), (4550, 0.664, 1330),
        (4700, 0.778, 1380), (5000, 1.000, 1520), (5200, 1.060, 1470), (5400, 1.110, 1480),
        (5500, 1.100, 1450), (5600, 0.954, 1390), (5700, 0.700, 1400), (5750, 0.650, 1225),
        (5800, 0.900, 1225), (5850, 1.120, 1500), (5950, 1.515, 2030), (6050, 1.810, 2400),
        (6200, 2.263, 2900), (6400, 2.830, 3450), (6600, 3.400, 3400), (6900, 3.900, 3700),
        (7200, 4.540, 3950), (7600, 5.400, 4800), (8000, 5.300, 5200), (8400, 5.100, 4650),
        (8800, 4.300, 3800), (9000, 3.400, 3950), (9100, 3.000, 3950),
    ]
)  # fmt: skip
# Lines of the night sky (vacuum A; electrons per native pixel at the peak): Hg, [O I], Na, OH.
_LINES = np.array(
    [
        (4048.8, 840), (4360.3, 2650), (5463.1, 2450), (5579.2, 167500), (5891.5, 2980),
        (6302.7, 27300), (6364.9, 3800), (6831.1, 3500), (6864.0, 3100), (6873.6, 6200),
        (6915.3, 2300), (6949.9, 2400), (7190.2, 3200), (7244.1, 10900), (7279.5, 15000),
        (7318.5, 7100), (7342.9, 10800), (7370.5, 5300), (7403.7, 4200), (7439.4, 2800),
        (7476.5, 3000), (7526.0, 5400), (7570.7, 3000), (7717.7, 20600), (7754.3, 27900),
        (7796.5, 9100), (7823.8, 18300), (7857.0, 24700), (7891.3, 6800), (7917.5, 30300),
        (7967.9, 18100), (7995.0, 14900), (8027.0, 7700), (8232.3, 3600), (8292.1, 33500),
        (8347.9, 83600), (8401.8, 37900), (8432.8, 39800), (8468.2, 65700), (8632.6, 14900),
        (8777.2, 35500), (8831.0, 160000), (8888.8, 53400), (8921.9, 59200), (8960.2, 31800),
        (9002.6, 5000), (9054.3, 18400),
    ]
)  # fmt: skip
_LINE_RESOLUTION = 1500.0  # wavelength over full width of the lines in the error spectra

TABLE_RANGE = (float(_TABLE[0, 0]), float(_TABLE[-1, 0]))


def native_width(wavelength: FloatArray) -> FloatArray:
    """Width of a native pixel at each wavelength, in Angstrom."""
    return np.log(10.0) * 1e-4 * wavelength


def throughput(wavelength: FloatArray) -> FloatArray:
    """Electrons per native pixel and unit of flux, relative to 5000 A."""
    return np.interp(wavelength, _TABLE[:, 0], _TABLE[:, 1])


def sky_continuum(wavelength: FloatArray) -> FloatArray:
    """Electrons per native pixel from the sky between its lines."""
    return np.interp(wavelength, _TABLE[:, 0], _TABLE[:, 2] - READ_NOISE**2)


def sky_lines(wavelength: FloatArray) -> FloatArray:
    """Electrons per native pixel from each line of the sky near `wavelength`, (n_lines, n_pixels).

    Lines that do not reach into the wavelengths are left out.
    """
    centre, peak = _LINES[:, :1], _LINES[:, 1:]
    sigma = centre / _LINE_RESOLUTION / FWHM_PER_SIGMA
    profile = np.exp(-0.5 * ((wavelength - centre) / sigma) ** 2)
    return (peak * profile)[profile.max(axis=1) > 1e-2]
