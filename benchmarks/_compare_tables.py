"""The tables of bench_compare.py: rows, estimates, and means over the splits.

The rows are in one table, the estimates that they are computed from in another, with a column for
each method; both together can be read again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _data import LABELS
from _results import METRICS, RESULTS, save_table
from scipy.stats import sem

BASE = "EstNet, three networks, both labels"  # what the others are compared with
N_BOOTSTRAP = 1000
LISTS = ("estimates", "true labels")  # in a table of their own
BEHIND = ("behind", "behind se", "behind se of splits")
SPECTRUM = ["label", "seed", "spectrum"]
MEASURED = (
    *(f"{m} truth" for m in (*METRICS, "CRPS")),
    *(f"{m} catalogue" for m in (*METRICS, "CRPS")),
    *("over bound", "search_s", "fit_s", "predict_s", "peak_MB"),
)
Rows = list[dict[str, Any]]


def save(name: str, rows: Rows) -> Rows:
    """Save the rows, the estimates and the summary, and return the last."""
    long_form = [{k: v for k, v in row.items() if k not in LISTS} for row in rows]
    table = summary(rows)
    print("saved", save_table(f"{name}_estimates", by_spectrum(rows)).name)
    print("saved", save_table(name, long_form).name)
    print("saved", save_table(f"{name}_summary", table).name)
    return table


def by_spectrum(rows: Rows) -> Rows:
    """Return a line for each label, split and test spectrum: the truth, and what methods say."""
    lines: dict[tuple[str, int, int], dict[str, Any]] = {}
    for row in rows:
        for i, (truth, value) in enumerate(zip(row["true labels"], row["estimates"], strict=True)):
            where = (row["label"], row["seed"], i)
            line = lines.setdefault(
                where, {**dict(zip(SPECTRUM, where, strict=True)), "truth": truth}
            )
            line[row["method"]] = value
    return list(lines.values())


def methods_in(name: str) -> set[str]:
    """Return the methods of a saved table, none where there is no table."""
    path = RESULTS / f"{name}.csv"
    return set(read_table(path)["method"]) if path.exists() else set()


def read_table(path: Path) -> pd.DataFrame:
    """Read a saved table, without its head."""
    text = {"commit": str, "digest": str}  # some of which could be read as numbers
    return pd.read_csv(path, comment="#", dtype=text)


def read(name: str) -> Rows:
    """Read the rows that `save` saved, with five digits; none where there are no tables.

    Raises ValueError where the rows and the estimates do not belong together, such as after a run
    that was killed between the two.
    """
    paths = [RESULTS / f"{name}{end}.csv" for end in ("", "_estimates")]
    if not any(path.exists() for path in paths):
        return []
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise ValueError(f"{missing[0]} is missing: restore it, or run without --keep.")
    rows, spectra = map(read_table, paths)
    parts = dict(list(spectra.groupby(["label", "seed"])))
    found = rows.astype(object).to_dict("records")
    for row in found:
        part = parts.get((row["label"], row["seed"]), spectra[:0])
        values = part.get(row["method"], part["truth"] * np.nan)
        if not np.isclose((values - part["truth"]).abs().mean(), row["MAE truth"], rtol=0.01):
            what = f"{row['method']}, {row['label']}, split {row['seed']}"
            raise ValueError(
                f"{what}: the estimates in {paths[1].name} are not those of {paths[0].name}. "
                "Restore both, or run without --keep."
            )
        row |= {"true labels": part["truth"].tolist(), "estimates": values.tolist()}
    return found


def summary(rows: Rows) -> Rows:
    """Average over the splits, with standard errors, of the lead of BASE too.

    A method that lacks one of the splits is left out, with a word.
    """
    seeds = sorted({row["seed"] for row in rows})
    table: Rows = []
    for label in LABELS:
        methods = {name: of for name in _names(rows) if (of := _of(rows, name, label))}
        whole = {name: of for name, of in methods.items() if [r["seed"] for r in of] == seeds}
        for name in methods.keys() - whole.keys():
            print(f"{name}, {label}: only {len(methods[name])} of {len(seeds)} splits, left out.")
        spread = bootstrap(whole)
        for name, of in whole.items():
            commits = " ".join(sorted({row["commit"] for row in of if "commit" in row}))
            line = {"label": label, "method": name, "splits": len(of), "commits": commits}
            for key in MEASURED:
                values = [row[key] for row in of]
                line |= {key: float(np.mean(values)), f"{key} se of splits": _scatter(values)}
            table.append(line | spread[name])
    return table


def _scatter(values: Any) -> float:
    """Return the standard error of the mean over splits, NaN where there is only one."""
    return float(sem(values)) if len(values) > 1 else np.nan


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _of(rows: Rows, method: str, label: str) -> Rows:
    some = [row for row in rows if (row["method"], row["label"]) == (method, label)]
    return sorted(some, key=lambda row: row["seed"])


def bootstrap(methods: dict[str, Rows]) -> dict[str, dict[str, float]]:
    """Return standard errors of the metrics against truth, and how far behind BASE each one is.

    Those of the bootstrap are of the trained models. "Of splits" is the scatter of the difference
    from split to split, which has other training, too; three of them give a rough number.
    """
    drawn = {name: np.mean([_drawn(row) for row in of], axis=0) for name, of in methods.items()}
    found: dict[str, dict[str, float]] = {}
    for name, of in methods.items():
        found[name] = {
            f"{m} truth se": se for m, se in zip(METRICS, drawn[name].std(axis=1), strict=True)
        }
        if BASE not in methods:
            found[name] |= {f"{m} {what}": np.nan for m in METRICS for what in BEHIND}
            continue
        behind = (drawn[name] - drawn[BASE]).std(axis=1)
        for m, se in zip(METRICS, behind, strict=True):
            key = f"{m} truth"
            lead = np.subtract([row[key] for row in of], [row[key] for row in methods[BASE]])
            found[name] |= {f"{m} behind": lead.mean(), f"{m} behind se": float(se)}
            found[name] |= {f"{m} behind se of splits": _scatter(lead)}
    return found


def _drawn(row: dict[str, Any]) -> Any:
    """Compute the metrics for many draws of the test spectra, the same for all methods."""
    truth, estimates = np.array(row["true labels"]), np.array(row["estimates"])
    n = len(truth)
    draws = np.random.default_rng(row["seed"]).integers(n, size=(n, N_BOOTSTRAP))
    raw = {"multioutput": "raw_values"}
    return np.array([metric(truth[draws], estimates[draws], **raw) for metric in METRICS.values()])
