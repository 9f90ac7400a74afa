"""What the benchmarks share: the paper's metrics, and tables that say where they are from."""

from __future__ import annotations

import csv
import datetime
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    median_absolute_error,
    root_mean_squared_error,
)

import skestnet

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    *("skestnet", "scikit-learn", "skorch", "torch", "numpy", "scipy"),
    *("lightgbm", "xgboost", "catboost", "ngboost", "aeon", "cleanlab"),
)

# Section 2.5 of the paper, eqs. 22-25.
METRICS = {
    "MAE": mean_absolute_error,
    "RMSE": root_mean_squared_error,
    "MAPE": mean_absolute_percentage_error,
    "ME": median_absolute_error,
}


def paper_metrics(y_true: Any, y_pred: Any) -> dict[str, Any]:
    """Compute MAE, RMSE, MAPE and ME, each for every label."""
    return {name: fn(y_true, y_pred, multioutput="raw_values") for name, fn in METRICS.items()}


def data_folder() -> Path:
    """Return the folder of SKESTNET_DATA, or say how to set it."""
    folder = os.environ.get("SKESTNET_DATA")
    if not folder:
        sys.exit(
            "SKESTNET_DATA is not set: point it at the folder with the raw FITS files (fits/), the "
            "model grids (models_*.npz) and the real LAMOST spectra (real_lamost_lrs_stars.npz)."
        )
    return Path(folder)


def provenance() -> dict[str, str]:
    """Say when, from which commit, with which versions and hardware, and by which command."""
    versions = filter(None, map(_version, PACKAGES))
    script = Path(sys.argv[0]).name
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": ", ".join(versions),
        "hardware": f"{_processor()}, {os.cpu_count()} cores, {_used()}",
        "command": " ".join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
    }


def _version(name: str) -> str:
    """Name a package with its version, if it is installed."""
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """Return the commit, and whether anything but results was changed since."""
    elsewhere = (":/", ":(top,exclude)benchmarks/results")
    changed = _git("diff", "--name-only", "HEAD", "--", *elsewhere)
    return _git("describe", "--always", "--abbrev=10") + ("-dirty" if changed else "") or "unknown"


def _used() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{torch.get_num_threads()} threads of torch, {gpu}"


def _git(*arguments: str) -> str:
    root = Path(__file__).parent
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()


def save_table(name: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows to results/<name>.csv, whole or not at all, with their provenance as comments."""
    RESULTS.mkdir(exist_ok=True)
    text = io.StringIO()
    text.writelines(f"# {key}: {value}\n" for key, value in provenance().items())
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _rounded(value) for key, value in row.items()} for row in rows)
    path = RESULTS / f"{name}.csv"
    partial = path.with_suffix(".partial")
    partial.write_text(text.getvalue())
    partial.replace(path)
    return path


class Progress:
    """Rows of a long run, kept in a file as they come, so that a killed run can go on.

    The file's name holds a digest of the scripts and of the package: rows of another version are
    not mixed in. Each row has the commit that it was computed at.

    Parameters
    ----------
    name : str
        Beginning of the file's name.
    *scripts : path-like
        Scripts that the rows depend on.
    key : tuple of str, default=()
        What tells rows apart: of those with the same, which processes that share the work can
        compute twice, the last counts.
    """

    def __init__(self, name: str, *scripts: str | Path, key: tuple[str, ...] = ()) -> None:
        digest = hashlib.sha1()
        package = sorted(Path(skestnet.__file__).parent.rglob("*.py"))
        for path in [*map(Path, scripts), *package]:
            digest.update(path.read_bytes())
        self.commit = _commit()
        self.key = key
        self.version = digest.hexdigest()[:8]
        self.path = RESULTS / f"{name}.{self.version}.jsonl"
        others = [path.name for path in RESULTS.glob(f"{name}.*.jsonl") if path != self.path]
        if others and not self.path.exists():
            print(f"Rows of other versions are not used: {', '.join(others)}.")

    def rows(self) -> list[dict[str, Any]]:
        """Read the rows so far; a line that a kill cut short is left out."""
        found = []
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return last_of_each(found, self.key) if self.key else found

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Append rows, with the commit: one write, so that several processes can share the file."""
        RESULTS.mkdir(exist_ok=True)
        for row in rows:
            row["commit"] = self.commit
        # A leading line break ends what a kill cut short.
        text = "".join("\n" + json.dumps(row, default=float) for row in rows) + "\n"
        with self.path.open("a") as file:
            file.write(text)


def last_of_each(rows: list[dict[str, Any]], key: tuple[str, ...]) -> list[dict[str, Any]]:
    """Leave out the rows that a later one with the same key replaces."""
    return list({tuple(row[name] for name in key): row for row in rows}.values())


def _rounded(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float | np.floating) else value


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows under their column names."""
    if not rows:
        print("no rows")
        return
    cells = [[str(_rounded(value)) for value in row.values()] for row in rows]
    table = [list(rows[0]), *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
