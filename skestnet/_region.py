"""JointRegion: where several labels lie together, with a stated probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

# Smallest eigenvalue of a correlation matrix that is not taken for zero.
FLATTEST = 1e-10


@dataclass(frozen=True)
class JointRegion:
    """Ellipses (of two labels) or ellipsoids, one for each sample.

    A region holds the points whose Mahalanobis distance from `center` is at most `radius`. It is
    what :meth:`skestnet.PredictiveDistribution.region` returns.

    Parameters
    ----------
    center : ndarray of shape (n_samples, n_outputs)
        Centres, in the units of the labels.
    covariance : ndarray of shape (n_samples, n_outputs, n_outputs)
        Covariance matrices.
    radius : ndarray of shape (n_samples,)
        Sizes, in standard deviations.
    confidence : float
        Probability inside.

    Examples
    --------
    >>> from skestnet import PredictiveDistribution
    >>> dist = PredictiveDistribution([[[9000.0, 8.0]]], [500.0, 0.1])
    >>> region = dist.region(0.95)
    >>> region
    JointRegion(shape=(1, 2), confidence=0.95)
    >>> region.radius.round(2)  # sqrt(chi2.ppf(0.95, 2)) is 2.45
    array([2.45])
    >>> region.contains([[9900.0, 8.1]])
    array([ True])
    """

    center: FloatArray
    covariance: FloatArray
    radius: FloatArray
    confidence: float

    def __repr__(self) -> str:
        return f"JointRegion(shape={self.center.shape}, confidence={self.confidence})"

    @classmethod
    def around(
        cls, center: FloatArray, covariance: FloatArray, points: FloatArray, confidence: float
    ) -> JointRegion:
        """Find the size of regions by points that are distributed as the labels are.

        Parameters
        ----------
        center : ndarray of shape (n_samples, n_outputs)
            Centres.
        covariance : ndarray of shape (n_samples, n_outputs, n_outputs)
            Covariance matrices.
        points : ndarray of shape (n_samples, n_points, n_outputs)
            Equally likely labels.
        confidence : float
            Share of them to be inside.

        Returns
        -------
        JointRegion
            The regions.
        """
        distance = _mahalanobis(points - center[:, np.newaxis], _factor(covariance))
        # Weibull's quantile: a further point of the same kind is inside with this probability.
        radius = np.quantile(distance, confidence, axis=1, method="weibull")
        return cls(center, covariance, radius, confidence)

    def contains(self, y: ArrayLike) -> NDArray[np.bool_]:
        """Tell which labels are inside.

        Parameters
        ----------
        y : array-like of shape (n_samples, n_outputs)
            Labels.

        Returns
        -------
        ndarray of shape (n_samples,)
            True where the labels of a sample are in its region.

        Raises
        ------
        ValueError
            If `y` has another shape.
        """
        labels = np.asarray(y, dtype=np.float64)
        if labels.shape != self.center.shape:
            raise ValueError(f"y has shape {labels.shape}: expected {self.center.shape}.")
        offset = (labels - self.center)[:, np.newaxis]
        return _mahalanobis(offset, _factor(self.covariance))[:, 0] <= self.radius

    def boundary(self, n_points: int = 200) -> FloatArray:
        """Compute the outlines of ellipses, to plot them.

        Parameters
        ----------
        n_points : int, default=200
            Number of points on each; the last is the first.

        Returns
        -------
        ndarray of shape (n_samples, n_points, 2)
            Outlines.

        Raises
        ------
        ValueError
            If there are not two labels.
        """
        n_outputs = self.center.shape[1]
        if n_outputs != 2:
            raise ValueError(f"A region of {n_outputs} labels has no outline: expected two labels.")
        angle = np.linspace(0, 2 * np.pi, n_points)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        ellipse = np.einsum("njk,pk->npj", _factor(self.covariance), circle)
        return self.center[:, np.newaxis] + self.radius[:, np.newaxis, np.newaxis] * ellipse


def _factor(covariance: FloatArray) -> FloatArray:
    """Factor covariances; refuse those that rounding alone makes positive definite."""
    width = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    scale = np.where(width > 0, width, 1.0)  # a label without spread keeps its zero
    correlation = covariance / (scale[:, :, np.newaxis] * scale[:, np.newaxis])
    flat = np.linalg.eigvalsh(correlation)[:, 0] < FLATTEST
    if flat.any():
        raise ValueError(
            f"In {flat.sum()} of {len(flat)} samples, the first in row {np.flatnonzero(flat)[0]}, "
            "a label has no spread, or labels depend on each other exactly, so that there is no "
            "joint region. Look at covariance(); for networks, noise='constant' gives a spread."
        )
    return scale[:, :, np.newaxis] * np.linalg.cholesky(correlation)


def _mahalanobis(offset: FloatArray, factor: FloatArray) -> FloatArray:
    """Compute lengths of offsets (n_samples, n_points, n_outputs) in standard deviations."""
    whitened = np.linalg.solve(factor, offset.swapaxes(1, 2))
    return np.sqrt((whitened**2).sum(axis=1))
