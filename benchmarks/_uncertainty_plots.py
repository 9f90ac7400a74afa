"""The figure of bench_uncertainty.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

Rows = list[dict[str, Any]]

NAMES = {"teff": "Teff", "logg": "log g"}
UNITS = {"teff": "K", "logg": "dex"}
# Colours that colour-blind readers can tell (Okabe and Ito).
SHOWN = {
    "EstNet, dropout alone": ("#999999", "o"),
    "EstNet": ("#56B4E9", "s"),
    "EstNet, ensemble, calibrated by S/N": ("#0072B2", "D"),
    "NGBoost": ("#E69F00", "^"),
    "CatBoost": ("#D55E00", "v"),
}
QUARTILES = (1, 2, 3, 4)


def plot_summary(rows: Rows, path: Path) -> None:
    """Draw the CRPS of all methods, and coverage by S/N of some of them."""
    figure, axes = plt.subplots(
        2, 2, figsize=(11, 10), height_ratios=(1.5, 1), layout="constrained"
    )
    for column, label in zip(axes.T, NAMES, strict=True):
        mine = [row for row in rows if row["label"] == label]
        _scores(column[0], mine, label)
        _coverage(column[1], mine, label)
    axes[0, 1].set_yticklabels([])
    figure.legend(
        *axes[1, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        title="below: 68% intervals as lines, 95% dashed; grey: 4 points around the claim",
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _scores(ax: Any, rows: Rows, label: str) -> None:
    # Without the labels alone, which are far off and would squeeze the others.
    found = dict.fromkeys(row["method"] for row in rows if row["method"] != "labels alone")
    names = sorted(found, key=lambda name: not name.startswith("EstNet"))[::-1]
    values = [[row["CRPS"] for row in rows if row["method"] == name] for name in names]
    for place, (name, scores) in enumerate(zip(names, values, strict=True)):
        color = "#0072B2" if name.startswith("EstNet") else "#666666"
        ax.plot(scores, [place] * len(scores), "o", color=color, alpha=0.35, markersize=4)
        ax.plot(np.mean(scores), place, "|", color=color, markersize=14, markeredgewidth=2.5)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel(f"CRPS of {NAMES[label]} ({UNITS[label]}); bar: mean of the draws")
    ax.grid(axis="x", alpha=0.3)


def _coverage(ax: Any, rows: Rows, label: str) -> None:
    for level, style in ((68, "-"), (95, "--")):
        ax.axhspan(level - 4, level + 4, color="#dddddd", zorder=0)
        for name, (color, marker) in SHOWN.items():
            mine = [row for row in rows if row["method"] == name]
            share = [
                100 * np.mean([row[f"coverage{level}_q{q}"] for row in mine]) for q in QUARTILES
            ]
            text = name if level == 68 else None
            ax.plot(QUARTILES, share, style, color=color, marker=marker, label=text)
    ax.set_ylim(0, 103)
    ax.set_xticks(QUARTILES, ["lowest", "second", "third", "highest"])
    ax.set_xlabel("quartile of S/N")
    ax.set_ylabel(f"{NAMES[label]}: share of labels inside (%)")
