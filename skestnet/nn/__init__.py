"""The network of the paper in torch alone: blocks, EstNet, the MLP and the loss."""

from skestnet.nn._blocks import GRUModule, InputModule, OutputModule, PRSEBlock, PRSEModule
from skestnet.nn._estnet import EstNet
from skestnet.nn._loss import WeightedHuberLoss
from skestnet.nn._mlp import MLP

__all__ = [
    "MLP",
    "EstNet",
    "GRUModule",
    "InputModule",
    "OutputModule",
    "PRSEBlock",
    "PRSEModule",
    "WeightedHuberLoss",
]
