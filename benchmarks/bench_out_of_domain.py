"""Does the network's own view of spectra tell those that do not belong?

Three EstNets are trained on 4772 DA white dwarfs (Koester models at LAMOST quality, median S/N 3.5,
977 pixels), and OutOfDomainDetector is fitted to what they make of the same spectra: all together,
and the first one alone. Then it scores 2000 other DA spectra, 2000 spectra of DB stars (11,000 to
40,000 K) of the same S/N, and 1000 fibres on empty sky: noise, sky lines, cosmic rays and no star.
Reported: AUROC against the DA spectra, for DB stars also at S/N above 3, and what is flagged at the
default threshold. Held fixed: preprocessing, networks, detector's parameters. Three draws.

Needs SKESTNET_DATA. A run that was killed goes on where it stopped. About 35 minutes on one core;
``--quick`` takes half a minute and saves nothing.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from _data import MEDIAN_SNR, SNR_SCATTER, Part, koester, mean_of
from _results import RESULTS, Progress, data_folder, print_table, save_table
from _uncertain_methods import CHOSEN, estnet, of_log_teff
from sklearn.ensemble import BaggingRegressor
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from skestnet import OutOfDomainDetector
from skestnet.templates import SpectrumDegrader

SEEDS = (0, 1, 2)
DB_TEFF = (11_000, 40_000)
AVERAGED = 4  # LAMOST pixels
NO_STAR = 1e-3  # S/N of a fibre on empty sky
GOOD = 3.0
Rows = list[dict[str, Any]]


class Others(NamedTuple):
    """Spectra that do not belong."""

    db: Any
    db_snr: Any
    empty: Any


def others(folder: Path, n_db: int, n_empty: int, seed: int) -> Others:
    rng = np.random.default_rng(seed)
    with np.load(folder / "models_db_tremblay_1d.npz") as models:
        wavelength, flux, teff = (models[name] for name in ("wavelength", "flux", "teff"))
    hot = np.flatnonzero((teff >= DB_TEFF[0]) & (teff <= DB_TEFF[1]))
    snr = MEDIAN_SNR * np.exp(SNR_SCATTER * rng.standard_normal(n_db))
    db = SpectrumDegrader(wavelength, snr=snr).degrade(
        flux[rng.choice(hot, n_db)], random_state=rng
    )
    no_star = SpectrumDegrader(wavelength, snr=NO_STAR)
    empty = no_star.degrade(flux[rng.choice(hot, n_empty)], random_state=rng)
    return Others(_pixels(db), snr, _pixels(empty))


def _pixels(degraded: Any) -> Any:
    return mean_of(np.where(degraded.mask, np.nan, degraded.flux), AVERAGED)


def scores(seed: int, quick: bool) -> Rows:
    """Train, and score all test spectra."""
    n_train, n_test, n_empty = (400, 200, 100) if quick else (4772, 2000, 1000)
    train, test = koester(data_folder(), n_train, n_test, seed, AVERAGED)
    strange = others(data_folder(), n_test, n_empty, seed)
    settings = {"max_epochs": 2} if quick else CHOSEN["koester"].get("EstNet", {})
    networks = BaggingRegressor(estnet(seed, **settings), 3, bootstrap=False, random_state=seed)
    model = of_log_teff(networks).fit(train.X, train.y)
    rows = []
    for n, regressor in ((3, model), (1, model.regressor_.estimators_[0])):
        detector = OutOfDomainDetector(regressor, random_state=seed).fit(train.X)
        found = {
            "DA": detector.decision_function(test.X),
            "DB": detector.decision_function(strange.db),
            "empty": detector.decision_function(strange.empty),
        }
        row = {"seed": seed, "networks": n, **summary(found, test, strange)}
        kept = {f"scores {name}": np.round(values, 3).tolist() for name, values in found.items()}
        rows.append(row | kept)
    return rows


def summary(found: dict[str, Any], test: Part, strange: Others) -> dict[str, float]:
    good = {"DA": test.snr > GOOD, "DB": strange.db_snr > GOOD}
    return {
        "AUROC DB": auroc(found["DA"], found["DB"]),
        "AUROC DB, S/N > 3": auroc(found["DA"][good["DA"]], found["DB"][good["DB"]]),
        "AUROC empty": auroc(found["DA"], found["empty"]),
        "DA flagged": float((found["DA"] < 0).mean()),
        "DB flagged": float((found["DB"] < 0).mean()),
        "DB flagged, S/N > 3": float((found["DB"][good["DB"]] < 0).mean()),
        "empty flagged": float((found["empty"] < 0).mean()),
    }


def auroc(inside: Any, outside: Any) -> float:
    strange = np.repeat([0, 1], [len(inside), len(outside)])
    return float(roc_auc_score(strange, -np.concatenate([inside, outside])))


def plot(row: dict[str, Any], path: Path) -> None:
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    names = {"DA": "DA: the domain", "DB": "DB, same S/N", "empty": "empty fibres"}
    low = np.percentile(row["scores empty"], 5)
    bins = np.linspace(low, np.max(row["scores DA"]), 60)
    for (key, name), color in zip(names.items(), ("#0072B2", "#D55E00", "#666666"), strict=True):
        values = np.clip(row[f"scores {key}"], low, None)
        ax.hist(values, bins, density=True, histtype="step", color=color, label=name, linewidth=1.8)
    ax.axvline(0, color="k", linestyle="--", label="threshold: flagged to the left")
    ax.set_xlabel("decision function (log density above the threshold)")
    ax.set_ylabel("density of spectra")
    figure.legend(loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, saves nothing")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    if quick:
        print_table([shown(row) for row in scores(0, quick=True)])
        return
    here = Path(__file__)
    scripts = (here, here.with_name("_data.py"), here.with_name("_uncertain_methods.py"))
    progress = Progress("out_of_domain", *scripts)
    for seed in tqdm(SEEDS):
        if seed not in {row["seed"] for row in progress.rows()}:
            progress.add(scores(seed, quick=False))
    rows = sorted(progress.rows(), key=lambda row: (-row["networks"], row["seed"]))
    print_table([shown(row) for row in rows])
    print("saved", save_table("out_of_domain", [shown(row) for row in rows]).name)
    plot(rows[0], RESULTS / "out_of_domain.png")
    progress.path.unlink()


def shown(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("scores")}


if __name__ == "__main__":
    main()
