"""The network of the paper in torch alone: blocks, EstNet and the weighted Huber loss."""

from skestnet.nn._blocks import GRUModule, InputModule, OutputModule, PRSEBlock, PRSEModule
from skestnet.nn._estnet import EstNet
from skestnet.nn._loss import WeightedHuberLoss

__all__ = [
    "EstNet",
    "GRUModule",
    "InputModule",
    "OutputModule",
    "PRSEBlock",
    "PRSEModule",
    "WeightedHuberLoss",
]
