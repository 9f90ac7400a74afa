"""Noise of the labels: its loss, its head, its width on samples set aside, and both networks."""

import pickle
from functools import cache

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm
from sklearn.base import clone
from sklearn.ensemble import BaggingRegressor
from torch.distributions import MultivariateNormal

import skestnet._network
from skestnet import AdaptiveMLPRegressor, EstNetRegressor, PredictiveDistribution
from skestnet._noise import correlation_of, noise_factor
from skestnet.nn import MLP, BetaNLLLoss, NoiseHead, WithNoise
from skestnet.nn._noise import FIRST_STD, LEAST_STD, noise_columns

NOISES = ("none", "constant", "heteroscedastic")
CORRELATION = 0.8
SETTINGS = {"dropout": 0.1, "weighter": None, "random_state": 0, "device": "cpu"}
NETWORKS = {
    "estnet": EstNetRegressor(
        depth=12, width=4, max_epochs=8, batch_size=25, lr=0.02, n_draws=50, **SETTINGS
    ),
    "mlp": AdaptiveMLPRegressor(
        hidden_layer_sizes=(32, 16), max_epochs=12, batch_size=32, lr=0.01, n_draws=50, **SETTINGS
    ),
}
SAMPLES = {"estnet": 500, "mlp": 1500}


def network(name, **params):
    return clone(NETWORKS[name]).set_params(**params)


def survey(n_samples, seed=0):
    """Lines of some depth and width; half the spectra are noisy, and the labels with them.

    The errors of the first two labels are correlated, that of the third has nothing to do with
    them.
    """
    rng = np.random.default_rng(seed)
    depth, width = rng.uniform(0, 1, n_samples), rng.uniform(0.5, 1.5, n_samples)
    noisy = rng.random(n_samples) < 0.5
    pixels = np.linspace(-12, 12, 96)
    line = depth[:, None] * np.exp(-0.5 * (pixels / (4 * width[:, None])) ** 2)
    flux = 1 - 3 * line + np.where(noisy, 0.6, 0.05)[:, None] * rng.standard_normal(line.shape)
    error = rng.standard_normal((n_samples, 3))
    error[:, 1] = CORRELATION * error[:, 0] + (1 - CORRELATION**2) ** 0.5 * error[:, 1]
    labels = np.column_stack([depth, width, -depth]) + np.where(noisy, 0.4, 0.1)[:, None] * error
    return flux.astype(np.float32), labels * [4000, 1, 10] + [8000, 7, 0], noisy


def linear(n_samples, seed=0, noise=0.0):
    """A label that is the sum of four of eight features, plus noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, 8)).astype(np.float32)
    return X, 0.5 * X[:, :4].sum(axis=1) + noise * rng.standard_normal(n_samples)


@pytest.fixture(scope="module")
def unseen():
    """Spectra that no network was fitted to."""
    return survey(400, seed=99)


@pytest.fixture(scope="module")
def fitted_to_survey():
    """Fit each network once; not to be changed."""

    @cache
    def fit(name, noise):
        X, y, _ = survey(SAMPLES[name])
        return network(name, noise=noise, validation_fraction=0.3).fit(X, y)

    return fit


@pytest.fixture(params=NETWORKS)
def constant(request, fitted_to_survey):
    """Each network with constant noise."""
    return fitted_to_survey(request.param, "constant")


@pytest.fixture(params=NETWORKS)
def heteroscedastic(request, fitted_to_survey):
    """Each network with heteroscedastic noise."""
    return fitted_to_survey(request.param, "heteroscedastic")


# The loss


def batch(n_outputs=3, n_rows=7):
    """Means with dropout and without, deviations, factors of correlations; labels and weights."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    y, mean, centre = (normal(n_rows, n_outputs) for _ in range(3))
    std = normal(n_rows, n_outputs).exp()
    factor = torch.tril(normal(n_rows, n_outputs, n_outputs), -1) + torch.eye(n_outputs)
    factor = factor / factor.norm(dim=2, keepdim=True)
    weight = torch.linspace(0, 2, n_rows, dtype=torch.float64)
    for part in (mean, std, factor):
        part.requires_grad_()
    return (mean, centre, std, factor), (y, weight)


def likelihood(predicted, target):
    """Negative log likelihood about the means without dropout, without its constant, per label."""
    _, centre, std, factor = predicted
    y, weight = target
    total = 0.0
    for i in range(len(y)):
        tril = torch.diag(std[i]) @ factor[i]
        normal = MultivariateNormal(centre[i], scale_tril=tril, validate_args=False)
        constant = y.shape[1] / 2 * np.log(2 * np.pi)
        total += weight[i] * (-normal.log_prob(y[i]) - constant)
    return total / y.numel()


@pytest.mark.parametrize("n_outputs", [1, 2, 3])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_training_loss_is_the_likelihood_and_a_squared_error(n_outputs, beta):
    predicted, (y, weight) = batch(n_outputs)
    mean, _, std, _ = predicted
    squares = 0.0
    for i in range(len(y)):
        for k in range(n_outputs):
            r, s = (y - mean)[i, k].item(), std[i, k].item()
            squares += weight[i].item() * 0.5 * r**2 * s ** (2 * beta - 2) / y.numel()
    loss = BetaNLLLoss(beta)(predicted, (y, weight)).item()
    assert loss == pytest.approx(likelihood(predicted, (y, weight)).item() + squares, rel=1e-10)
    assert squares > 0.1


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_what_teaches_mean_deviations_and_correlations(beta):
    predicted, (y, weight) = batch()
    mean, centre, std, factor = predicted
    BetaNLLLoss(beta)(predicted, (y, weight)).backward()
    power = std.detach() ** (2 * beta - 2)  # a constant: it teaches nothing to the deviations
    torch.testing.assert_close(mean.grad, weight[:, None] * power * (mean - y).detach() / 21)
    # Deviations are those of each label by itself, correlations those of the likelihood.
    alone = (mean, centre, std, torch.eye(3).double().expand_as(factor))
    (of_std,) = torch.autograd.grad(likelihood(alone, (y, weight)), std)
    (of_factor,) = torch.autograd.grad(likelihood(predicted, (y, weight)), factor)
    torch.testing.assert_close(std.grad, of_std)
    torch.testing.assert_close(torch.tril(factor.grad), torch.tril(of_factor))
    assert all(part[1:].any() for part in (of_std, torch.tril(of_factor, -1)))


def test_weight_zero_removes_a_row_from_the_loss():
    predicted, (y, weight) = batch()
    assert weight[0] == 0
    BetaNLLLoss()(predicted, (y, weight)).backward()
    for part in (predicted[0], *predicted[2:]):
        assert not part.grad[0].any()
        assert part.grad[1].any()


def test_evaluation_loss_is_the_crps():
    predicted, (y, weight) = batch(2, 4)
    _, centre, std, _ = predicted
    total = 0.0
    for i in range(4):
        for k in range(2):
            m, s, truth = centre[i, k].item(), std[i, k].item(), y[i, k].item()
            below, _ = quad(lambda x, m=m, s=s: ndtr((x - m) / s) ** 2, -np.inf, truth)
            above, _ = quad(lambda x, m=m, s=s: ndtr((m - x) / s) ** 2, truth, np.inf)
            total += weight[i].item() * (below + above)
    loss = BetaNLLLoss().eval()(predicted, (y, weight))
    assert loss.item() == pytest.approx(total / 8, rel=1e-6)


# The head


def head_and_features(n_outputs):
    """A head whose last layer is not zero, as it is before training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = NoiseHead(5, n_outputs)
        torch.nn.init.normal_(head.last.weight)
        return head, torch.randn(20, 5)


@pytest.mark.parametrize("n_outputs", [1, 2, 3])
def test_factors_are_those_of_correlation_matrices(n_outputs):
    head, h = head_and_features(n_outputs)
    std, factor = head(h)
    assert std.shape == (20, n_outputs)
    assert (std >= LEAST_STD).all()
    assert (torch.triu(factor, 1) == 0).all()
    assert (factor.diagonal(dim1=1, dim2=2) > 0).all()
    correlation = factor @ factor.transpose(1, 2)
    torch.testing.assert_close(correlation.diagonal(dim1=1, dim2=2), torch.ones(20, n_outputs))
    off = correlation[:, *np.tril_indices(n_outputs, -1)]
    assert (off.amax(dim=0) - off.amin(dim=0) > 0.3).all()  # they depend on the features
    torch.testing.assert_close(torch.linalg.cholesky(correlation), factor, rtol=1e-3, atol=1e-4)


def test_before_training_the_noise_is_the_same_for_all():
    std, factor = NoiseHead(5, 2)(torch.randn(3, 5))
    torch.testing.assert_close(std, torch.full((3, 2), FIRST_STD + LEAST_STD))
    torch.testing.assert_close(factor, torch.eye(2).expand(3, 2, 2))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_noise_columns(n_outputs):
    head, h = head_and_features(n_outputs)
    columns = noise_columns(head)(h.double())
    std, factor = head(h)
    assert columns.shape == (20, n_outputs + n_outputs**2)
    assert columns.dtype == torch.float64
    assert next(head.parameters()).dtype == torch.float32  # the head itself is left as it was
    for i in range(20):
        torch.testing.assert_close(columns[i, :n_outputs], std[i].double(), rtol=1e-5, atol=0)
        correlation = (factor[i] @ factor[i].T).double()
        torch.testing.assert_close(
            columns[i, n_outputs:].reshape(n_outputs, n_outputs), correlation, rtol=1e-5, atol=1e-5
        )


def test_the_mean_is_that_of_the_network():
    net = WithNoise(MLP, n_outputs=2, n_pixels=6, hidden=(5, 4), dropout=0.3).eval()
    x = torch.randn(3, 6)
    mean, centre, std, factor = net(x)
    assert torch.equal(mean, net.network(x))
    assert torch.equal(centre, mean)
    assert torch.equal(net.features(x), net.network.features(x))
    assert net.output is net.network.output
    for own, other in zip((std, factor), net.noise(net.features(x)), strict=True):
        assert torch.equal(own, other)


def test_noise_is_measured_without_dropout():
    net = WithNoise(MLP, n_outputs=2, n_pixels=6, hidden=(5, 50), dropout=0.3).train()
    x = torch.randn(3, 6)
    one, other = net(x), net(x)
    assert not torch.equal(one[0], other[0])
    for own, again in zip(one[1:], other[1:], strict=True):
        assert torch.equal(own, again)
    torch.testing.assert_close(one[1], net.eval()(x)[0])
    assert one[0].requires_grad
    assert not one[1].requires_grad  # the mean learns from the residuals with dropout alone


# The width of the noise


def residuals(n_samples=4000, factor=2.0):
    """Residuals of two labels, their epistemic variances, and noise that is `factor` too narrow."""
    rng = np.random.default_rng(0)
    variance, std = rng.uniform(0, 4, (n_samples, 2)), rng.uniform(0.5, 2, (n_samples, 2))
    spread = np.sqrt(variance + (np.array([factor, 0.5 * factor]) * std) ** 2)
    return spread * rng.standard_normal((n_samples, 2)), variance, std, np.ones(n_samples)


def test_the_factor_of_the_noise_is_found_beside_the_epistemic_variance():
    residual, variance, std, weight = residuals()
    assert_allclose(noise_factor(residual, variance, std, weight), [2, 1], rtol=0.06)
    # The control: what is not subtracted is taken for noise.
    assert (noise_factor(residual, 0 * variance, std, weight) > [2.2, 1.2]).all()


def test_the_factor_minimises_the_crps():
    residual, variance, std, weight = residuals(50)
    weight[::3] = 4

    def score(factor, k):
        total = np.sqrt(variance[:, k] + (factor * std[:, k]) ** 2)
        z = residual[:, k] / total
        crps = total * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)
        return np.average(crps, weights=weight)

    grid = np.geomspace(0.1, 10, 4001)
    expected = [grid[np.argmin([score(factor, k) for factor in grid])] for k in range(2)]
    assert_allclose(noise_factor(residual, variance, std, weight), expected, rtol=2e-3)


def test_weights_count():
    residual, variance, std, weight = residuals(1000)
    residual[::2] *= 3
    narrow, wide = weight.copy(), weight.copy()
    narrow[::2], wide[1::2] = 0, 0
    of_narrow = noise_factor(residual[1::2], variance[1::2], std[1::2], weight[1::2])
    assert_allclose(noise_factor(residual, variance, std, narrow), of_narrow, rtol=1e-4)
    assert (noise_factor(residual, variance, std, wide) > 2 * of_narrow).all()
    repeated = np.repeat(np.arange(1000), np.where(np.arange(1000) % 2, 1, 3))
    assert_allclose(
        noise_factor(residual, variance, std, np.where(narrow, 1.0, 3.0)),
        noise_factor(residual[repeated], variance[repeated], std[repeated], np.ones(2000)),
        rtol=1e-4,
    )


def test_one_outlier_changes_little():
    residual, variance, std, weight = residuals(400)
    before = noise_factor(residual, variance, std, weight)
    residual[7] = 1e3
    assert np.sqrt((residual**2).mean(axis=0)).min() > 40  # what the mean square would say
    assert_allclose(noise_factor(residual, variance, std, weight), before, rtol=0.05)


def test_no_residuals_no_noise():
    residual, variance, std, weight = residuals(30)
    for spread in (variance, 0 * variance):
        assert (noise_factor(0 * residual, spread, std, weight) < 1e-2).all()


def test_weights_that_are_all_zero_count_alike():
    residual, variance, std, weight = residuals(30)
    for measure in (
        lambda w: noise_factor(residual, variance, std, w),
        lambda w: correlation_of(residual, w),
    ):
        assert_array_equal(measure(0 * weight), measure(weight))


# Their correlations


def test_correlations_are_found():
    rng = np.random.default_rng(0)
    truth = np.array([[1, 0.8, 0], [0.8, 1, -0.5], [0, -0.5, 1]])
    residual = rng.multivariate_normal(np.zeros(3), truth, 5000) * [1, 10, 0.1]
    correlation = correlation_of(residual, np.ones(5000))
    assert_allclose(correlation, truth, atol=0.05)
    assert_allclose(np.diag(correlation), 1)


@pytest.mark.parametrize("weight", [np.ones(6), np.array([1.0, 2, 0, 1, 3, 2])])
def test_correlations_are_as_if_a_few_more_samples_had_none(weight):
    residual = np.random.default_rng(0).standard_normal((6, 2))
    a, b = residual.T
    seen = (weight * a * b).sum() / np.sqrt((weight * a**2).sum() * (weight * b**2).sum())
    effective = weight.sum() ** 2 / (weight**2).sum()
    expected = seen * effective / (effective + 3)
    for scaled in (weight, 100 * weight):
        assert_allclose(correlation_of(residual, scaled), [[1, expected], [expected, 1]])


def test_one_sample_tells_little_about_correlations():
    correlation = correlation_of(np.array([[1.0, -2.0]]), np.ones(1))
    assert_allclose(correlation, [[1, -0.25], [-0.25, 1]])


def test_a_label_without_residuals_is_not_correlated():
    residual = np.column_stack([np.arange(5.0), np.zeros(5)])
    assert_allclose(correlation_of(residual, np.ones(5)), np.eye(2))


# Both networks


@pytest.mark.parametrize("name", NETWORKS)
def test_no_noise_is_the_spread_of_the_draws_alone(lines, name):
    X, y = lines
    est = network(name, noise="none", max_epochs=2).fit(X, y)
    assert_array_equal(est.noise_scale_, [0, 0])
    assert_array_equal(est.noise_correlation_, np.eye(2))
    dist = est.predict_dist(X)
    assert_array_equal(dist.std("aleatoric"), np.zeros((30, 2)))
    assert (dist.std("epistemic") > 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_constant_noise_leaves_the_means_as_they_are(lines, name):
    X, y = lines
    plain, noisy = (network(name, noise=noise, max_epochs=2).fit(X, y) for noise in NOISES[:2])
    assert_array_equal(plain.predict(X), noisy.predict(X))
    assert_array_equal(plain.predict_dist(X).loc, noisy.predict_dist(X).loc)
    assert noisy.noise == EstNetRegressor().noise == AdaptiveMLPRegressor().noise


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fraction", [0, 0.4])
def test_constant_noise_is_that_of_the_samples_set_aside(monkeypatch, name, fraction):
    seen = []
    train_stages = skestnet._network.train_two_stages

    def record(net, samples, train, valid, *args):
        seen.append(samples.index[valid if len(valid) else train])
        return train_stages(net, samples, train, valid, *args)

    monkeypatch.setattr(skestnet._network, "train_two_stages", record)
    X, y, _ = survey(150)
    est = network(name, dropout=0.0, max_epochs=2, validation_fraction=fraction).fit(X, y)
    assert len(seen[0]) == (60 if fraction else 150)
    residual = (y - est.predict(X))[seen[0]]
    grid = np.geomspace(0.2, 3, 2001)[:, None, None] * residual.std(axis=0)
    z = residual / grid
    crps = grid * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)
    best = grid[crps.mean(axis=1).argmin(axis=0), 0, np.arange(3)]
    spread = est.predict_dist(X[:4]).std("aleatoric")
    assert_allclose(spread, np.repeat([best], 4, axis=0), rtol=5e-3)
    assert_allclose(est.noise_scale_ * est.label_scale_, spread[0])
    inside = np.abs(residual) < spread[0]
    assert abs(inside.mean() - 0.68) < 0.1


def test_constant_noise_is_the_same_for_all_spectra(constant, unseen):
    X, y, noisy = unseen
    dist = constant.predict_dist(X)
    spread = dist.std("aleatoric")
    assert_allclose(spread, np.broadcast_to(spread[0], spread.shape))
    residual = y - constant.predict(X)
    for k in range(3):
        assert residual[~noisy, k].std() < spread[0, k] < residual[noisy, k].std()
    low, high = dist.interval(0.68)
    assert abs(((low < y) & (y < high)).mean() - 0.68) < 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_heteroscedastic_noise_is_wider_where_the_spectra_are_noisy(fitted_to_survey, unseen, name):
    X, y, noisy = unseen
    spread = fitted_to_survey(name, "heteroscedastic").predict_dist(X).std("aleatoric")
    for k in range(3):
        assert np.median(spread[noisy, k]) > 1.3 * np.median(spread[~noisy, k])
    miss = {}
    for noise in NOISES[1:]:
        low, high = fitted_to_survey(name, noise).predict_dist(X).interval(0.68)
        inside = (low < y) & (y < high)
        miss[noise] = [abs(inside[rows].mean() - 0.68) for rows in (noisy, ~noisy)]
    assert (np.array(miss["heteroscedastic"]) < miss["constant"]).all()


def test_a_constant_correlation_is_that_of_the_residuals(constant, unseen):
    X, y, _ = unseen
    found = constant.predict_dist(X).correlation
    assert found.shape == (400, 50, 3, 3)
    assert_array_equal(found, np.broadcast_to(constant.noise_correlation_, found.shape))
    expected = np.corrcoef((y - constant.predict(X)).T)
    assert expected[0, 1] > 0.5
    assert_allclose(constant.noise_correlation_, expected, atol=0.25)


def test_correlations_are_learnt(heteroscedastic, unseen):
    X, y, noisy = unseen
    found = heteroscedastic.predict_dist(X).correlation[noisy, 0].mean(axis=0)
    expected = np.corrcoef((y - heteroscedastic.predict(X))[noisy].T)
    assert expected[0, 1] > 0.6
    assert found[0, 1] > 0.35
    assert_allclose(found, expected, atol=0.3)
    assert np.abs(found[2, :2]).max() < found[0, 1] - 0.1


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("noise", NOISES[1:])
def test_standard_deviations_are_those_of_the_distribution(fitted_to_survey, unseen, name, noise):
    X = unseen[0][:50]
    est = fitted_to_survey(name, noise)
    mean, std = est.predict(X, return_std=True)
    dist = est.predict_dist(X, n_draws=4000)
    assert_allclose(dist.std(), std, rtol=0.03)
    assert (np.abs(dist.mean() - mean) < 5 * dist.std("epistemic") / 4000**0.5).all()
    assert (std > dist.std("epistemic")).all()
    assert (std > dist.std("aleatoric")).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_more_samples_less_epistemic_spread(line_spectra, name):
    # Of an ensemble: the draws of one small EstNet spread more after more samples.
    unseen, _ = line_spectra(200, seed=9)
    spread = []
    for n_samples in (40, 400):
        X, y = line_spectra(n_samples)
        est = network(name, max_epochs=6, batch_size=25, lr=0.03)
        ensemble = BaggingRegressor(est, 3, random_state=0).fit(X, y[:, 0])
        members = [member.predict_dist(unseen) for member in ensemble.estimators_]
        spread.append(PredictiveDistribution.mixture(members).std("epistemic").mean())
    assert spread[1] < 0.7 * spread[0]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("noise", NOISES)
def test_one_label_in_one_or_two_dimensions(lines, name, noise):
    X, y = lines
    est = network(name, noise=noise, max_epochs=2)
    flat, column = (clone(est).fit(X, labels) for labels in (y[:, 0], y[:, :1]))
    one, other = flat.predict_dist(X), column.predict_dist(X)
    assert one.shape == (30,)
    assert other.shape == (30, 1)
    assert_array_equal(one.loc, other.loc[..., 0])
    assert_array_equal(one.scale, other.scale[..., 0])
    assert flat.noise_scale_.shape == (1,)
    assert_allclose(flat.noise_correlation_, [[1]])


@pytest.mark.parametrize("noise", NOISES[1:])
def test_a_constant_label_has_no_noise(lines, noise):
    X, y = lines
    labels = np.column_stack([y[:, 0], np.full(30, 7.3)])
    est = network("mlp", noise=noise, max_epochs=2).fit(X, labels)
    _, std = est.predict(X, return_std=True)
    spread = est.predict_dist(X).std("aleatoric")
    assert_array_equal(std[:, 1], np.zeros(30))
    assert_array_equal(spread[:, 1], np.zeros(30))
    assert (spread[:, 0] > 0).all()


@pytest.mark.parametrize("noise", NOISES[1:])
def test_sample_weights_count_in_the_noise(noise):
    X, y = linear(400)
    rng = np.random.default_rng(1)
    y = y + np.where(np.arange(400) % 2, 1.0, 0.1) * rng.standard_normal(400)
    spread = []
    for of_wide in (0.01, 1.0):
        weight = np.where(np.arange(400) % 2, of_wide, 1.01 - of_wide)
        est = network("mlp", noise=noise, validation_fraction=0.3).fit(X, y, weight)
        spread.append(np.median(est.predict_dist(X).std("aleatoric")))
    assert spread[1] > 2.5 * spread[0]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("noise", NOISES[1:])
def test_without_validation_samples_the_training_samples_are_taken(lines, name, noise):
    X, y = lines
    est = network(name, noise=noise, max_epochs=2, validation_fraction=0).fit(X, y)
    assert {epoch["valid_loss"] for epoch in est.history_} == {None}
    assert (est.noise_scale_ > 0.05).all()
    assert np.isfinite(est.predict(X, return_std=True)).all()


def test_training_goes_on_where_the_noise_is_small():
    # A training loss with the power in its value would stop at a standard deviation of 0.2.
    X, y = linear(1500)
    est = network("mlp", noise="heteroscedastic", validation_fraction=0, dropout=0.0, max_epochs=20)
    est.fit(X[:1000], y[:1000])
    assert est.n_iter_ == 20
    assert (y[1000:] - est.predict(X[1000:])).std() < 0.1
    assert np.median(est.predict_dist(X).std("aleatoric")) < 0.1


@pytest.mark.parametrize("noise", NOISES[1:])
def test_warm_start_goes_on(noise):
    X, y = linear(200, noise=0.05)
    est = network("mlp", noise=noise, warm_start=True, max_epochs=4).fit(X, y)
    net, loss = est.net_, est.history_[-1]["train_loss"]
    est.fit(X, y)
    narrow = np.median(est.predict_dist(X).std("aleatoric"))
    assert est.n_iter_ == 8
    assert est.net_ is not net
    assert est.history_[-1]["train_loss"] < loss
    labels = y + np.random.default_rng(1).standard_normal(200)
    assert np.median(est.fit(X, labels).predict_dist(X).std("aleatoric")) > 2 * narrow


@pytest.mark.parametrize("name", NETWORKS)
def test_adaptive_weights_are_kept(monkeypatch, lines, name):
    X, y = lines
    trained_on = []
    forward = BetaNLLLoss.forward

    def record(self, predicted, target):
        if self.training:
            trained_on.append(target[1])
        return forward(self, predicted, target)

    monkeypatch.setattr(BetaNLLLoss, "forward", record)
    est = network(name, noise="heteroscedastic", weighter="adaptive", validation_fraction=0)
    est.set_params(max_epochs=1, batch_size=30).fit(X, y)
    first, second = (np.sort(weight.numpy()) for weight in trained_on)
    assert_array_equal(first, np.ones(30))
    assert_allclose(second, np.sort(est.sample_weight_), rtol=1e-6)
    assert len(np.unique(est.sample_weight_)) > 10


def test_wrong_labels_count_little():
    X, y = linear(400, noise=0.1)
    labels = y.copy()
    labels[::5] += 4
    error = {}
    for weighter in (None, "adaptive"):
        est = network("mlp", noise="heteroscedastic", weighter=weighter).fit(X, labels)
        error[weighter] = np.abs(est.predict(X) - y).mean()
    assert error["adaptive"] < 0.8 * error[None]
    right = np.delete(est.sample_weight_, np.s_[::5])
    assert np.median(right) > 2 * np.median(est.sample_weight_[::5])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_decides_the_noise(lines, name):
    X, y = lines
    est = network(name, noise="heteroscedastic", max_epochs=2)
    one, again = est.fit(X, y).predict_dist(X), clone(est).fit(X, y).predict_dist(X)
    for part in ("loc", "scale", "correlation"):
        assert_array_equal(getattr(one, part), getattr(again, part))


def test_a_row_has_its_own_noise(heteroscedastic, unseen):
    X = unseen[0]
    dist = heteroscedastic.predict_dist(X)
    some = heteroscedastic.predict_dist(X[[70, 3]])
    assert_array_equal(some.scale, dist.scale[[70, 3]])
    assert_array_equal(some.correlation, dist.correlation[[70, 3]])


def test_round_trip(heteroscedastic, unseen):
    X = unseen[0][:20]
    other = pickle.loads(pickle.dumps(heteroscedastic))
    one, again = heteroscedastic.predict_dist(X), other.predict_dist(X)
    for part in ("loc", "scale", "correlation"):
        assert_array_equal(getattr(one, part), getattr(again, part))
    unfitted = clone(heteroscedastic)
    assert unfitted.noise == "heteroscedastic"
    assert not hasattr(unfitted, "noise_scale_")


def test_few_samples_have_a_joint_region():
    X, y, _ = survey(10)
    est = network("mlp", dropout=0.0, max_epochs=2).fit(X, y[:, :2])
    region = est.predict_dist(X).region(0.68)
    assert np.isfinite(region.radius).all()
    assert region.contains(est.predict(X)).all()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("noise", ["gauss", None, 0.1, True])
def test_bad_noise(lines, name, noise):
    with pytest.raises(ValueError, match=r"noise=.*: expected one of \('none', 'constant', 'het"):
        network(name, noise=noise).fit(*lines)


@pytest.mark.parametrize("label", ["teff", "logg"])
def test_the_paper_has_no_noise(label):
    assert EstNetRegressor.paper(label).noise == "none"
