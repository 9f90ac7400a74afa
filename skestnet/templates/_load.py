"""Reading model spectra: numpy archives, and text files of the Spanish Virtual Observatory."""

import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from numpy.typing import NDArray
from tqdm import tqdm

from skestnet.spectra._medium import vacuum_from_air
from skestnet.spectra._wavelength import in_unit

FloatArray = NDArray[np.float64]

_SUFFIXES = (".npz", ".txt", ".dat")
_MEDIA = ("vacuum", "air")
# What reading raises where a file is damaged, or is none of what it is called.
_BROKEN = (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
# "# teff = 10000 K (...)": a name, and a number.
_LABEL = re.compile(r"#\s*(\w+)\s*=\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)")


class Templates(NamedTuple):
    """What a grid is made of."""

    wavelength: FloatArray
    flux: NDArray[np.floating]
    labels: dict[str, FloatArray]


def load_templates(
    path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    medium: str | None = None,
    wavelength_range: tuple[float, float] | u.Quantity | None = None,
    verbose: int = 0,
) -> Templates:
    """Read the templates of one or several files, or of a folder, as one set in vacuum."""
    if medium not in (None, *_MEDIA):
        raise ValueError(f"medium={medium!r} is not known. Choose one of {_MEDIA}.")
    files = _files(path)
    ends = (0.0, np.inf) if wavelength_range is None else wavelength_range
    low, high = (in_unit(end, u.AA, "wavelength_range") for end in ends)
    if not low < high:
        raise ValueError(
            f"wavelength_range={wavelength_range!r}: expected two wavelengths in Angstrom, the "
            "shorter first."
        )
    bar = tqdm(files, desc="Reading templates", unit="file", disable=verbose < 1)
    return _joined([_cut(_read(file, medium), low, high, file) for file in bar], files)


def _files(path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files to read, in the order given or, in a folder, in that of their names."""
    if not isinstance(path, str | os.PathLike):
        files = [Path(one) for one in path]
    elif Path(path).is_dir():
        files = sorted(file for file in Path(path).iterdir() if file.suffix in _SUFFIXES)
    else:
        files = [Path(path)]
    if not files:
        raise ValueError(f"{path} has no file ending in one of {_SUFFIXES}. Try a list of files.")
    return files


def _read(file: Path, medium: str | None) -> Templates:
    """Return the templates of one file, with wavelengths in vacuum."""
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist. Patterns such as *.txt are not expanded.")
    try:
        templates = _read_npz(file) if file.suffix == ".npz" else _read_text(file)
    except _BROKEN as error:
        raise ValueError(f"{file} holds no templates that can be read: {error}") from error
    if medium is None and file.suffix != ".npz":
        raise ValueError(
            f"{file} does not say whether its wavelengths are in vacuum or in air, which differ by "
            "80 km/s. Pass medium='vacuum' or medium='air'; the latter for koester2 of the SVO."
        )
    if medium == "air":
        return templates._replace(wavelength=vacuum_from_air(templates.wavelength))
    return templates


def _cut(part: Templates, low: float, high: float, file: Path) -> Templates:
    """Return the templates inside a range, with one more point at each end to interpolate to."""
    _check_points(part, file)
    start = int(np.searchsorted(part.wavelength, low, side="right")) - 1
    stop = int(np.searchsorted(part.wavelength, high)) + 1
    keep = slice(max(start, 0), stop)
    if part.wavelength[-1] < low or part.wavelength[0] > high:
        raise ValueError(
            f"{file} covers {part.wavelength[0]:.1f}-{part.wavelength[-1]:.1f} A, nothing of "
            f"wavelength_range={(low, high)}."
        )
    return part._replace(wavelength=part.wavelength[keep], flux=part.flux[:, keep])


def _read_npz(file: Path) -> Templates:
    """Return the templates of a numpy archive."""
    # np.load leaves a broken file open, if it opened it itself.
    with file.open("rb") as stream, np.load(stream) as archive:
        found = {name: archive[name] for name in archive.files}
    missing = [name for name in ("wavelength", "flux") if name not in found]
    if missing:
        raise ValueError(f"it has the arrays {sorted(found)}, but no {' and no '.join(missing)}.")
    wavelength, flux = found.pop("wavelength").astype(np.float64), found.pop("flux")
    if wavelength.ndim != 1 or flux.ndim != 2 or flux.shape[1] != wavelength.size:
        raise ValueError(
            f"wavelength has shape {wavelength.shape} and flux {flux.shape}, not (n_pixels,) and "
            "(n_templates, n_pixels)."
        )
    odd = [name for name, values in found.items() if values.shape != flux.shape[:1]]
    if odd or not found:
        raise ValueError(
            f"one value per template is needed for each label, but its labels are {sorted(found)} "
            f"and {odd} are of another shape."
        )
    return Templates(wavelength, flux, {k: v.astype(np.float64) for k, v in found.items()})


def _read_text(file: Path) -> Templates:
    """Return the one template of a text file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    pairs = [match.groups() for line in lines if (match := _LABEL.match(line))]
    rows = [line for line in lines if line.strip() and not line.startswith("#")]
    if not pairs or not rows:
        raise ValueError(
            f"it has {len(rows)} rows of numbers and {len(pairs)} labels, but needs at least one "
            "of each; a label is a comment line such as '# teff = 10000 K'."
        )
    columns = np.loadtxt(rows, ndmin=2)
    if columns.shape[1] != 2:
        raise ValueError(f"it has a table of shape {columns.shape}, not two columns.")
    labels = {name: np.array([float(value)]) for name, value in pairs}
    # The files have six digits, which float32 keeps at half the memory.
    return Templates(columns[:, 0], columns[np.newaxis, :, 1].astype(np.float32), labels)


def _check_points(part: Templates, file: Path) -> None:
    """Refuse what is no function of wavelength."""
    wavelength = part.wavelength
    if not wavelength.size or not np.isfinite(wavelength).all() or (np.diff(wavelength) <= 0).any():
        raise ValueError(f"{file} has wavelengths that are not finite and strictly increasing.")
    if not np.isfinite(part.flux).all():
        raise ValueError(f"{file} has fluxes that are not finite.")


def _joined(parts: list[Templates], files: list[Path]) -> Templates:
    """Return all templates on common wavelengths."""
    names = list(parts[0].labels)
    for part, file in zip(parts, files, strict=True):
        if sorted(part.labels) != sorted(names):
            raise ValueError(
                f"{file} has the labels {sorted(part.labels)}, but {files[0]} has {sorted(names)}."
            )
    wavelength = _common_wavelength([part.wavelength for part in parts], files)
    flux = np.concatenate([_resampled(part, wavelength) for part in parts])
    labels = {name: np.concatenate([part.labels[name] for part in parts]) for name in names}
    return Templates(wavelength, flux, labels)


def _common_wavelength(wavelengths: list[FloatArray], files: list[Path]) -> FloatArray:
    """Return the wavelengths of all files together, inside the range that all cover."""
    first = wavelengths[0]
    if all(np.array_equal(other, first) for other in wavelengths[1:]):
        return first
    starts, stops = [w[0] for w in wavelengths], [w[-1] for w in wavelengths]
    low, high = max(starts), min(stops)
    if not low < high:
        raise ValueError(
            f"{files[int(np.argmax(starts))]} starts at {low:.1f} A, but "
            f"{files[int(np.argmin(stops))]} ends at {high:.1f} A: there is no common range."
        )
    union = np.unique(np.concatenate(wavelengths))
    return union[(union >= low) & (union <= high)]


def _resampled(part: Templates, wavelength: FloatArray) -> NDArray[np.floating]:
    """Return the flux at other wavelengths by linear interpolation, in the same dtype."""
    if np.array_equal(part.wavelength, wavelength):
        return part.flux
    rows = [np.interp(wavelength, part.wavelength, row) for row in part.flux]
    return np.array(rows, dtype=part.flux.dtype)
