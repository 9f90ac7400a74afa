"""Pictures of bench_robustness.py: dumbbells of errors before and after, and the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

NAMES = {"teff": ("Teff", "K"), "logg": ("log g", "dex")}
BEFORE, AFTER = "#0072B2", "#D55E00"  # blue and vermilion: told apart by the colour-blind


def plot_degradation(rows: list[dict[str, Any]], path: Path) -> None:
    """Join each method's median error before and after by a line (figure 8)."""
    methods = list(dict.fromkeys(row["method"] for row in rows if "RMSE" in row))
    fig, axes = plt.subplots(2, 2, figsize=(10, 9.5), sharey=True, layout="constrained")
    for column, metric in zip(axes.T, ("RMSE", "MAE"), strict=True):
        for ax, label in zip(column, NAMES, strict=True):
            for height, method in enumerate(reversed(methods)):
                _dumbbell(ax, height, _errors(rows, label, method, metric))
            name, unit = NAMES[label]
            ax.set_xlabel(f"{metric} of {name} ({unit})")
            ax.set_yticks(range(len(methods)), methods[::-1])
            ax.grid(axis="x", alpha=0.3)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    fig.suptitle("Test errors before and after 20% of the training labels were shifted (medians)")
    _save(fig, path)


def _errors(rows: list[dict[str, Any]], label: str, method: str, metric: str) -> list[float]:
    chosen = [row for row in rows if (row["label"], row["method"]) == (label, method)]
    return [
        float(np.median([row[metric] for row in chosen if row["labels"] == state]))
        for state in ("before", "after")
    ]


def _dumbbell(ax: Any, height: int, errors: list[float]) -> None:
    first = height == 0
    ax.plot(errors, [height, height], color="0.6", lw=2, zorder=1)
    styles = ((BEFORE, "o", "labels as they were"), (AFTER, "D", "20% shifted"))
    for error, (colour, marker, text) in zip(errors, styles, strict=True):
        ax.scatter(error, height, s=36, color=colour, marker=marker, label=text if first else None)


def plot_weights(rows: list[dict[str, Any]], tasks: dict[str, Any], path: Path) -> None:
    """Show the weights of the training samples, those to be shifted marked (figure 9)."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    fig, axes = plt.subplots(
        2, 2 * len(methods), figsize=(13, 6), sharex="row", sharey=True, layout="constrained"
    )
    for line, (label, task) in zip(axes, tasks.items(), strict=True):
        for k, ax in enumerate(line):
            method, state = methods[k // 2], ("before", "after")[k % 2]
            key = (label, method, state)
            found = [r for r in rows if (r["label"], r["method"], r["labels"]) == key]
            _weights(ax, task, state, np.array(found[0]["weights"]))
            name, unit = NAMES[label]
            ax.set_xlabel(f"{name} ({unit})")
            ax.set_title(f"{method},\n{state}", fontsize="small")
    for ax in axes[:, 0]:
        ax.set_ylabel("weight")
    axes[0, 0].legend(frameon=True, loc="lower left", fontsize="small", markerscale=3)
    _save(fig, path)


def _weights(ax: Any, task: Any, state: str, weights: Any) -> None:
    groups = (
        (~task.shifted, BEFORE, 1, "never shifted"),
        (task.shifted, AFTER, 2, "the 20% that are shifted"),
    )
    for rows, colour, z, text in groups:
        ax.plot(task.y[state][rows], weights[rows], ".", ms=1.5, color=colour, zorder=z, label=text)


def _save(fig: Any, path: Path) -> None:
    fig.savefig(path, dpi=110)
    plt.close(fig)
    print("saved", path.name)
