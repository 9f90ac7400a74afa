"""The folder in which a survey run keeps what is done, so that it survives being killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skestnet._survey._tables import Columns, on_disk, write_table

TABLES = ("catalogue", "errors")
PART = "part-{}.npz"


class Part(NamedTuple):
    """What came of a run of items: rows of the catalogue and of the table of errors."""

    catalogue: Columns
    errors: Columns


class PartsFolder:
    """Finished parts, one file for each, and a manifest that says what they are parts of.

    Every file is written under another name first: a file with its proper name is whole. When all
    parts are there, the tables are written inside the folder, the manifest is marked, and only then
    are they moved to their places. A run killed in between ends by moving what is left to move.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".parts")
        self.targets = {
            "catalogue": out,
            "errors": out.with_name(f"{out.stem}_errors{out.suffix}"),
        }
        self.manifest = self.path / "manifest.json"

    def stored(self) -> dict[str, Any] | None:
        """Return the manifest, None if no run was begun."""
        return json.loads(self.manifest.read_text("utf-8")) if self.manifest.exists() else None

    def begin(self, identity: dict[str, Any]) -> None:
        """Forget all parts, and note what new ones will be parts of."""
        self.remove()
        self.path.mkdir(parents=True)
        self._note(identity)

    def is_complete(self) -> bool:
        """Tell whether the tables are finished, and only remain to be moved."""
        return bool((self.stored() or {}).get("complete"))

    def is_empty(self) -> bool:
        """Tell whether a run was begun, but nothing of it is finished."""
        return not self.is_complete() and not any(self.path.glob(PART.format("*")))

    def has(self, k: int) -> bool:
        """Tell whether a part is finished."""
        return self._file(k).exists()

    def write(self, k: int, part: Part) -> None:
        """Keep a part."""
        tables = zip(TABLES, part, strict=True)
        arrays: dict[str, Any] = {
            f"{table}/{name}": values
            for table, columns in tables
            for name, values in columns.items()
        }
        temporary = self.path / "part.tmp"
        with temporary.open("wb") as stream:
            np.savez(stream, **arrays)
        os.replace(on_disk(temporary), self._file(k))

    def read(self, k: int) -> Part:
        """Return a part."""
        with np.load(self._file(k), allow_pickle=False) as arrays:
            names = {table: _below(table, arrays.files) for table in TABLES}
            return Part(
                *({name: arrays[f"{t}/{name}"] for name in some} for t, some in names.items())
            )

    def join(self, n_parts: int, identity: dict[str, Any], default: Part) -> None:
        """Write the tables of all parts, and mark them as complete."""
        for k, table in enumerate(TABLES):

            def pieces(k: int = k) -> Iterator[Columns]:
                return (self.read(part)[k] for part in range(n_parts))

            write_table(self.path / table, self.out.suffix, pieces, default[k])
            on_disk(self.path / table)
        self._note(identity | {"complete": True})

    def publish(self) -> None:
        """Move the tables to their places, and remove the folder; goes on where it was killed."""
        for table in reversed(TABLES):
            if (self.path / table).exists():
                os.replace(self.path / table, self.targets[table])
        self.remove()

    def remove(self) -> None:
        """Remove the folder, the manifest last, so that a rest of it is known for what it is.

        Files that are not of a run stay, and then the folder cannot be removed, which is an error.
        """
        if not self.path.exists():
            return
        for pattern in (*TABLES, PART.format("*"), "*.tmp", self.manifest.name):
            for file in self.path.glob(pattern):
                file.unlink()
        self.path.rmdir()

    def _note(self, identity: dict[str, Any]) -> None:
        temporary = self.path / "manifest.tmp"
        temporary.write_text(json.dumps(identity), encoding="utf-8")
        os.replace(on_disk(temporary), self.manifest)

    def _file(self, k: int) -> Path:
        return self.path / PART.format(f"{k:06d}")


def _below(table: str, names: list[str]) -> list[str]:
    return [name.removeprefix(f"{table}/") for name in names if name.startswith(f"{table}/")]
