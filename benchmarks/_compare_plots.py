"""The figure of bench_compare.py: error against the time that a fit takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

Rows = list[dict[str, Any]]

TITLES = {"teff": "Teff", "logg": "log g"}
UNITS = {"teff": "K", "logg": "dex"}
# Colours that colour-blind readers can tell (Okabe and Ito), by family.
FAMILIES = {
    "EstNet": ("#0072B2", "D"),
    "MLP": ("#E69F00", "s"),
    "trees": ("#009E73", "o"),
    "other": ("#666666", "^"),
}
TREES = ("random forest", "XGBoost", "NGBoost", "CatBoost", "LightGBM")


def plot_pareto(table: Rows, path: Path) -> None:
    """Draw MAE against seconds of a fit, one panel a label, and who is beaten by none in both."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
    for ax, label in zip(axes, TITLES, strict=True):
        _panel(ax, [row for row in table if row["label"] == label and shown(row)], label)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def shown(row: dict[str, Any]) -> bool:
    """Leave out the mean label, which is far off and would squeeze the others."""
    return row["method"] != "mean label"


def _panel(ax: Any, rows: Rows, label: str) -> None:
    for row in rows:
        color, marker = FAMILIES[family(row["method"])]
        x, y = row["fit_s"], row["MAE truth"]
        ax.errorbar(x, y, row["MAE truth se"], fmt=marker, color=color, capsize=3, markersize=7)
        ax.annotate(row["method"], (x, y), xytext=(7, 5), textcoords="offset points", fontsize=9)
    front = _front(rows)
    ax.step(*front, where="post", color="#999999", linestyle="--", zorder=0)
    ax.set_xscale("log")
    # Names stand to the right of the points.
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * (high / low) ** 0.35)
    ax.set_xlabel("seconds of one fit on one core, without the search")
    ax.set_ylabel(f"MAE of {TITLES[label]} against the truth ({UNITS[label]})")
    ax.grid(alpha=0.3)


def _front(rows: Rows) -> tuple[list[float], list[float]]:
    """Return time and error of those that no other method beats in both."""
    points = sorted((row["fit_s"], row["MAE truth"]) for row in rows)
    best = np.minimum.accumulate([error for _, error in points])
    kept = [point for point, least in zip(points, best, strict=True) if point[1] <= least]
    return [t for t, _ in kept], [e for _, e in kept]


def family(method: str) -> str:
    """Return the kind of a method, which has a colour."""
    if method.startswith("EstNet"):
        return "EstNet"
    if "MLP" in method:
        return "MLP"
    return "trees" if method in TREES else "other"
