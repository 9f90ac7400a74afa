"""The bytes of a file, and what tells a damaged FITS file from a sound one."""

import gzip
import io
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

_GZIP_MAGIC = b"\x1f\x8b"
_ALL_ONES = 0xFFFFFFFF
# The FITS Standard allows 999 axes and columns; astropy loops over as many as a header claims.
_TOO_MANY = re.compile(rb"(?:NAXIS   |TFIELDS )= *[+0-9]{4,}")
_CARD = 80  # bytes


class SpectrumReadError(ValueError):
    """A file that exists but holds no spectrum that can be read.

    The message names the file and says what was found in it.

    Examples
    --------
    >>> from skestnet.spectra import SpectrumReadError
    >>> issubclass(SpectrumReadError, ValueError)
    True
    """


def content_of(file: Path) -> bytes:
    """Return the bytes of a file, decompressed where they are gzip; no handle stays open."""
    if file.is_dir():
        raise ValueError(
            f"{file} is a folder, but files are needed. Try sorted(Path({str(file)!r})"
            ".glob('*.fits*'))."
        )
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist. Patterns such as *.fits are not expanded.")
    return decompressed(file.read_bytes(), file)


def decompressed(content: bytes, file: Any) -> bytes:
    """Return bytes as they are, or decompressed where they are gzip; `file` is for messages."""
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise SpectrumReadError(f"{file} is a truncated or damaged gzip file: {error}") from error


def open_fits(content: bytes) -> fits.HDUList:
    """Return the HDUs of a sound FITS file; raise ValueError or an error of astropy for others.

    Sizes are compared before any data are touched, so that a header which claims more than the
    file holds allocates nothing.
    """
    _refuse_loops(content)
    hdus = fits.open(
        io.BytesIO(content),
        memmap=False,
        lazy_load_hdus=False,
        disable_image_compression=True,
    )
    end = 0
    for hdu in hdus:
        end = _check_hdu(hdu, memoryview(content))
    # astropy stops at a header that it cannot read, and only warns.
    if content[end:].strip(b"\0 "):
        raise ValueError(f"what follows HDU {len(hdus) - 1}, at byte {end}, is not an HDU")
    return hdus


def _refuse_loops(content: bytes) -> None:
    """Refuse headers that would keep astropy busy for hours."""
    for card in _TOO_MANY.finditer(content):
        if card.start() % _CARD == 0:
            raise ValueError(f"a header claims {card[0].decode()}, but 999 is the largest allowed")


def _check_hdu(hdu: Any, content: memoryview) -> int:
    """Return where an HDU ends, or say why it is not whole."""
    place = hdu.fileinfo()
    end = place["datLoc"] + place["datSpan"]
    if end > len(content):
        raise ValueError(f"HDU {hdu.name!r} ends at byte {end}, the file at {len(content)}")
    _check_sums(hdu, content[place["hdrLoc"] : end], content[place["datLoc"] : end])
    return int(end)


def _check_sums(hdu: Any, whole: memoryview, data: memoryview) -> None:
    """Compare an HDU with the CHECKSUM and DATASUM it carries, if any.

    The 32-bit ones'-complement sum of the data is DATASUM, and CHECKSUM is chosen so that the sum
    of the whole HDU has all bits set (FITS Standard 4.0, appendix J).
    """
    stored = str(hdu.header.get("DATASUM", "")).strip()
    if stored and int(stored) != _ones_complement_sum(data):
        raise ValueError(f"the data of HDU {hdu.name!r} do not match their DATASUM")
    if str(hdu.header.get("CHECKSUM", "")).strip() and _ones_complement_sum(whole) != _ALL_ONES:
        raise ValueError(f"HDU {hdu.name!r} does not match its CHECKSUM")


def _ones_complement_sum(block: memoryview) -> int:
    total = int(np.frombuffer(block, dtype=">u4").sum(dtype=np.uint64))
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total
