"""predict_survey: a catalogue of labels for more spectra than fit into memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_scalar

from skestnet._disk_rows import DiskRows, is_on_disk
from skestnet._survey._parts import PartsFolder
from skestnet._survey._predictor import DOMAIN, Predictor, percent
from skestnet._survey._run import Run
from skestnet._survey._sources import ABOUT, Files, Prepare, Rows, Select, Source
from skestnet._survey._tables import check_format
from skestnet.spectra import Spectra

Data: TypeAlias = (
    str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | NDArray[Any] | ArrayLike
)


def predict_survey(
    fitted: Any,
    data: Data,
    out: str | os.PathLike[str],
    *,
    wavelength: ArrayLike | u.Quantity | None = None,
    prepare: Prepare | None = None,
    select: Select | None = None,
    label_names: str | Sequence[str] | None = None,
    confidence: float | Sequence[float] = 0.68,
    detector: Any = None,
    chunk_size: int = 1000,
    n_jobs: int | None = None,
    overwrite: bool = False,
    verbose: int = 1,
    **params: Any,
) -> Path:
    """Write a catalogue of the labels of a survey, in constant memory, from files or an array.

    A run that was killed goes on where it was when the same call is made again. What cannot be
    read or predicted is listed with its reason in a second table, so that each spectrum is in
    either of the two.

    Parameters
    ----------
    fitted : estimator
        Fitted estimator, whatever :func:`~skestnet.predict_dist` understands.
    data : str, path-like, iterable of them, or array-like of shape (n_spectra, n_pixels)
        Files that :func:`~skestnet.spectra.read_spectra` reads, or spectra as the estimator takes
        them. Of a memmap, or an array of Zarr or HDF5, only `chunk_size` rows are in memory at a
        time.
    out : str or path-like
        Where to write the catalogue: a name that ends in ".fits" (binary table) or ".parquet"
        (needs pyarrow).
    wavelength : array-like or Quantity of shape (n_pixels,), default=None
        For files: the grid that the estimator was trained on, to which the spectra are brought by
        `Spectra.to_matrix`.
    prepare : callable, default=None
        For files, instead of `wavelength`: a function that takes the
        :class:`~skestnet.spectra.Spectra` of one file and returns their matrix.
    select : callable, default=None
        Quality cuts, such as :func:`~skestnet.spectra.usable_spectra`: a function that takes the
        `Spectra` of a file, or rows of the array, and returns which of them to keep, as truth
        values, and a report. The others go into the table of errors, with the reasons of the
        report.
    label_names : str or sequence of str, default=None
        Names of the labels, for the columns. None is ``label``, or ``label_0``, ``label_1``, ...
    confidence : float or sequence of float, default=0.68
        Levels of the intervals, in (0, 1).
    detector : OutOfDomainDetector, default=None
        Fitted detector that flags spectra unlike those that the estimator is for.
    chunk_size : int, default=1000
        Files, or rows of the array, that are finished together: what is lost by a kill at most. No
        more spectra are predicted at a time.
    n_jobs : int, default=None
        Processes that read and prepare files while the model works, as in joblib: None is 1 unless
        set by a context, -1 is one per processor. The result does not depend on it.
    overwrite : bool, default=False
        Whether a catalogue of this name may be replaced, and what was kept of a run with another
        model, other data or other parameters thrown away.
    verbose : int, default=1
        1 shows progress, with rate and time left; 0 is silent.
    **params : object
        Passed on to :func:`~skestnet.predict_dist`, for example `n_draws`.

    Returns
    -------
    pathlib.Path
        The catalogue. The table of errors is beside it: ``stars_errors.fits`` for ``stars.fits``.

    Raises
    ------
    FileExistsError
        If the catalogue or the table of errors exists.
    ImportError
        If pyarrow is needed and missing.
    KeyboardInterrupt
        If Ctrl-C is pressed; what is finished is kept.
    TypeError
        If `detector` is none.
    ValueError
        If a parameter is out of its range, the spectra do not have the pixels that the estimator
        wants, it takes none of the first spectra, or what is kept of an earlier run belongs to
        another one; the message says what is different.

    Warns
    -----
    UserWarning
        If spectra are in the table of errors.

    See Also
    --------
    predict_dist : Distributions of spectra that fit into memory.

    Notes
    -----
    The catalogue has a row for each spectrum, in the order of `data`, and the columns

    - ``file``, and ``row``, the number of the spectrum in the file or in the array, from 0;
    - for files ``object``, ``obsid``, ``ra``, ``dec`` and ``snr_u`` to ``snr_z`` as
      :func:`~skestnet.spectra.read_spectra` gives them;
    - ``snr``, the S/N per pixel that :func:`~skestnet.spectra.estimate_snr` makes of the matrix;
    - for each label, ``teff`` say: ``teff`` (mean), ``teff_std``, ``teff_lower68`` and
      ``teff_upper68``, the latter two for each level (0.954 is ``95_4``);
    - with a detector ``out_of_domain``, and ``domain_margin``, its decision function: negative
      where flagged.

    The table of errors has ``file``, ``row`` (-1 where a whole file could not be read) and
    ``reason``. FITS knows ASCII only: other characters of names are written as Python escapes them.

    Finished parts are in a folder ``stars.fits.parts`` beside the catalogue, which is written and
    put in its place at the end, when the folder goes. A call that goes on compares data and
    parameters with those noted there, and predicts a few spectra again to see that model, detector
    and preparation are the same. Run one call at a time for one catalogue.

    Memory does not grow with the number of spectra. It holds the spectra of `chunk_size` rows or
    files, and of the files that are read ahead; a file of many spectra is read as a whole.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from sklearn.linear_model import BayesianRidge
    >>> from skestnet import predict_survey
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 6))
    >>> model = BayesianRidge().fit(X, 10 * X[:, 0] + 5000)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = pathlib.Path(folder) / "stars.fits"
    ...     stars = Table.read(predict_survey(model, X, out, label_names=["teff"], verbose=0))
    >>> stars.colnames
    ['row', 'snr', 'teff', 'teff_std', 'teff_lower68', 'teff_upper68']
    >>> len(stars)
    100
    """
    out = Path(out)
    check_format(out)
    check_scalar(chunk_size, "chunk_size", Integral, min_val=1)
    if detector is not None and not hasattr(detector, "decision_function"):
        raise TypeError(
            f"detector is a {type(detector).__name__}, which has no decision_function: expected a "
            "fitted OutOfDomainDetector."
        )
    levels = _levels(confidence)
    names = _names(label_names, levels)
    source = _source(data, wavelength, prepare, select, n_jobs)
    predictor = Predictor(fitted, detector, names, levels, params)
    folder = PartsFolder(out)
    run = Run(source, predictor, folder, chunk_size)
    run.open(overwrite)
    try:
        if not folder.is_complete():
            run.predict(verbose)
            problems = run.join()
            if problems:
                warnings.warn(problems, stacklevel=2)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"What is finished is kept in {folder.path}: the same call goes on from there."
        ) from None
    folder.publish()
    return out


def _levels(confidence: float | Sequence[float]) -> list[float]:
    """Return the confidence levels, at least one."""
    levels = np.atleast_1d(np.asarray(confidence, dtype=np.float64))
    if levels.ndim > 1 or not levels.size or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"confidence={confidence!r}: expected a number in (0, 1), or several.")
    return levels.tolist()


def _names(label_names: str | Sequence[str] | None, levels: list[float]) -> list[str] | None:
    """Return the names of the labels, which give each column a name of its own."""
    if label_names is None:
        names = None
    else:
        names = [label_names] if isinstance(label_names, str) else list(label_names)
    bounds = [f"_{side}{percent(level)}" for level in levels for side in ("lower", "upper")]
    columns = ["file", "row", "snr", *ABOUT, *DOMAIN]
    columns += [name + end for name in names or ["label"] for end in ("", "_std", *bounds)]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ValueError(
            f"There would be two columns {', '.join(twice)}: choose other label_names "
            f"({names!r}), or distinct levels of confidence ({levels!r})."
        )
    return names


def _source(
    data: Any,
    wavelength: ArrayLike | u.Quantity | None,
    prepare: Prepare | None,
    select: Select | None,
    n_jobs: int | None,
) -> Source:
    """Return the files or the rows of `data`."""
    paths = _paths(data)
    if not (data.shape[0] if is_on_disk(data) else len(data if paths is None else paths)):
        raise ValueError("data is empty: expected files or spectra. Check the pattern.")
    if paths is None:
        if wavelength is not None or prepare is not None:
            raise ValueError(
                "wavelength and prepare are for files, but data is an array: expected spectra as "
                "the estimator takes them."
            )
        return Rows(_matrix(data), select)
    if (wavelength is None) == (prepare is None):
        raise ValueError(
            "Files need either wavelength, the grid that the estimator was trained on, or "
            "prepare, a function that makes a matrix of Spectra: "
            f"{'neither' if wavelength is None else 'each'} was passed."
        )
    return Files(paths, prepare or partial(Spectra.to_matrix, grid=wavelength), select, n_jobs)


def _paths(data: Any) -> list[Any] | None:
    """Return the paths in `data`, None if it holds something else."""
    if isinstance(data, str | os.PathLike):
        return [data]
    if getattr(data, "ndim", 1) != 1 or isinstance(data, Spectra):
        return None
    items = list(data)
    return items if all(isinstance(item, str | os.PathLike) for item in items) else None


def _matrix(data: Any) -> NDArray[Any]:
    """Return an array of spectra as it is, or say that it is none."""
    if is_on_disk(data):
        DiskRows(data)  # which checks shape and type
        return data
    array = np.asarray(data)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"data is an array of shape {array.shape} and type {array.dtype}: expected numbers of "
            "shape (n_spectra, n_pixels), or paths of files."
        )
    return array
