"""Physical parameters with intervals from poor-quality spectra, as scikit-learn estimators."""

from skestnet._distribution import PredictiveDistribution
from skestnet._estnet import EstNetRegressor
from skestnet._predict_dist import predict_dist
from skestnet._weights import AdaptiveWeighter, adaptive_weights

__version__ = "0.1.0.dev0"

__all__ = [
    "AdaptiveWeighter",
    "EstNetRegressor",
    "PredictiveDistribution",
    "adaptive_weights",
    "predict_dist",
]
