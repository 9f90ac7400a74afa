"""Figures of predictive distributions and of saliency, as displays after scikit-learn's convention.

They need matplotlib: ``pip install "skestnet[plot]"``.
"""

from skestnet.plotting._distribution import DistributionDisplay
from skestnet.plotting._joint import JointDistributionDisplay
from skestnet.plotting._reliability import ReliabilityDisplay
from skestnet.plotting._saliency import SaliencyDisplay
from skestnet.plotting._snr import SNRDisplay
from skestnet.plotting._uncertainty import UncertaintyDisplay

__all__ = [
    "DistributionDisplay",
    "JointDistributionDisplay",
    "ReliabilityDisplay",
    "SNRDisplay",
    "SaliencyDisplay",
    "UncertaintyDisplay",
]
