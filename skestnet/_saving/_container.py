"""The file: a zip archive of uncompressed members, one of them a manifest, and a digest at its end.

Nothing is compressed, so that no member can be larger than the file. The digest is the comment of
the archive, so that common tools open it. Nothing is ever extracted to disk.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import math
import os
import re
import tempfile
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
MANIFEST = "manifest.json"
PLACE_OF_DIGEST = b"0" * 64
MAX_MEMBERS = 1_000_000
TEMPORARY = ".{}.{}.tmp"
NAME = re.compile(r"[\w-]+(\.[a-z]+)?", re.ASCII)

Members = dict[str, bytes]
Header = tuple[tuple[int, ...], np.dtype[Any]]


def zipped(members: Mapping[str, bytes], comment: bytes = b"") -> bytes:
    """Return an archive of the members, none of them compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.comment = comment
    return buffer.getvalue()


def unzipped(data: bytes) -> Members:
    """Return the members of an archive, after a check of what their headers claim.

    Raises
    ------
    ValueError
        If the archive is damaged or not of the kind that `zipped` writes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_headers(members, len(data))
            return {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ValueError(f"the archive is damaged or not whole ({error})") from error


def _check_headers(members: list[zipfile.ZipInfo], size: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"it has {len(members)} members, more than {MAX_MEMBERS}")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it has several members of the same name")
    for member in members:
        if not NAME.fullmatch(member.filename):
            raise ValueError(f"a member has the name {member.filename!r}")
        stored = member.compress_type == zipfile.ZIP_STORED
        if not stored or member.flag_bits & 1 or member.file_size != member.compress_size:
            raise ValueError(f"the member {member.filename} is compressed or encrypted")
    claimed = sum(member.file_size for member in members)
    if claimed > size:
        raise ValueError(f"its members claim {claimed} bytes, but it has {size}")


def sealed(members: Members, versions: dict[str, str], saved: str) -> bytes:
    """Return the content of a file: the members, a manifest, and the digest of all that."""
    manifest = {"format": FORMAT, "saved": saved, "versions": versions}
    data = zipped({MANIFEST: json.dumps(manifest, indent=1).encode(), **members}, PLACE_OF_DIGEST)
    body = data[: -len(PLACE_OF_DIGEST)]
    return body + _digest(body)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def unsealed(data: bytes) -> tuple[Members, dict[str, str]]:
    """Return members and recorded versions, after checks of digest and format.

    Raises
    ------
    ValueError
        If the file is no file of `save`, is damaged, or newer than this release can read.
    """
    if not data.startswith(b"PK"):
        raise ValueError(
            "it is not a file of skestnet.save. (Files of pickle and joblib are not read here: "
            "they can run anything. If you trust where one comes from, use joblib.load.)"
        )
    body, digest = data[: -len(PLACE_OF_DIGEST)], data[-len(PLACE_OF_DIGEST) :]
    if _digest(body) != digest:
        raise ValueError(
            "its digest does not match: it was damaged or changed, is not whole, or is not a file "
            "of skestnet.save"
        )
    members = unzipped(data)
    manifest = json.loads(members.pop(MANIFEST))
    number, versions = manifest["format"], manifest["versions"]
    if type(number) is not int or number < 1:
        raise ValueError(f"its manifest has the format {number!r}: expected {FORMAT}")
    if number > FORMAT:
        raise ValueError(
            f"it has format {number}, written by skestnet {versions['skestnet']}, and this "
            f"release reads formats up to {FORMAT}: update skestnet"
        )
    return members, {str(name): str(version) for name, version in versions.items()}


def check_array(name: str, content: bytes) -> Header:
    """Compare what the header of an array in NumPy's format claims with the bytes that follow.

    Returns
    -------
    header
        Shape and dtype of the array.

    Raises
    ------
    ValueError
        If they differ, or if the array would hold Python objects, that is pickles.
    """
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"the array {name} has a format that is not known, {version}")
    shape, _, dtype = readers[version](stream)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"the array {name} has the dtype {dtype}")
    claimed, left = dtype.itemsize * math.prod(shape), len(content) - stream.tell()
    if claimed != left or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"the array {name} claims the shape {shape}, but {left} bytes follow")
    return shape, dtype


def check_place(path: Path, what: str) -> None:
    """Raise at once if a file could not be written, rather than when there is something to lose.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        With `what`, if there is no such folder, it is itself one, or is not for us to write to.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{what} is a folder: expected the name of a file.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{what}: there is no folder {target.parent}.")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise PermissionError(
            f"{what}: nothing can be written to {target.parent} ({error})."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(TEMPORARY.format(target.name, uuid.uuid4().hex))
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what a process that was killed while it wrote a file has left beside it."""
    target = Path(os.path.realpath(path))
    for leftover in target.parent.glob(TEMPORARY.format(glob.escape(target.name), "[0-9a-f]" * 32)):
        leftover.unlink(missing_ok=True)
