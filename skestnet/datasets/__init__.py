"""Embedded synthetic spectra with known truth: nothing to download."""

from skestnet.datasets._make import make_white_dwarfs

__all__ = ["make_white_dwarfs"]
