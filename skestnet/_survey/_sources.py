"""Where the spectra of a survey come from: files, or the rows of an array."""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from threading import Thread
from typing import Any, ClassVar, NamedTuple, TypeAlias

import joblib
import numpy as np
from joblib import effective_n_jobs
from joblib.externals.loky import ProcessPoolExecutor
from numpy.typing import NDArray

from skestnet._survey._refused import Refused, RowNumbers, divide
from skestnet._survey._tables import Columns, take
from skestnet.spectra import Spectra, read_spectra

# Of `Spectra.meta`, what a catalogue repeats.
ABOUT = ("object", "obsid", "ra", "dec", "snr_u", "snr_g", "snr_r", "snr_i", "snr_z")
# Files that a process reads at a time, and such bunches for each process that are read or waiting.
BUNCH, AHEAD = 16, 2
# Seconds after which processes that have nothing to do end: it takes some to start others.
IDLE = 600
# Rows of an array that stand for all where arrays are compared.
SAMPLED_ROWS = 100

Prepare: TypeAlias = Callable[[Spectra], Any]
Select: TypeAlias = Callable[[Any], tuple[NDArray[np.bool_], Any]]


class Block(NamedTuple):
    """Spectra as the model sees them, what is known of them, and what was left out.

    `refused` has the columns of `about` that identify a spectrum, and ``reason``.
    """

    flux: NDArray[Any]
    about: Columns
    refused: Columns


BlocksOfParts: TypeAlias = Generator[Iterator[Block], None, None]


class Rows:
    """The rows of an array, of which only some are in memory if it is a memmap.

    `key` has the columns that identify a spectrum, without rows.
    """

    unit = "spectrum"
    key: ClassVar[Columns] = {"row": np.empty(0, np.int64)}

    def __init__(self, array: NDArray[Any], select: Select | None) -> None:
        self.array = array
        self.select = select

    def __len__(self) -> int:
        return int(self.array.shape[0])

    def identity(self) -> dict[str, Any]:
        """Return what makes these rows others, by name."""
        rows = np.linspace(0, len(self) - 1, SAMPLED_ROWS).astype(int)
        sample = [self._row(row) for row in np.unique(rows)]
        about = [list(self.array.shape), str(self.array.dtype), joblib.hash(np.stack(sample))]
        return {"data": about, "select": digest(self.select)}

    def _row(self, row: int) -> NDArray[Any]:
        """Return a row; a memmap may bring megabytes around it into memory."""
        flux = np.array(self.array[row])
        _forget_pages(self.array)
        return flux

    def blocks(self, parts: Sequence[range], *, ahead: bool = True) -> BlocksOfParts:  # noqa: ARG002
        """Yield a block for each part, which is a run of rows."""
        for part in parts:
            yield iter([self._block(part)])
            _forget_pages(self.array)

    def _block(self, part: range) -> Block:
        flux = np.array(self.array[part.start : part.stop])
        flux = flux.astype(flux.dtype.newbyteorder("="), copy=False)
        about = {"row": np.arange(part.start, part.stop)}
        kept, refused = _selected(self.select, flux)
        return Block(flux[kept], take(about, kept), with_reasons(about, refused))


class Files:
    """Files, which processes read and prepare ahead of the model.

    `key` has the columns that identify a spectrum, without rows.
    """

    unit = "file"
    key: ClassVar[Columns] = {"file": np.empty(0, str), "row": np.empty(0, np.int64)}

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        prepare: Prepare,
        select: Select | None,
        n_jobs: int | None,
    ) -> None:
        self.files = [os.fspath(path) for path in paths]
        self.read = partial(read_block, prepare=prepare, select=select)
        self.n_jobs = effective_n_jobs(n_jobs)

    def __len__(self) -> int:
        return len(self.files)

    def identity(self) -> dict[str, Any]:
        """Return what makes these files others, by name."""
        prepare, select = (digest(self.read.keywords[name]) for name in ("prepare", "select"))
        return {
            "data": [len(self), _of_texts(self.files)],
            "wavelength or prepare": prepare,
            "select": select,
        }

    def blocks(self, parts: Sequence[range], *, ahead: bool = True) -> BlocksOfParts:
        """Yield the blocks of each part, a run of files; to be used up in order.

        With `ahead` other processes read while the caller works.
        """
        files = (self.files[item] for part in parts for item in part)
        read = self._read_ahead if ahead and self.n_jobs > 1 else self._read_at_once
        with closing(read(files)) as blocks:
            for part in parts:
                yield islice(blocks, len(part))

    def _read_at_once(self, files: Iterator[str]) -> Generator[Block, None, None]:
        yield from map(self.read, files)

    def _read_ahead(self, files: Iterator[str]) -> Generator[Block, None, None]:
        """Yield what is in each file, with few files waiting at any time.

        joblib's Parallel would hand out all files at once, whether or not the caller keeps up.
        """
        bunches = iter(lambda: list(islice(files, BUNCH)), [])
        own = {"initializer": end_with, "initargs": (os.getpid(),), "timeout": IDLE}
        with ProcessPoolExecutor(self.n_jobs, **own) as pool:
            submit = partial(pool.submit, read_blocks, self.read)
            waiting = deque(map(submit, islice(bunches, AHEAD * self.n_jobs)))
            try:
                while waiting:
                    blocks = waiting.popleft().result()
                    waiting.extend(map(submit, islice(bunches, 1)))
                    yield from blocks
            finally:
                for future in waiting:
                    future.cancel()


Source: TypeAlias = Rows | Files


def read_blocks(read: Callable[[str], Block], files: list[str]) -> list[Block]:
    """Read some files."""
    return [read(file) for file in files]


def end_with(parent: int) -> None:
    """Let this process end soon after the one that started it, which may have been killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def read_block(file: str, prepare: Prepare, select: Select | None) -> Block:
    """Read a file and prepare its spectra one file at a time, so that results are independent."""
    try:
        with warnings.catch_warnings():
            # That errors were estimated matters to weights, which are not asked for here.
            warnings.simplefilter("ignore")
            spectra = read_spectra(file, n_jobs=1)
    except (OSError, ValueError) as error:
        nothing = {"file": np.array([file]), "row": np.array([-1])}
        return Block(np.empty((0, 0)), {}, with_reasons(nothing, {0: str(error)}))
    names = np.full(len(spectra), file)
    about = {"file": names, "row": np.arange(len(spectra))}
    kept, refused = _selected(select, spectra)
    results, unprepared = divide(lambda rows: _prepared(prepare, spectra[rows]), kept)
    refused |= unprepared
    reasons = with_reasons(about, refused)
    if not results:
        return Block(np.empty((0, 0)), {}, reasons)
    kept = np.concatenate([rows for rows, _ in results])
    known = {name: np.asarray(spectra.meta[name]) for name in ABOUT}
    flux = np.concatenate([flux for _, flux in results])
    return Block(flux, take(about | known, kept), reasons)


def _selected(select: Select | None, spectra: Any) -> tuple[RowNumbers, Refused]:
    """Return the rows to keep, and why not the others."""
    everything = np.arange(len(spectra))
    if select is None:
        return everything, {}
    results, refused = divide(lambda rows: _dropped(select, spectra[rows]), everything)
    for rows, dropped in results:
        refused |= {int(rows[row]): reason for row, reason in dropped.items()}
    return np.setdiff1d(everything, list(refused)).astype(np.intp), refused


def _dropped(select: Select, spectra: Any) -> Refused:
    """Return the rows that are not to be kept, each with all reasons that the report lists."""
    keep, report = select(spectra)
    reasons: dict[int, list[str]] = {int(row): [] for row in np.flatnonzero(~np.asarray(keep))}
    for reason, rows in getattr(report, "indices", {}).items():
        for row in rows:
            reasons[int(row)].append(reason)
    return {row: ", ".join(some) or "not selected" for row, some in reasons.items()}


def _prepared(prepare: Prepare, spectra: Spectra) -> NDArray[Any]:
    """Return the matrix of some spectra, or say that it is none."""
    flux = np.asarray(prepare(spectra))
    if flux.ndim != 2 or len(flux) != len(spectra):
        raise TypeError(
            f"prepare returned an array of shape {flux.shape} for {len(spectra)} spectra: expected "
            "a matrix with a row for each, (n_spectra, n_pixels)."
        )
    return flux


def with_reasons(about: Columns, refused: Refused) -> Columns:
    """Return the rows that were refused, and why."""
    rows = sorted(refused)
    reasons = np.array([refused[row] for row in rows], dtype=str)
    return take(about, np.array(rows, dtype=np.intp)) | {"reason": reasons}


def digest(function: Any) -> str | None:
    """Return a text that is another for another function; its name where it cannot be pickled."""
    if function is None:
        return None
    try:
        return joblib.hash(function)
    except (pickle.PicklingError, AttributeError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)


def _of_texts(texts: Iterable[str]) -> str:
    joined = hashlib.sha256()
    for text in texts:
        joined.update(os.fsencode(text) + b"\0")
    return joined.hexdigest()


def _forget_pages(array: Any) -> None:
    """Let go of the pages of a memmap that were read, which would count as memory of the process.

    Those of a file that is changed on a copy only (mode "c") would be lost.
    """
    mode, base = "", array
    while isinstance(base, np.ndarray):
        mode = getattr(base, "mode", mode)
        base = base.base
    if isinstance(base, mmap.mmap) and mode in ("r", "r+") and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
