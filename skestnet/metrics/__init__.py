"""How good predictive distributions are: scores, coverage, calibration, and cross-validation."""

from skestnet.metrics._calibration import calibration_error, pit
from skestnet.metrics._coverage import interval_coverage, mean_interval_width, region_coverage
from skestnet.metrics._cross_val import cross_val_predict_dist
from skestnet.metrics._groups import coverage_by_group
from skestnet.metrics._scorers import coverage_scorer, crps_scorer
from skestnet.metrics._scores import crps, energy_score, log_score

__all__ = [
    "calibration_error",
    "coverage_by_group",
    "coverage_scorer",
    "cross_val_predict_dist",
    "crps",
    "crps_scorer",
    "energy_score",
    "interval_coverage",
    "log_score",
    "mean_interval_width",
    "pit",
    "region_coverage",
]
