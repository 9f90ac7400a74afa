"""SaliencyDisplay: which pixels move the estimated labels, against wavelength."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from skestnet.plotting import _shared
from skestnet.spectra._wavelength import BALMER_LINES, in_unit

FloatArray = NDArray[np.float64]

GREEK = dict(zip(("alpha", "beta", "gamma", "delta", "epsilon"), "αβγδε", strict=True))
PANEL_INCHES = 2.0
FLUX_NAME = "mean flux"


class SaliencyDisplay:
    """Mean saliency against wavelength, one panel for each label, below the mean spectrum.

    The saliency is that of :func:`skestnet.inspection.saliency`: the absolute gradient of an
    estimated label with respect to the flux of a pixel, here its mean over the spectra. The
    spectrum in grey is, unless another is given, the flux that the gradients refer to, as it enters
    the network. After a :class:`~sklearn.preprocessing.StandardScaler` that is about 0 everywhere
    on average, and shows no lines: pass the spectra as observed, ``flux=spectra``, with the same
    pixels.

    Create one by `from_estimator` or `from_saliency`. Several models can be drawn into the same
    axes.

    Parameters
    ----------
    saliency : ndarray of shape (n_pixels, n_outputs)
        Mean saliency.
    wavelength : ndarray of shape (n_pixels,), default=None
        Wavelengths in Angstrom. None counts pixels.
    flux : ndarray of shape (n_pixels,), default=None
        Mean spectrum. None leaves its panel out.
    flux_name : str, default="mean flux"
        Name of the spectrum with its unit.
    label_names : sequence of str, default=None
        Names of the labels with their units, such as ``("Teff (K)", "log g (dex)")``. None is
        "label", of several "label 0" and so on.
    lines : mapping of str to float or "balmer", default=None
        Lines to mark: names, and wavelengths in Angstrom. "balmer" is H-alpha to H8, in vacuum.
        Those outside the spectrum are left out.
    name : str, default=None
        Name of the model for the legend.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_panels,)
        The panel of the spectrum, if there is one, and one for each label.
    figure_ : Figure
        The figure that holds them.
    curves_ : list of Line2D
        The saliency of each label.

    Raises
    ------
    ValueError
        If lengths do not match, or `lines` is neither a mapping nor "balmer".

    Warns
    -----
    UserWarning
        If lines are to be marked, and all of them are outside the spectrum.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, figure 6.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skestnet.plotting import SaliencyDisplay
    >>> wavelength = np.linspace(4000, 8000, 163)
    >>> near = np.exp(-0.5 * ((wavelength - 4862.7) / 50) ** 2)  # looks at H-beta
    >>> display = SaliencyDisplay.from_saliency(
    ...     np.tile(0.1 * near, (5, 1)),
    ...     wavelength=wavelength,
    ...     label_names=["log g (dex)"],
    ...     lines="balmer",
    ... )
    >>> float(wavelength[display.saliency[:, 0].argmax()].round())
    4864.0
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        *,
        saliency: FloatArray,
        wavelength: FloatArray | None = None,
        flux: FloatArray | None = None,
        flux_name: str = FLUX_NAME,
        label_names: Sequence[str] | None = None,
        lines: Mapping[str, float] | str | None = None,
        name: str | None = None,
    ) -> None:
        n_pixels, n_outputs = saliency.shape
        _check_length(wavelength, "wavelength", n_pixels, "pixels")
        _check_length(flux, "flux", n_pixels, "pixels")
        _check_length(label_names, "label_names", n_outputs, "labels")
        self.saliency = saliency
        self.wavelength = wavelength
        self.flux = flux
        self.flux_name = flux_name
        self.label_names = label_names
        self.lines = _checked_lines(lines, wavelength)
        self.name = name

    def plot(self, axes: Any = None, *, color: Any = None) -> Self:
        """Draw the spectrum and the saliency of each label.

        Parameters
        ----------
        axes : array-like of Axes of shape (n_panels,), default=None
            Where to draw, such as `axes_` of another model's display. None makes a figure.
        color : color, default=None
            Colour of the saliency. None takes one that the axes do not show yet.

        Returns
        -------
        self : SaliencyDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `axes` has not as many axes as there are panels.
        """
        n_outputs = self.saliency.shape[1]
        n_panels = n_outputs + (self.flux is not None)
        size = {"sharex": True, "figsize": (8, 0.8 + PANEL_INCHES * n_panels)}
        self.axes_ = _shared.given_or_new_axes(axes, n_panels, 1, **size)
        self.figure_ = self.axes_[0].figure
        panels = self.axes_[-n_outputs:]
        color = _shared.next_color(panels[0], color)
        x = np.arange(len(self.saliency)) if self.wavelength is None else self.wavelength
        if self.flux is not None:
            self.axes_[0].plot(x, self.flux, color=_shared.FRAME, lw=1.2)
            default = self.flux_name == FLUX_NAME
            _shared.name_axes(self.axes_[0], default=default, ylabel=self.flux_name)
        self.curves_ = []
        for ax, curve, name in zip(panels, self.saliency.T, self._names(), strict=True):
            self.curves_ += ax.plot(x, curve, color=color, lw=1.5, label=self.name)
            _shared.name_axes(
                ax,
                default=self.label_names is None,
                ylabel=f"saliency of {name}\nper unit of flux",
            )
            _shared.leave_room_for_legend(ax)
        if self.name:
            _shared.add_legend(panels[0], loc="upper right")
        self._mark_lines(x)
        label = "pixel" if self.wavelength is None else "wavelength (Å)"
        _shared.name_axes(self.axes_[-1], default=True, xlabel=label)
        self.axes_[-1].set_xlim(x.min(), x.max())
        self.figure_.align_ylabels(self.axes_)
        return self

    def _names(self) -> Sequence[str]:
        n_outputs = self.saliency.shape[1]
        default = ["label"] if n_outputs == 1 else [f"label {k}" for k in range(n_outputs)]
        return default if self.label_names is None else self.label_names

    def _mark_lines(self, x: Any) -> None:
        top = self.axes_[0]
        written = {text.get_text() for text in top.texts}  # of another model
        for name, at in self.lines.items():
            if name in written or not x.min() <= at <= x.max():
                continue
            for ax in self.axes_:
                ax.axvline(at, color=_shared.FRAME, ls=":", lw=1, zorder=0)
            place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
            top.annotate(name, (at, 1.02), **place)

    @classmethod
    def from_estimator(cls, estimator: Any, X: ArrayLike, **params: Any) -> Self:
        """Draw the mean saliency of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator that :func:`skestnet.inspection.saliency` takes.
        X : array-like of shape (n_samples, n_features)
            Spectra to average over, as the estimator takes them.
        **params : object
            As in `from_saliency`; `name` is the estimator's class unless given, and `flux` what its
            network sees, of an ensemble the first. ``flux=None`` leaves it out, and other spectra
            with the same pixels, such as those observed, can be given.

        Returns
        -------
        SaliencyDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator holds no network that can be inspected.
        ValueError
            Where `from_saliency` raises it.
        """
        _shared.pyplot()
        # Not on top: the displays need no torch.
        from skestnet.inspection import saliency
        from skestnet.inspection._networks import seen_flux

        if "flux" not in params:
            own = {
                "flux": seen_flux(estimator, X),
                "flux_name": f"{FLUX_NAME} that\nthe network sees",
            }
            params = own | params
        params = {"name": _shared.model_name(estimator), **params}
        return cls.from_saliency(saliency(estimator, X), **params)

    @classmethod
    def from_saliency(
        cls,
        saliency: ArrayLike,
        *,
        wavelength: ArrayLike | None = None,
        flux: ArrayLike | None = None,
        flux_name: str = FLUX_NAME,
        label_names: Sequence[str] | None = None,
        lines: Mapping[str, float] | str | None = None,
        name: str | None = None,
        axes: Any = None,
        color: Any = None,
    ) -> Self:
        """Draw the mean of what :func:`skestnet.inspection.saliency` returns.

        Parameters
        ----------
        saliency : array-like of shape (n_samples, n_pixels) or (n_samples, n_pixels, n_outputs)
            Absolute gradients.
        wavelength : array-like or Quantity of shape (n_pixels,), default=None
            Wavelengths of the pixels that the network sees, in Angstrom where they have no unit.
            None counts pixels.
        flux : array-like of shape (n_samples, n_pixels) or (n_pixels,), default=None
            Spectra with the same pixels, such as those that the gradients refer to or those
            observed, or their mean. None leaves its panel out.
        flux_name : str, default="mean flux"
            Name of the spectrum with its unit.
        label_names : sequence of str, default=None
            Names of the labels with their units, such as ``("Teff (K)", "log g (dex)")``. None is
            "label", of several "label 0" and so on.
        lines : mapping of str to float or "balmer", default=None
            Lines to mark: names, and wavelengths in Angstrom. "balmer" is H-alpha to H8, in vacuum.
            Those outside the spectrum are left out.
        name : str, default=None
            Name of the model for the legend.
        axes : array-like of Axes of shape (n_panels,), default=None
            Where to draw, such as `axes_` of another model's display. None makes a figure.
        color : color, default=None
            Colour of the saliency. None takes one that the axes do not show yet.

        Returns
        -------
        SaliencyDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If shapes do not match, values are not finite, gradients have signs, or `lines` is
            neither a mapping nor "balmer".

        Warns
        -----
        UserWarning
            If lines are to be marked, and all of them are outside the spectrum.
        """
        gradient = check_array(saliency, dtype=np.float64, allow_nd=True, input_name="saliency")
        if gradient.ndim > 3:
            raise ValueError(
                f"saliency has shape {gradient.shape}: expected (n_samples, n_pixels) or "
                "(n_samples, n_pixels, n_outputs)."
            )
        if gradient.min() < 0:
            raise ValueError(
                "saliency has negative values, whose mean says little: expected absolute "
                "gradients, those of signed=False."
            )
        mean = gradient.mean(axis=0)
        if wavelength is not None:
            wavelength = np.asarray(in_unit(wavelength, u.AA, "wavelength"), dtype=np.float64)
        seen = None
        if flux is not None:
            seen = check_array(np.atleast_2d(flux), dtype=np.float64, input_name="flux").mean(
                axis=0
            )
        display = cls(
            saliency=mean.reshape(len(mean), -1),
            wavelength=wavelength,
            flux=seen,
            flux_name=flux_name,
            label_names=label_names,
            lines=lines,
            name=name,
        )
        return display.plot(axes, color=color)


def _check_length(given: Any, what: str, n: int, of: str) -> None:
    if given is not None and np.shape(given) != (n,):
        raise ValueError(
            f"{what} has shape {np.shape(given)}: expected ({n},), one for each of {n} {of}."
        )


def _checked_lines(
    lines: Mapping[str, float] | str | None, wavelength: FloatArray | None
) -> Mapping[str, float]:
    """Return names and wavelengths of lines, those of hydrogen with Greek letters."""
    if lines is None:
        return {}
    if isinstance(lines, str) and lines == "balmer":
        lines = {_with_greek(name): at for name, at in BALMER_LINES.items()}
    if not isinstance(lines, Mapping):
        raise ValueError(
            f"lines={lines!r}: expected 'balmer', or names with wavelengths, such as "
            "{'Na D': 5893.0}."
        )
    if wavelength is None:
        raise ValueError("lines can be marked along wavelengths only: pass wavelength, too.")
    low, high = wavelength.min(), wavelength.max()
    if lines and not any(low <= at <= high for at in lines.values()):
        warnings.warn(
            f"None of the lines, {min(lines.values()):g} to {max(lines.values()):g} Å, is within "
            f"the wavelengths, {low:g} to {high:g} Å, and none is marked. Plain numbers are taken "
            "as Angstrom: give other wavelengths their unit, such as wavelength * u.nm with "
            "astropy.units.",
            UserWarning,
            stacklevel=4,
        )
    return lines


def _with_greek(name: str) -> str:
    element, _, letter = name.partition("-")
    return element + GREEK.get(letter, letter)
