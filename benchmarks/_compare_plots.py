"""The figure of bench_compare.py: error against the time that a fit takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

Rows = list[dict[str, Any]]

TITLES = {"teff": "Teff", "logg": "log g"}
UNITS = {"teff": "K", "logg": "dex"}
DIGITS = {"teff": 0, "logg": 3}
# Colours that colour-blind readers can tell (Okabe and Ito), by family, and markers.
FAMILIES = {
    "EstNet": ("#0072B2", "D"),
    "MLP": ("#E69F00", "s"),
    "trees": ("#009E73", "o"),
    "other": ("#666666", "^"),
}
FARTHEST = 1.7  # times the smallest error
LINE = {"arrowstyle": "-", "relpos": (0, 0.5), "alpha": 0.35, "linewidth": 0.8}
MEAN = "mean label"
TREES = ("random forest", "XGBoost", "NGBoost", "CatBoost", "LightGBM")


def plot_pareto(table: Rows, path: Path) -> None:
    """Draw MAE against seconds of a fit, one panel a label, and who is beaten by none in both."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
    for ax, label in zip(axes, TITLES, strict=True):
        _panel(ax, [row for row in table if row["label"] == label], label)
    for kind, (color, marker) in FAMILIES.items():
        axes[0].plot([], [], marker, color=color, markersize=7, label=kind)
    kinds = axes[0].get_legend_handles_labels()
    figure.legend(*kinds, loc="outside lower center", ncols=len(kinds[0]), fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def shown(row: dict[str, Any]) -> bool:
    """Leave out what is not fitted and so has no place on the axis of time."""
    return row["method"] != MEAN and row["fit_s"] > 0


def _panel(ax: Any, table: Rows, label: str) -> None:
    rows = [row for row in table if shown(row)]
    if not rows:
        ax.set_title("no method that is fitted")
        return
    limit = FARTHEST * min(row["MAE truth"] for row in rows)
    near = sorted((row for row in rows if row["MAE truth"] < limit), key=lambda r: r["MAE truth"])
    for row in near:
        color, marker = FAMILIES[family(row["method"])]
        style = {"fmt": marker, "color": color, "capsize": 3, "markersize": 7}
        ax.errorbar(row["fit_s"], row["MAE truth"], row["MAE truth se"], **style)
    front = {"color": "#999999", "linestyle": "--", "zorder": 0, "label": "best for the time"}
    ax.step(*_front(near), where="post", **front)
    for row in table:
        if row["method"] == MEAN and row["MAE truth"] < limit:
            ax.axhline(row["MAE truth"], color="#666666", linestyle=":", zorder=0)
            at = {"xy": (0.01, row["MAE truth"]), "xycoords": ax.get_yaxis_transform()}
            ax.annotate(MEAN, **at, fontsize=9, color="#666666", va="bottom")
    ax.set_xscale("log")
    _name(ax, near)
    left_out = [
        f"{row['method']}: {row['MAE truth']:.{DIGITS[label]}f} {UNITS[label]}"
        for row in table
        if row["MAE truth"] >= limit or not (shown(row) or row["method"] == MEAN)
    ]
    ax.set_title("\n".join(["not drawn:", *left_out] if left_out else []), fontsize=9, loc="left")
    ax.set_xlabel("seconds of one fit on one core, without the search")
    ax.set_ylabel(f"MAE of {TITLES[label]} against the truth ({UNITS[label]})")
    ax.grid(alpha=0.3)


def _name(ax: Any, rows: Rows) -> None:
    """Write the names in a column beside the panel, in the order of the errors, with lines."""
    low, high = ax.get_ylim()
    apart = (high - low) / 24
    steps = apart * np.arange(len(rows))  # pushes neighbours apart, from below
    places = np.maximum.accumulate([row["MAE truth"] for row in rows] - steps) + steps
    places -= max(0, places[-1] - high)
    for row, place in zip(rows, places, strict=True):
        color, _ = FAMILIES[family(row["method"])]
        ax.annotate(
            row["method"],
            (row["fit_s"], row["MAE truth"]),
            xytext=(1.03, place),
            textcoords=ax.get_yaxis_transform(),
            va="center",
            fontsize=9,
            arrowprops={**LINE, "color": color},
        )


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
