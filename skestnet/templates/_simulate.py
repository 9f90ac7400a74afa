"""A survey simulated from a grid of templates, with known truth."""

from typing import NamedTuple

import numpy as np
from astropy.table import Table, hstack
from numpy.typing import NDArray

from skestnet.spectra._container import Spectra
from skestnet.templates._degrade import SpectrumDegrader
from skestnet.templates._draw_labels import LabelDraw, draw_labels
from skestnet.templates._draws import RandomSource, streams
from skestnet.templates._grid import TemplateGrid

FloatArray = NDArray[np.float64]


class SimulatedSurvey(NamedTuple):
    """Simulated spectra with the labels that they were computed for.

    Attributes
    ----------
    labels : ndarray of shape (n_spectra, n_labels)
        Labels, in the order of ``grid.label_names``.
    spectra : Spectra
        Spectra of survey quality; their `meta` is `truth`.
    truth : astropy.table.Table
        One row per spectrum: the labels under their names, and what the degrader drew.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import TemplateGrid, simulate_survey
    >>> wavelength, teff = np.arange(3900.0, 8100.0), np.array([8000.0, 10000.0, 12000.0])
    >>> grid = TemplateGrid(wavelength, (teff[:, None] / wavelength) ** 4, {"teff": teff})
    >>> survey = simulate_survey(grid, 5, random_state=0)
    >>> survey.labels.shape, survey.truth.colnames[:2]
    ((5, 1), ['teff', 'snr'])
    """

    labels: FloatArray
    spectra: Spectra
    truth: Table


def simulate_survey(
    grid: TemplateGrid,
    n: int,
    *,
    labels: LabelDraw = None,
    degrader: SpectrumDegrader | None = None,
    random_state: RandomSource = None,
    verbose: int = 0,
) -> SimulatedSurvey:
    """Draw labels, interpolate the templates there and degrade them to survey quality.

    Everything is checked before the work starts, which then goes on in blocks: beyond the spectra
    that it returns the memory it needs does not grow with `n`.

    Parameters
    ----------
    grid : TemplateGrid
        Noiseless templates.
    n : int
        Number of spectra.
    labels : dict, function, array-like or None, default=None
        Labels of the spectra:

        - None draws them uniformly within the limits of the grid, uniformly in the logarithm for
          the labels in ``grid.log_labels``;
        - a dict such as ``{"teff": (6000, 40000), "logg": 8.0}`` does so within these limits;
        - a function ``f(rng, n)`` returns labels of shape (n, n_labels);
        - an array of shape (n, n_labels) gives them.

        Where the grid contains no spectrum for labels that were drawn, they are drawn again.
    degrader : SpectrumDegrader or None, default=None
        What a survey does to spectra; its `wavelength_in` are the wavelengths of the grid. None is
        ``SpectrumDegrader(grid.wavelength)``: quality and pixels of LAMOST.
    random_state : int, Generator, RandomState or None, default=None
        Seed. A Generator is advanced, so that each call gives another survey.
    verbose : int, default=0
        Show a progress bar if positive.

    Returns
    -------
    SimulatedSurvey
        Labels, spectra and truth.

    Raises
    ------
    ValueError
        If labels are outside the grid, named wrongly or of the wrong shape, or the degrader does
        not fit the grid.

    See Also
    --------
    SpectrumDegrader : The degradation, with all its parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet.templates import SpectrumDegrader, TemplateGrid, simulate_survey
    >>> wavelength, teff = np.arange(3900.0, 8100.0), np.array([8000.0, 10000.0, 12000.0])
    >>> grid = TemplateGrid(wavelength, (teff[:, None] / wavelength) ** 4, {"teff": teff})
    >>> degrader = SpectrumDegrader(wavelength, snr=(1, 10))
    >>> survey = simulate_survey(
    ...     grid, 5, labels={"teff": (9000, 11000)}, degrader=degrader, random_state=0
    ... )
    >>> survey.spectra
    <Spectra: 5 spectra, 3909 pixels, 4000.0-8000.0 A>
    """
    if n < 1:
        raise ValueError(f"n={n!r}: at least one spectrum is needed.")
    degrader = SpectrumDegrader(grid.wavelength) if degrader is None else degrader
    _check_same_wavelengths(grid, degrader)
    degrader.check()
    rngs = streams(random_state, ("labels", "spectra"))
    values = draw_labels(grid, labels, rngs["labels"], n)
    degraded = degrader._run(
        n, lambda rows: grid.interpolate(values[rows]), rngs["spectra"], verbose
    )
    truth = hstack([Table(values, names=grid.label_names), degraded.truth])
    spectra = Spectra.from_matrix(*degraded[:4], meta=truth)
    return SimulatedSurvey(values, spectra, truth)


def _check_same_wavelengths(grid: TemplateGrid, degrader: SpectrumDegrader) -> None:
    given = np.asarray(degrader.wavelength_in, dtype=np.float64)
    if given.shape != grid.wavelength.shape or not np.allclose(given, grid.wavelength, atol=0):
        raise ValueError(
            f"The degrader has {given.size} input wavelengths, which are not the "
            f"{grid.wavelength.size} of the grid. Try degrader.set_params(wavelength_in="
            "grid.wavelength)."
        )
