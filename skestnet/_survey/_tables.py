"""Catalogue tables in pieces: columns of a piece, and whole tables of them as FITS or Parquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

# Vectors of one length: the columns of a table, or of a piece of it.
Columns: TypeAlias = dict[str, NDArray[Any]]
Pieces: TypeAlias = Callable[[], Iterator[Columns]]

FITS_BLOCK = 2880  # bytes


def n_rows(columns: Columns) -> int:
    """Return the number of rows of a table, which may have no columns."""
    return len(next(iter(columns.values()), ()))


def stack(pieces: Iterable[Columns]) -> Columns:
    """Put tables below each other; those without columns have no rows."""
    some = [piece for piece in pieces if piece]
    names = some[0] if some else ()
    return {name: np.concatenate([piece[name] for piece in some]) for name in names}


def take(columns: Columns, rows: Any) -> Columns:
    """Select rows."""
    return {name: values[rows] for name, values in columns.items()}


def widest(pieces: Iterable[Columns], default: Columns) -> tuple[Columns, int]:
    """Return a table of no rows that can hold all pieces, and the number of their rows."""
    empty: Columns = {}
    count = 0
    for piece in pieces:
        if n_rows(piece):
            empty = stack([empty, take(piece, slice(0))])
            count += n_rows(piece)
    return empty or default, count


def check_format(out: Path) -> None:
    """Raise if there is no way to write a table of this name."""
    if out.suffix not in WRITERS:
        raise ValueError(
            f"out={str(out)!r}: expected a file name that ends in one of {', '.join(WRITERS)}."
        )
    if out.suffix == ".parquet":
        _parquet()


def n_stored_rows(file: Path) -> int:
    """Return the number of rows of a table that was written, without reading them."""
    if file.suffix == ".parquet":
        return int(_parquet()[1].read_metadata(file).num_rows)
    return int(fits.getval(file, "NAXIS2", ext=1))


def write_table(file: Path, suffix: str, pieces: Pieces, default: Columns) -> None:
    """Write pieces as one table, one after the other; `default` has the columns if there are none.

    `pieces` is called twice, since tables begin with what is known at the end.
    """
    WRITERS[suffix](file, pieces, default)


def _write_fits(file: Path, pieces: Pieces, default: Columns) -> None:
    """Write a binary table of which never more than a piece is in memory."""

    def encoded() -> Iterator[Columns]:
        return (_ascii(piece) for piece in pieces() if n_rows(piece))

    empty, count = widest(encoded(), _ascii(default))
    table = fits.table_to_hdu(Table(empty))
    table.header["NAXIS2"] = count
    kinds = [(name, _fits_type(values.dtype)) for name, values in empty.items()]
    with file.open("wb") as stream:
        fits.PrimaryHDU().writeto(stream)
        stream.write(table.header.tostring().encode("ascii"))
        start = stream.tell()
        for piece in encoded():
            rows = np.empty(n_rows(piece), dtype=kinds)
            for name, values in piece.items():
                rows[name] = np.where(values, b"T", b"F") if values.dtype.kind == "b" else values
            stream.write(rows.tobytes())
        stream.write(b"\0" * (-(stream.tell() - start) % FITS_BLOCK))


def _ascii(columns: Columns) -> Columns:
    """Bring texts to ASCII, the only ones of FITS: other characters as Python writes them."""
    return {
        name: np.char.encode(values, "ascii", "backslashreplace")
        if values.dtype.kind == "U"
        else values
        for name, values in columns.items()
    }


def _fits_type(kind: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the bytes of a column: big-endian, truth values as letters."""
    return np.dtype("S1") if kind.kind == "b" else kind.newbyteorder(">")


def _write_parquet(file: Path, pieces: Pieces, default: Columns) -> None:
    """Write a group of rows for each piece."""
    pa, parquet = _parquet()
    empty, _ = widest(pieces(), default)
    schema = pa.table(_arrow(pa, empty)).schema
    with parquet.ParquetWriter(file, schema) as writer:
        for piece in pieces():
            if n_rows(piece):
                writer.write_table(pa.table(_arrow(pa, piece), schema=schema))


def _arrow(pa: Any, columns: Columns) -> dict[str, Any]:
    """Hand texts over one by one: pyarrow knows no fixed widths."""
    return {
        name: pa.array(values.tolist(), pa.string()) if values.dtype.kind == "U" else values
        for name, values in columns.items()
    }


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            'Parquet files need pyarrow: pip install "skestnet[benchmark]", or choose a name that '
            "ends in .fits."
        ) from error
    return pa, parquet


WRITERS: dict[str, Callable[[Path, Pieces, Columns], None]] = {
    ".fits": _write_fits,
    ".parquet": _write_parquet,
}


def on_disk(file: Path) -> Path:
    """Return a file once all of it is on the disk: it may then be renamed and relied upon."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
    return file
