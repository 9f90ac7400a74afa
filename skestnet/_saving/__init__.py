"""Saving estimators to files that can be loaded without running anything from them."""

from skestnet._saving._load import load
from skestnet._saving._save import save

__all__ = ["load", "save"]
