"""The summary of bench_compare.py: means over the splits, and what they are good for."""

from __future__ import annotations

from typing import Any

import numpy as np
from _data import LABELS
from _results import METRICS

BASE = "EstNet, three networks"  # what the others are compared with
N_BOOTSTRAP = 1000
# In the progress file, not in the tables.
KEPT = ("estimates", "true labels")
MEASURED = (
    *(f"{m} truth" for m in (*METRICS, "CRPS")),
    *(f"{m} catalogue" for m in (*METRICS, "CRPS")),
    *("over bound", "search_s", "fit_s", "predict_s", "peak_MB"),
)
Rows = list[dict[str, Any]]


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
            line = {"label": label, "method": name, "splits": len(of)}
            line |= {key: float(np.mean([row[key] for row in of])) for key in MEASURED}
            table.append(line | spread[name])
    return table


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _of(rows: Rows, method: str, label: str) -> Rows:
    some = [row for row in rows if (row["method"], row["label"]) == (method, label)]
    return sorted(some, key=lambda row: row["seed"])


def bootstrap(methods: dict[str, Rows]) -> dict[str, dict[str, float]]:
    """Return standard errors of the metrics against truth, and how far behind BASE each one is."""
    drawn = {name: np.mean([_drawn(row) for row in of], axis=0) for name, of in methods.items()}
    found: dict[str, dict[str, float]] = {}
    for name, of in methods.items():
        found[name] = {
            f"{m} truth se": se for m, se in zip(METRICS, drawn[name].std(axis=1), strict=True)
        }
        if BASE not in methods:
            nothing = {f"{m} {what}": np.nan for m in METRICS for what in ("behind", "behind se")}
            found[name] |= nothing
            continue
        behind = (drawn[name] - drawn[BASE]).std(axis=1)
        for m, se in zip(METRICS, behind, strict=True):
            key = f"{m} truth"
            lead = np.mean([row[key] for row in of]) - np.mean([row[key] for row in methods[BASE]])
            found[name] |= {f"{m} behind": float(lead), f"{m} behind se": float(se)}
    return found


def _drawn(row: dict[str, Any]) -> Any:
    """Compute the metrics for many draws of the test spectra, the same for all methods."""
    truth, estimates = np.array(row["true labels"]), np.array(row["estimates"])
    n = len(truth)
    draws = np.random.default_rng(row["seed"]).integers(n, size=(n, N_BOOTSTRAP))
    raw = {"multioutput": "raw_values"}
    return np.array([metric(truth[draws], estimates[draws], **raw) for metric in METRICS.values()])
