"""Embedded synthetic spectra with known truth: nothing to download."""

from skestnet.datasets._make import make_white_dwarfs
from skestnet.datasets._template_grid import make_white_dwarf_grid

__all__ = ["make_white_dwarf_grid", "make_white_dwarfs"]
