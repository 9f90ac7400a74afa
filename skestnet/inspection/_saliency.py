"""Saliency: the gradient of the estimated labels with respect to the flux."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import BaggingRegressor
from torch import Tensor, nn

from skestnet._batches import padded_batches
from skestnet._network import TwoStageRegressor
from skestnet.inspection._networks import Flux, module_copy, networks
from skestnet.nn._dropout import dropout_moments

FloatArray = NDArray[np.float64]
# Gradients keep the feature maps of all layers, so that fewer spectra fit than in a prediction.
ROWS = 16


def saliency(fitted: Any, X: ArrayLike, *, signed: bool = False) -> FloatArray:
    """Compute how much each pixel of each spectrum moves the labels that a network estimates.

    That is the absolute gradient of the point estimate with respect to the flux (section 4.2,
    figure 6): by how much a label changes per unit of flux in one pixel, all else as it is.

    Parameters
    ----------
    fitted : estimator
        A fitted :class:`~skestnet.EstNetRegressor` or :class:`~skestnet.AdaptiveMLPRegressor`; or
        a pipeline, search, :class:`~sklearn.compose.TransformedTargetRegressor`,
        :class:`~sklearn.frozen.FrozenEstimator`, :class:`~skestnet.AdaptiveWeightRegressor`,
        :class:`~skestnet.CalibratedRegressor` or :class:`~sklearn.ensemble.BaggingRegressor`
        around one. It stays as it was.
    X : array-like of shape (n_samples, n_features)
        Spectra, as `fitted` takes them.
    signed : bool, default=False
        Whether to keep the signs: positive where more flux means a larger label.

    Returns
    -------
    ndarray of shape (n_samples, n_pixels) or (n_samples, n_pixels, n_outputs)
        The gradients, in units of the label per unit of flux, with a last axis where there are
        several labels. The pixels are those that the network sees. A row is the same whatever
        spectra come with it.

    Raises
    ------
    NotFittedError
        If `fitted` is not fitted.
    TypeError
        If there is something else than these two networks inside `fitted`.
    ValueError
        If `X` is not what `fitted` takes, or the networks of an ensemble see different pixels.

    See Also
    --------
    feature_maps : What the network makes of spectra on the way.
    skestnet.plotting.SaliencyDisplay : A figure of the saliency.
    sklearn.inspection.permutation_importance : What features matter, for any estimator.

    Notes
    -----
    **The flux** is that which enters the network: after the earlier steps of a pipeline, and after
    the regressor's own `preprocess`. A gradient with respect to the flux before them would mix in
    what they do, such as dividing by the median of all pixels. Where the last of them is a
    :class:`~sklearn.preprocessing.StandardScaler`, a unit of flux is the standard deviation of the
    pixel over the training spectra; without one it is the same for all pixels.

    **The estimate** is what `predict` of the network returns, the mean over Monte Carlo dropout. It
    is in the units of the label that the network was given: around it, a
    :class:`~sklearn.compose.TransformedTargetRegressor` that learns ln Teff has gradients of ln
    Teff, without a unit, not of Teff. For an ensemble it is the mean over its networks, each with
    respect to the flux it sees itself, and signs count before the mean is made absolute. The
    conformal shifts of a :class:`~skestnet.CalibratedRegressor` are left out.

    A gradient says what a small change of one spectrum does to its estimate. It does not say what
    is known from a pixel: noise in a pixel with a large gradient spoils the estimate.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, section 4.2 and figure 6.

    Springenberg, Dosovitskiy, Brox and Riedmiller (2014), "Striving for simplicity: the all
    convolutional net", arXiv:1412.6806.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet import EstNetRegressor
    >>> from skestnet.inspection import saliency
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 32))
    >>> y = 100 * X[:, 20]  # a single pixel matters
    >>> net = EstNetRegressor(depth=12, width=4, max_epochs=20, random_state=0).fit(X, y)
    >>> gradient = saliency(net, X)
    >>> gradient.shape
    (200, 32)
    >>> int(np.argmax(gradient.mean(axis=0)))
    20
    """
    found = networks(fitted, X)
    _check_same_pixels(fitted, [flux.shape[1] for _, flux in found])
    total = sum(_gradients(model, flux) for model, flux in found)
    mean = np.asarray(total) / len(found)
    return mean if signed else np.abs(mean)


def _gradients(model: TwoStageRegressor, flux: Flux) -> FloatArray:
    """Return gradients of one network's labels, in their units."""
    module, n_outputs = module_copy(model), len(model.label_scale_)
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            # cuDNN differentiates recurrent layers in training mode only. Without dropout
            # inside, as here, they do the same in both modes.
            part.train()
    gradients = np.empty((*flux.shape, n_outputs))
    for rows, batch in padded_batches(flux, model.net_, size=ROWS):
        gradients[rows] = _gradients_of_batch(module, batch, n_outputs)[: rows.stop - rows.start]
    gradients *= model.label_scale_
    return gradients[..., 0] if model._y_ndim == 1 else gradients


def _gradients_of_batch(module: Any, batch: Tensor, n_outputs: int) -> NDArray[np.float32]:
    """Return gradients of standardised labels, of shape (n_samples, n_pixels, n_outputs)."""
    with torch.enable_grad():
        batch.requires_grad_()
        labels = dropout_moments(module.output, module.features(batch).double())[:, :n_outputs]
        # Rows do not influence each other: one pass gives the gradients of all.
        sums = labels.sum(dim=0)
        each = [torch.autograd.grad(one, batch, retain_graph=True)[0] for one in sums]
    return torch.stack(each, dim=-1).cpu().numpy()


def _check_same_pixels(fitted: Any, n_pixels: list[int]) -> None:
    """Raise an error where the networks of an ensemble look at different pixels."""
    if len(set(n_pixels)) > 1:
        raise ValueError(
            f"The networks inside {type(fitted).__name__} see spectra of {sorted(set(n_pixels))} "
            "pixels, and gradients of different pixels have no mean. Pass the networks one by one."
        )
    if len(n_pixels) > 1 and _has_chosen_pixels(fitted):
        raise ValueError(
            f"{type(fitted).__name__} gives each of its networks other pixels, and gradients of "
            "different pixels have no mean. Fit the BaggingRegressor with max_features=1.0 and "
            "bootstrap_features=False, or pass its estimators_ one by one, each with its pixels "
            "(estimators_features_)."
        )


def _has_chosen_pixels(part: Any) -> bool:
    """Tell whether there is a BaggingRegressor with subsets of the features inside."""
    if isinstance(part, BaggingRegressor):
        everything = np.arange(part.n_features_in_)
        if not all(np.array_equal(own, everything) for own in part.estimators_features_):
            return True
    if isinstance(part, list | tuple):
        return any(_has_chosen_pixels(one) for one in part)
    is_wrapper = hasattr(part, "get_params") and not isinstance(part, TwoStageRegressor)
    return is_wrapper and any(_has_chosen_pixels(one) for one in vars(part).values())
