"""Model spectra: grids, survey quality, template fits and the limit of what can be measured."""

from skestnet.templates._bound import cramer_rao_bound
from skestnet.templates._degrade import DegradedSpectra, SpectrumDegrader
from skestnet.templates._draws import Exponential, Normal
from skestnet.templates._extinction import extinction
from skestnet.templates._fit import TemplateFitRegressor
from skestnet.templates._grid import TemplateGrid
from skestnet.templates._interpolate import LabelInterpolator
from skestnet.templates._match import TemplateFit
from skestnet.templates._patterns import NoisePatterns
from skestnet.templates._simulate import SimulatedSurvey, simulate_survey

__all__ = [
    "DegradedSpectra",
    "Exponential",
    "LabelInterpolator",
    "NoisePatterns",
    "Normal",
    "SimulatedSurvey",
    "SpectrumDegrader",
    "TemplateFit",
    "TemplateFitRegressor",
    "TemplateGrid",
    "cramer_rao_bound",
    "extinction",
    "simulate_survey",
]
