"""The command line: ``python -m skestnet predict MODEL FILES... --out stars.fits``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skestnet import load, predict_survey
from skestnet._survey._tables import n_stored_rows
from skestnet.spectra import Spectra, lamost_grid

LAMOST = "lamost"


class Parser(argparse.ArgumentParser):
    """A parser that skips empty lines of lists."""

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Return the argument on a line of a list, if there is one."""
        return [arg_line] if arg_line.strip() else []


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    main = Parser(prog="python -m skestnet")
    commands = main.add_subparsers(dest="command", required=True)
    add = commands.add_parser(
        "predict",
        help="write a catalogue of labels for survey files",
        description="Write a catalogue of labels for survey files. A run that was killed goes on "
        "when the same command is given again.",
        epilog="@list.txt stands for the lines of list.txt.",
        fromfile_prefix_chars="@",
    ).add_argument
    add("model", metavar="MODEL", type=Path, help="file that skestnet.save has written")
    add("files", metavar="FILES", nargs="+", help="files of spectra")
    add("--out", required=True, help="catalogue to write: .fits or .parquet")
    add(
        "--wavelength",
        required=True,
        metavar="GRID",
        help="wavelengths that the model was trained on, in Angstrom: a file .npy or of text, or "
        f"'{LAMOST}' for lamost_grid(n_pixels)",
    )
    add("--method", choices=["linear", "flux-conserving"], default="linear", help="resampling")
    add("--labels", type=words, metavar="A,B", help="names of the labels")
    add("--confidence", type=levels, default=[0.68], metavar="P,Q", help="default: 0.68")
    add("--detector", type=Path, metavar="FILE", help="OutOfDomainDetector that save has written")
    add("--chunk-size", type=int, default=1000, metavar="N", help="files done at a time")
    add("--jobs", type=int, default=1, metavar="N", help="processes that read; -1: all")
    add("--overwrite", action="store_true", help="replace a catalogue of this name")
    add("--quiet", action="store_true", help="show no progress")
    return main


def words(text: str) -> list[str]:
    """Split a list at its commas."""
    return text.split(",")


def levels(text: str) -> list[float]:
    """Read numbers with commas between them."""
    return [float(word) for word in text.split(",")]


def grid(text: str, model: Any) -> NDArray[Any]:
    """Return the wavelengths that an argument stands for."""
    if text == LAMOST:
        return lamost_grid(model.n_features_in_)
    try:
        return np.load(text, allow_pickle=False) if text.endswith(".npy") else np.loadtxt(text)
    except ValueError as error:
        raise ValueError(f"--wavelength {text} is no list of wavelengths: {error}") from error


def predict(options: argparse.Namespace) -> None:
    """Run `predict_survey`; a catalogue without rows is an error."""
    model = load(options.model)
    wavelength = grid(options.wavelength, model)
    out = predict_survey(
        model,
        options.files,
        options.out,
        prepare=partial(Spectra.to_matrix, grid=wavelength, method=options.method),
        label_names=options.labels,
        confidence=options.confidence,
        detector=options.detector and load(options.detector),
        chunk_size=options.chunk_size,
        n_jobs=options.jobs,
        overwrite=options.overwrite,
        verbose=0 if options.quiet else 1,
    )
    if not n_stored_rows(out):
        raise ValueError(f"no spectrum could be predicted: {out} has no rows.")


def run(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says; what goes wrong ends it with a message."""
    main = parser()

    def tell(message: Warning | str, *_: Any, **__: Any) -> None:
        sys.stderr.write(f"{main.prog}: {message}\n")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell
            predict(main.parse_args(arguments))  # the only command
    except (OSError, ValueError, TypeError, ImportError) as error:
        main.exit(1, f"{main.prog}: {error}\n")
    except KeyboardInterrupt as error:
        main.exit(130, f"\n{main.prog}: {error}\n")


if __name__ == "__main__":
    run()
