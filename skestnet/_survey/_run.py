"""One run over a survey: what is left to do, and whether what is done belongs to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
from tqdm import tqdm

from skestnet._survey._parts import Part, PartsFolder
from skestnet._survey._predictor import Predictor, raise_if_all_refused
from skestnet._survey._sources import Block, Source, with_reasons
from skestnet._survey._tables import Columns, n_rows, stack, take

# Another layout of the parts, or other columns, are another format.
FORMAT = 1
# Of what makes a run another one, what says something to a reader; the rest are digests.
READABLE = ("chunk_size", "label_names", "confidence", "detector", "further parameters")
OVERWRITE = "overwrite=True (--overwrite on the command line)"
# Predicted again when a run goes on, to see that the model is the same.
PROBED_ROWS = 16
# How far a label may be off then, in parts of itself and of its standard deviation.
RTOL, STD_TOL = 1e-5, 1e-3


class Run:
    """A run over the items of a source, part by part."""

    def __init__(
        self, source: Source, predictor: Predictor, folder: PartsFolder, chunk_size: int
    ) -> None:
        self.source = source
        self.predictor = predictor
        self.folder = folder
        self.chunk_size = chunk_size
        self.parts = [
            range(start, min(start + chunk_size, len(source)))
            for start in range(0, len(source), chunk_size)
        ]

    def identity(self) -> dict[str, Any]:
        """Return what makes this run another one, as JSON returns it."""
        predictor = self.predictor
        detector = predictor.detector
        own = {
            "format of the parts": FORMAT,
            "chunk_size": self.chunk_size,
            "label_names": predictor.label_names,
            "confidence": predictor.confidence,
            "detector": None if detector is None else type(detector).__name__,
            "further parameters": {name: repr(value) for name, value in predictor.params.items()},
        }
        return json.loads(json.dumps(own | self.source.identity()))

    def open(self, overwrite: bool) -> None:
        """Go on with the run in the folder, or begin one; refuse to spoil anything."""
        stored = self.folder.stored()
        if stored is None or self.folder.is_empty():
            self.folder.remove()
            stored = None
        changed = self._changed(stored)
        if changed and not overwrite:
            raise ValueError(
                f"{self.folder.path} holds what is done of another run: different are "
                f"{', '.join(changed)}. Choose another name for the catalogue, repeat the call "
                f"as it was, or pass {OVERWRITE} to throw it away."
            )
        if changed or not self.folder.is_complete():
            self._refuse_existing(overwrite)
        if changed or stored is None:
            self.folder.begin(self.identity())

    def predict(self, verbose: int) -> None:
        """Do the parts that are left."""
        left = [k for k in range(len(self.parts)) if not self.folder.has(k)]
        n_left = sum(len(self.parts[k]) for k in left)
        bar = tqdm(
            desc="Predicting",
            total=len(self.source),
            initial=len(self.source) - n_left,
            unit=f" {self.source.unit}",
            disable=verbose < 1,
        )
        is_first = len(left) == len(self.parts)
        with bar, closing(self.source.blocks([self.parts[k] for k in left])) as blocks:
            for k in left:
                self.folder.write(k, self._part(next(blocks), is_first))
                is_first = False
                bar.update(len(self.parts[k]))

    def join(self) -> str:
        """Write the tables of all parts; return what there is to say of the errors."""
        key = self.source.key
        empty = Part(key, key | {"reason": np.empty(0, str)})
        self.folder.join(len(self.parts), self.identity(), empty)
        parts = (self.folder.read(k) for k in range(len(self.parts)))
        counts, first = [0, 0], ""
        for part in parts:
            counts = [n + n_rows(table) for n, table in zip(counts, part, strict=True)]
            if not first and n_rows(part.errors):
                first = str(part.errors["reason"][0])
        if not counts[1]:
            return ""
        return (
            f"{counts[1]} errors beside {counts[0]} spectra in the catalogue: see "
            f"{self.folder.targets['errors']}. The first: {first}"
        )

    def _part(self, blocks: Iterator[Block], is_first: bool) -> Part:
        """Predict a part; all its spectra are in one of two tables afterwards."""
        catalogue: list[Columns] = []
        errors: list[Columns] = []
        n_spectra = 0

        def seen() -> Iterator[Block]:
            nonlocal n_spectra
            for block in blocks:
                n_spectra += len(block.flux) + n_rows(block.refused)
                errors.append(block.refused)
                yield block

        for block in batches(seen(), self.chunk_size):
            rows, columns, refused = self.predictor(block.flux)
            if is_first and not catalogue:
                raise_if_all_refused(len(block.flux), refused)
            if rows.size:
                catalogue.append(take(block.about, rows) | columns)
            keys = {name: block.about[name] for name in self.source.key}
            errors.append(with_reasons(keys, refused))
        part = Part(stack(catalogue), stack(errors))
        assert n_rows(part.catalogue) + n_rows(part.errors) == n_spectra
        return part

    def _refuse_existing(self, overwrite: bool) -> None:
        there = [str(file) for file in self.folder.targets.values() if file.exists()]
        if there and not overwrite:
            raise FileExistsError(
                f"{' and '.join(there)} exist(s). Choose another name, or pass {OVERWRITE}."
            )

    def _changed(self, stored: dict[str, Any] | None) -> list[str]:
        """Return by name what differs from the run in the folder."""
        if stored is None:
            return []
        wanted = self.identity()
        names = {**wanted, **stored}.keys() - {"complete"}
        changed = sorted(name for name in names if stored.get(name) != wanted.get(name))
        return [
            f"{name} ({stored.get(name)!r}, now {wanted.get(name)!r})" if name in READABLE else name
            for name in changed
        ] or self._changed_values()

    def _changed_values(self) -> list[str]:
        """Predict the first spectra again, and return by name what gives other values.

        Pickled estimators differ from one process to the next, what they predict does not.
        """
        finished = (k for k in range(len(self.parts)) if self.folder.has(k))
        for k in finished:
            stored = self.folder.read(k).catalogue
            if stored:
                new = self._first_again(k)
                return differences(take(stored, slice(n_rows(new))), new)
        return []

    def _first_again(self, k: int) -> Columns:
        """Return the first rows of a part, predicted again; none if the model takes none."""
        with closing(self.source.blocks([self.parts[k]], ahead=False)) as blocks:
            for block in batches(next(blocks), PROBED_ROWS):
                rows, columns, _ = self.predictor(block.flux)
                if rows.size:
                    return take(block.about, rows) | columns
        return {}


def batches(blocks: Iterable[Block], size: int) -> Iterator[Block]:
    """Yield blocks of at most `size` spectra and nearly as many, without what was refused."""
    waiting: list[Block] = []
    n_waiting = 0
    for block in blocks:
        for start in range(0, len(block.flux), size):
            rows = slice(start, start + size)
            piece = Block(block.flux[rows], take(block.about, rows), {})
            if waiting and n_waiting + len(piece.flux) > size:
                yield _joined(waiting)
                waiting, n_waiting = [], 0
            waiting.append(piece)
            n_waiting += len(piece.flux)
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[Block]) -> Block:
    widths = sorted({block.flux.shape[1] for block in blocks})
    if len(widths) > 1:
        raise ValueError(
            f"prepare returned spectra of {' and '.join(map(str, widths))} pixels: expected the "
            "same pixels for all."
        )
    flux = np.concatenate([block.flux for block in blocks])
    return Block(flux, stack([block.about for block in blocks]), {})


def differences(old: Columns, new: Columns) -> list[str]:
    """Return by name what made the first rows of a catalogue differ from what they were."""
    if old.keys() != new.keys():
        return ["the model"]
    same_rows = all(np.array_equal(old[name], new[name]) for name in ("file", "row") if name in old)
    if not same_rows or not np.allclose(old["snr"], new["snr"], equal_nan=True):
        return ["the spectra, or what is made of them"]
    labels = [name for name in old if f"{name}_std" in old]
    moved = {
        "the model": any(
            not _close(old[name], new[name], old[f"{label}_std"])
            for label in labels
            for name in (label, f"{label}_std")
        ),
        "the detector": "domain_margin" in old
        and not np.allclose(old["domain_margin"], new["domain_margin"], rtol=1e-3, atol=1e-3),
    }
    return [name for name, is_moved in moved.items() if is_moved]


def _close(old: Any, new: Any, std: Any) -> bool:
    return bool((np.abs(new - old) <= RTOL * np.abs(old) + STD_TOL * std).all())
