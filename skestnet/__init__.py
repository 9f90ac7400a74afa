"""Physical parameters with intervals from poor-quality spectra, as scikit-learn estimators."""

from skestnet._calibrated import CalibratedRegressor
from skestnet._distribution import PredictiveDistribution
from skestnet._estnet import EstNetRegressor
from skestnet._mlp import AdaptiveMLPRegressor
from skestnet._multi_quantile import MultiQuantileRegressor
from skestnet._out_of_domain import OutOfDomainDetector
from skestnet._predict_dist import predict_dist
from skestnet._region import JointRegion
from skestnet._saving import load, save
from skestnet._survey import predict_survey
from skestnet._weight_regressor import AdaptiveWeightRegressor
from skestnet._weighter import AdaptiveWeighter
from skestnet._weights import adaptive_weights

__version__ = "0.1.0.dev0"

__all__ = [
    "AdaptiveMLPRegressor",
    "AdaptiveWeightRegressor",
    "AdaptiveWeighter",
    "CalibratedRegressor",
    "EstNetRegressor",
    "JointRegion",
    "MultiQuantileRegressor",
    "OutOfDomainDetector",
    "PredictiveDistribution",
    "adaptive_weights",
    "load",
    "predict_dist",
    "predict_survey",
    "save",
]
