"""AdaptiveMLPRegressor: the paper's multilayer perceptron on the training of EstNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np
from torch import nn

from skestnet._network import TwoStageRegressor
from skestnet.nn import MLP


class AdaptiveMLPRegressor(TwoStageRegressor):
    """Multilayer perceptron with the two-stage adaptive training of EstNet.

    The baseline of Xie et al. (2025): four linear layers with PReLU between them, and the same
    adaptive loss and Monte Carlo dropout as :class:`~skestnet.EstNetRegressor`, whose training
    code it shares. It takes any features of order one: pixels, or the scores of a principal
    component analysis.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(256, 128, 64)
        Number of features after each linear layer but the last. Three make the paper's four
        layers; it does not give their sizes.
    dropout : float, default=0.2
        Probability of dropping a feature before the last layer, in [0, 1).
    huber_delta : float, default=1.0
        Residual, in standard deviations of the labels, from which the loss grows linearly (eq. 9).
        Without effect on heteroscedastic noise, which has a loss of its own.
    noise : {"constant", "heteroscedastic", "none"}, default="constant"
        What is added to the spread of the draws, so that intervals cover labels: noise of the same
        width for all spectra, measured on the validation samples (on all samples if there are
        fewer than 20: too narrow); or noise whose width and correlation a second head of the
        network estimates for each spectrum. That is trained together with it by
        :class:`~skestnet.nn.BetaNLLLoss` in place of the Huber loss, and scaled on the validation
        samples. "none" is the paper: the draws alone, which usually spread too little.
    weighter : {"adaptive"} or AdaptiveWeighter or None, default="adaptive"
        How the second stage weighs samples: "adaptive" is the paper's ``AdaptiveWeighter.paper()``.
        ``AdaptiveWeighter()`` withstands many grossly wrong labels better and costs more where
        there are few. None leaves out the second stage.
    max_epochs : int, default=15
        Largest number of epochs in each stage.
    batch_size : int, default=32
        Number of spectra in a training step, at least 2.
    lr : float, default=0.003
        Largest learning rate; it rises during the first tenth of a stage and then decays along a
        half cosine to a hundredth.
    weight_decay : float, default=0.0008
        Penalty on the squared weights, in the gradients of the optimiser, Adam. Raise it to about
        0.01 for a few thousand spectra with a signal-to-noise ratio of a few, whose noise the
        network would learn.
    preprocess : transformer, default=None
        Preprocessing inside the estimator, such as a pipeline of scalers: fitted to the training
        spectra after `augment`, and applied to all spectra after it. Needed where the noise has
        to be added before the scaling; otherwise steps of a pipeline before the estimator do as
        well. With it `X` may hold NaN, which it has to fill.
    augment : float or callable, default=None
        Fresh noise for every training step, on the spectra as passed to `fit`: the standard
        deviation of white noise; or ``augment(X, rng)`` that takes a batch of spectra and a
        :class:`numpy.random.Generator` and returns another realisation, such as a
        :class:`~skestnet.templates.SpectrumDegrader`. Early stopping and the adaptive weights
        look at one fixed realisation. Spectra to predict are taken as they are.
    validation_fraction : float, default=0.1
        Share of the samples set aside for early stopping, in [0, 1). With 0, or with too few
        samples to share, the training loss is monitored.
    n_iter_no_change : int, default=7
        Epochs without improvement after which a stage stops; the best weights are restored.
    tol : float, default=0.0001
        Relative improvement of the monitored loss that counts as such.
    n_draws : int, default=200
        Number of Monte Carlo dropout draws of `predict_dist`.
    warm_start : bool, default=False
        Whether a further call of `fit` goes on from the network that the last one left, with
        its label scaling. Of the parameters of network and optimiser only `lr` can change.
    checkpoint : str or path-like, default=None
        File that keeps the training after every epoch, so that nothing is lost when it is killed:
        a `fit` with the same data and parameters goes on from there, and gives the same network bit
        by bit. A finished one is not trained again. :func:`~skestnet.load` reads the file, for
        predictions with the best weights so far. Needs the extra ``save``, and goes with
        neither ``warm_start`` nor with what fits more than once, such as a search: each fit needs a
        file of its own.
    device : str, default="auto"
        Where to compute: "cpu", "cuda", "cuda:1". "auto" takes a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, validation split, batches and dropout. Pass an int for results
        that repeat: identically with the same number of threads, to rounding otherwise, and on a
        GPU as far as its sums keep their order.
    verbose : int, default=0
        1 shows a progress bar over the epochs.
    net_params : dict, default=None
        Further arguments of :class:`skorch.NeuralNet`, for experts, such as
        ``{"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}``. With
        ``{"compile": True}`` training is compiled by :func:`torch.compile`, and ``compile__mode``
        and the like go to it: needs a C++ compiler on a processor.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; `net_.module_` is the :class:`~skestnet.nn.MLP`, or with heteroscedastic
        noise a :class:`~skestnet.nn.WithNoise` around it. It sees standardised labels.
    history_ : list of dict
        For each epoch: stage, train_loss, valid_loss (None without validation samples), lr and
        seconds. The losses of the second stage are weighted, so they are not to be compared with
        those of the first.
    sample_weight_ : ndarray of shape (n_samples,)
        Adaptive weight of each sample passed to `fit`, found after the first stage (ones without
        a second stage). Samples of `sample_weight` zero have weight zero.
    noise_scale_ : ndarray of shape (n_outputs,)
        Standard deviation of the constant noise, in units of `label_scale_`; of heteroscedastic
        noise, the factor by which the validation samples widen what the second head says. Zeros
        without noise.
    noise_correlation_ : ndarray of shape (n_outputs, n_outputs)
        Correlation of the labels' residuals on the validation samples, standardised by the noise.
        It is that of constant noise.
    n_iter_ : int
        Number of epochs run, both stages together.
    preprocess_ : transformer or None
        The fitted `preprocess`.
    label_mean_, label_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the training labels; a constant label has scale 0.
    n_features_in_ : int
        Number of pixels seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the pixels seen in `fit`, where `X` has such.

    See Also
    --------
    EstNetRegressor : The paper's own network.

    References
    ----------
    Xie et al. (2025), A&A 704, A37, section 4.4.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skestnet import AdaptiveMLPRegressor
    >>> from skestnet.datasets import make_white_dwarfs
    >>> X, y = make_white_dwarfs(60, n_pixels=100, return_X_y=True, random_state=0)
    >>> network = AdaptiveMLPRegressor(max_epochs=5, random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X[:50], y[:50])
    >>> model.predict(X[50:]).shape  # Teff in K and log g in dex
    (10, 2)
    """

    _spreads = (1e-3, 1e2)

    def __init__(
        self,
        *,
        hidden_layer_sizes: Sequence[int] = (256, 128, 64),
        dropout: float = 0.2,
        huber_delta: float = 1.0,
        noise: str = "constant",
        weighter: Any = "adaptive",
        max_epochs: int = 15,
        batch_size: int = 32,
        lr: float = 0.003,
        weight_decay: float = 0.0008,
        preprocess: Any = None,
        augment: Any = None,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 7,
        tol: float = 0.0001,
        n_draws: int = 200,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        net_params: Mapping[str, Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.huber_delta = huber_delta
        self.noise = noise
        self.weighter = weighter
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.preprocess = preprocess
        self.augment = augment
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.n_draws = n_draws
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.net_params = net_params

    def _check_params(self) -> Any:
        sizes = self.hidden_layer_sizes
        listed = isinstance(sizes, list | tuple | np.ndarray)
        if not listed or not all(
            isinstance(size, Integral) and not isinstance(size, bool) and size >= 1
            for size in sizes
        ):
            raise ValueError(
                f"hidden_layer_sizes={sizes!r}: expected a sequence of positive "
                "integers such as (256, 128, 64)."
            )
        return super()._check_params()

    def _module(self) -> tuple[type[nn.Module], dict[str, Any]]:
        return MLP, {"hidden": [int(size) for size in self.hidden_layer_sizes]}
