"""The networks in torch alone: the paper's blocks, EstNet, the MLP, noise and losses."""

from skestnet.nn._blocks import GRUModule, InputModule, OutputModule, PRSEBlock, PRSEModule
from skestnet.nn._estnet import EstNet
from skestnet.nn._loss import BetaNLLLoss, WeightedHuberLoss
from skestnet.nn._mlp import MLP
from skestnet.nn._noise import NoiseHead, WithNoise

__all__ = [
    "MLP",
    "BetaNLLLoss",
    "EstNet",
    "GRUModule",
    "InputModule",
    "NoiseHead",
    "OutputModule",
    "PRSEBlock",
    "PRSEModule",
    "WeightedHuberLoss",
    "WithNoise",
]
