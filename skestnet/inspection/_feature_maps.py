"""What EstNet makes of spectra on the way, after each of its modules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skestnet._batches import padded_batches
from skestnet.inspection._networks import module_copy, networks
from skestnet.nn import EstNet, WithNoise

FloatArray = NDArray[np.float32]


class FeatureMaps(NamedTuple):
    """What leaves the modules of an EstNet, in the order in which spectra pass through them.

    Attributes
    ----------
    input : ndarray of shape (n_samples, width, n_pixels)
        Maps after the input module, as long as the spectrum.
    prse : ndarray of shape (n_samples, 8 * width, ceil(n_pixels / 16))
        Maps after the PRSE module. Position i lies at pixel 16 i.
    gru : ndarray of shape (n_samples, ceil(n_pixels / 16))
        The last hidden state of the GRU. Its numbers have no place along the spectrum: each is made
        of all positions.

    See Also
    --------
    feature_maps : Computes them.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet import EstNetRegressor
    >>> from skestnet.inspection import feature_maps
    >>> X = np.random.default_rng(0).standard_normal((40, 100))
    >>> net = EstNetRegressor(depth=12, width=4, max_epochs=1, random_state=0).fit(X, X[:, 50])
    >>> first, middle, last = feature_maps(net, X[:5])
    >>> first.shape, middle.shape, last.shape
    ((5, 4, 100), (5, 32, 7), (5, 7))
    """

    input: FloatArray
    prse: FloatArray
    gru: FloatArray


def feature_maps(fitted: Any, X: ArrayLike) -> FeatureMaps:
    """Compute what leaves each module of a trained EstNet: input, PRSE and GRU (figure 6).

    Parameters
    ----------
    fitted : estimator
        A fitted :class:`~skestnet.EstNetRegressor`, by itself or wrapped as for :func:`saliency`.
        Of an ensemble the first network is looked at. It stays as it was.
    X : array-like of shape (n_samples, n_features)
        Spectra, as `fitted` takes them. All maps of all of them are held in memory: after the input
        module, `width` times as many numbers as the spectra have.

    Returns
    -------
    FeatureMaps
        The maps after each module, float32. They are in units of the network's own. A row is the
        same whatever spectra come with it.

    Raises
    ------
    NotFittedError
        If `fitted` is not fitted.
    TypeError
        If the network inside `fitted` is no EstNet.
    ValueError
        If `X` is not what `fitted` takes.

    See Also
    --------
    saliency : How much each pixel moves the estimated labels.

    Notes
    -----
    The output module takes what the GRU leaves, and with ``shortcut`` above 0 also maps that are
    mixed from those of the PRSE module, which are not among these.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, section 4.2 and figure 6.

    Examples
    --------
    >>> import numpy as np
    >>> from skestnet import EstNetRegressor
    >>> from skestnet.inspection import feature_maps
    >>> X = np.random.default_rng(0).standard_normal((40, 100))
    >>> net = EstNetRegressor(depth=12, width=4, max_epochs=1, random_state=0).fit(X, X[:, 50])
    >>> maps = feature_maps(net, X[:5])
    >>> maps.input.shape, maps.prse.shape, maps.gru.shape
    ((5, 4, 100), (5, 32, 7), (5, 7))
    """
    model, flux = networks(fitted, X)[0]
    module = module_copy(model)
    net = module.network if isinstance(module, WithNoise) else module
    if not isinstance(net, EstNet):
        raise TypeError(
            f"{type(model).__name__} has no feature maps: expected a fitted EstNetRegressor. For "
            "this network, try its method features, or skestnet.inspection.saliency."
        )
    results = [
        [after.cpu().numpy()[: rows.stop - rows.start] for after in _modules_in_turn(net, batch)]
        for rows, batch in padded_batches(flux, model.net_)
    ]
    return FeatureMaps(*(np.concatenate(parts) for parts in zip(*results, strict=True)))


@torch.no_grad()
def _modules_in_turn(net: EstNet, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    lifted = net.input(batch.unsqueeze(1))
    maps = net.prse(lifted)
    return lifted, maps, net.gru(maps).flatten(1)
