"""Physical parameters with honest intervals from poor-quality spectra."""

__version__ = "0.1.0.dev0"
