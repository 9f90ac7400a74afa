import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor

import skestnet._network
from skestnet import AdaptiveWeighter, adaptive_weights
from skestnet._density import _binned_density, _exact_density, kernel_bandwidth, label_density
from skestnet.nn import WeightedHuberLoss


def plain_weights(y, y_pred, train=None, gamma=0.0, bandwidth="scott", sample_weight=None):
    """Eqs. 12 to 17, one sample and one label at a time."""
    y, y_pred = np.asarray(y, float), np.asarray(y_pred, float)
    y, y_pred = y.reshape(len(y), -1), y_pred.reshape(len(y_pred), -1)
    t, t_pred = (y, y_pred) if train is None else [np.reshape(a, (len(a), -1)) for a in train]
    w = np.ones(len(t)) if sample_weight is None else sample_weight
    rule = {"scott": sum(w) ** -0.2, "silverman": (sum(w) * 3 / 4) ** -0.2}
    h = rule.get(bandwidth, bandwidth)
    s = np.zeros(len(y))
    for k in range(y.shape[1]):
        alpha = [abs(t[j, k] - t_pred[j, k]) for j in range(len(t))]
        for i in range(len(y)):
            spread = max(alpha) - min(alpha)
            beta = (abs(y[i, k] - y_pred[i, k]) - min(alpha)) / spread if spread else 0.0
            beta = min(max(beta, 0.0), 1.0)
            g = 0.0
            for j in range(len(t)):
                z = (y[i, k] - t[j, k]) / h
                g += w[j] * np.exp(-(z**2) / 2) / (np.sqrt(2 * np.pi) * h * sum(w))
            s[i] += (gamma * g + (1 - gamma) * (1 - beta)) / y.shape[1]
    return s


def plain_gradient(y_pred, y, s, delta, step=1e-6):
    """Differentiate eq. 18, averaged over a batch and over labels, number by number."""
    y_pred, y, s = (part.detach().numpy().astype(float) for part in (y_pred, y, s))
    gradient = np.zeros_like(y_pred)
    for i, k in np.ndindex(*y_pred.shape):
        loss = []
        for r in (y_pred[i, k] - y[i, k] + step, y_pred[i, k] - y[i, k] - step):
            inside = s[i] * r**2 / 2
            outside = delta * s[i] * abs(r) - delta**2 / 2
            loss.append(inside if abs(r) <= delta else outside)
        gradient[i, k] = (loss[0] - loss[1]) / (2 * step) / y_pred.size
    return gradient


def random_labels(n_samples=30, n_outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n_samples, n_outputs))
    return y, y + 0.3 * rng.standard_normal(y.shape)


def line(n_samples=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, 3))
    return X, X @ [1.0, -2.0, 0.5] + 0.1 * rng.standard_normal(n_samples)


# The function


@pytest.mark.parametrize("bandwidth", ["scott", "silverman", 0.3])
@pytest.mark.parametrize("gamma", [0, 0.1, 1])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_against_a_plain_loop(gamma, n_outputs, bandwidth):
    y, y_pred = random_labels(n_outputs=n_outputs)
    expected = plain_weights(y, y_pred, gamma=gamma, bandwidth=bandwidth)
    weights = adaptive_weights(y, y_pred, gamma=gamma, bandwidth=bandwidth)
    assert_allclose(weights, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
def test_weighted_training_set_of_its_own(gamma):
    train = random_labels(n_outputs=2)
    y, y_pred = random_labels(12, n_outputs=2, seed=1)
    y_pred[0] += 10  # beyond every training residual
    y_pred[1] = y[1]  # within
    w = np.random.default_rng(2).uniform(0.5, 3, 30)
    weights = adaptive_weights(y, y_pred, train=train, gamma=gamma, sample_weight=w)
    assert_allclose(weights, plain_weights(y, y_pred, train, gamma, sample_weight=w), rtol=1e-12)
    if gamma == 0:
        assert_array_equal(weights[:2], [0, 1])


def test_one_label_in_any_shape():
    y, y_pred = random_labels()
    flat = adaptive_weights(y[:, 0], y_pred[:, 0], gamma=0.1)
    assert_array_equal(flat, adaptive_weights(y, y_pred, gamma=0.1))
    assert_array_equal(flat, adaptive_weights(y[:, 0].tolist(), y_pred[:, 0].tolist(), gamma=0.1))
    assert flat.shape == (30,)


def test_best_fit_has_weight_one_and_worst_zero():
    y, y_pred = random_labels()
    residual = np.abs(y - y_pred)[:, 0]
    weights = adaptive_weights(y, y_pred)
    assert weights[residual.argmin()] == 1
    assert weights[residual.argmax()] == 0
    assert_array_equal(np.argsort(weights), np.argsort(-residual))


def test_density_alone_prefers_common_labels():
    y = np.r_[np.linspace(-0.1, 0.1, 20), 5.0]
    weights = adaptive_weights(y, np.zeros(21), gamma=1)
    assert weights.argmin() == 20
    assert weights[10] > 3 * weights[20]


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
def test_weights_follow_the_samples(gamma):
    y, y_pred = random_labels(n_outputs=2)
    w = np.random.default_rng(2).uniform(0.5, 3, 30)
    order = np.random.default_rng(3).permutation(30)
    weights = adaptive_weights(y, y_pred, gamma=gamma, sample_weight=w)
    permuted = adaptive_weights(y[order], y_pred[order], gamma=gamma, sample_weight=w[order])
    assert_allclose(permuted, weights[order], rtol=1e-12)


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
def test_weight_two_is_a_repeated_sample(gamma):
    y, y_pred = random_labels()
    w = np.ones(30)
    w[[3, 8]] = 2
    repeated = np.r_[np.arange(30), 3, 8]
    weights = adaptive_weights(y, y_pred, gamma=gamma, sample_weight=w)
    expected = adaptive_weights(y[repeated], y_pred[repeated], gamma=gamma)
    assert_allclose(weights, expected[:30], rtol=1e-12)


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
def test_weight_zero_is_an_absent_sample(gamma):
    y, y_pred = random_labels()
    y_pred[4] += 20  # the largest residual, but of a sample that does not count
    w = np.ones(30)
    w[4] = 0
    counted = w > 0
    weights = adaptive_weights(y, y_pred, gamma=gamma, sample_weight=w)
    expected = adaptive_weights(y[counted], y_pred[counted], gamma=gamma)
    assert_allclose(weights[counted], expected, rtol=1e-12)


def test_equal_residuals_and_equal_labels():
    assert_array_equal(adaptive_weights([0.0, 1.0, 2.0], [0.5, 1.5, 2.5]), [1, 1, 1])
    assert_array_equal(adaptive_weights([0.0, 0.0], [0.0, 0.0]), [1, 1])
    tied = adaptive_weights([0.0, 0.0, 1.0, 1.0], [0.1, 0.1, 0.6, 0.6], gamma=0.5)
    assert tied[0] == tied[1]
    assert tied[2] == tied[3]


def test_one_sample():
    assert_array_equal(adaptive_weights([1.0], [3.0]), [1])
    assert_allclose(adaptive_weights([1.0], [3.0], gamma=1, bandwidth=1), (2 * np.pi) ** -0.5)


@pytest.mark.parametrize("shape", [(), (1,), (29,), (30, 2)])
def test_predictions_of_another_shape_are_refused(shape):
    y, _ = random_labels()
    with pytest.raises(ValueError, match="shape"):
        adaptive_weights(y[:, 0], np.zeros(shape))


def test_gamma_is_checked_by_the_function_too():
    with pytest.raises(ValueError, match=r"gamma=1\.5"):
        adaptive_weights([0.0, 1.0], [0.0, 2.0], gamma=1.5)


# The label density


def exact_and_binned(y, y_train, bandwidth, weight):
    exact = _exact_density(y, y_train, bandwidth, weight)
    return exact, _binned_density(y, y_train, bandwidth, weight)


def test_binned_density_is_close_to_the_exact_one():
    rng = np.random.default_rng(0)
    y_train = np.r_[rng.standard_normal(3000), rng.normal(4, 0.2, 500)]
    weight = rng.uniform(0, 2, 3500)
    y = np.linspace(-6, 8, 500)
    for bandwidth in (0.05, kernel_bandwidth("scott", 3500)):
        exact, binned = exact_and_binned(y, y_train, bandwidth, weight)
        assert_allclose(binned, exact, rtol=0.01, atol=0.01 * exact.max())
        assert_allclose(trapezoid(binned, y), 1, rtol=0.01)


def test_binned_density_of_labels_on_a_grid():
    # As template grids have: all labels of a node fall on one side of their bin's centre.
    y_train = np.repeat(np.arange(-2, 2.01, 0.25), 200)
    exact, binned = exact_and_binned(np.linspace(-2, 2, 301), y_train, 0.1, np.ones(len(y_train)))
    assert np.abs(binned - exact).max() < 0.01 * exact.max()


def test_density_far_from_every_label_is_zero():
    exact, binned = exact_and_binned(np.array([-50.0, 50.0]), np.zeros(5), 0.1, np.ones(5))
    assert_array_equal(exact, [0, 0])
    assert_array_equal(binned, [0, 0])


def test_large_sets_are_binned(monkeypatch):
    y_train = np.random.default_rng(0).standard_normal(200)
    exact = label_density(y_train, y_train, 0.3, np.ones(200))
    monkeypatch.setattr("skestnet._density.MAX_EXACT_PAIRS", 100)
    binned = label_density(y_train, y_train, 0.3, np.ones(200))
    assert_allclose(binned, exact, rtol=0.02)
    assert not np.array_equal(binned, exact)


@pytest.mark.slow
def test_a_million_labels():
    y = np.random.default_rng(0).standard_normal(10**6)
    weights = adaptive_weights(y, np.zeros(10**6), gamma=1)
    expected = np.exp(-0.5 * y**2) / np.sqrt(2 * np.pi)
    assert np.abs(weights - expected).max() < 0.01


# The estimator


def test_weighter_is_the_function_on_standardised_labels():
    X, y = line()
    weighter = AdaptiveWeighter.paper(regressor=Ridge(), gamma=0.1, bandwidth=0.4).fit(X, y)
    fitted = Ridge().fit(X, y).predict(X)
    expected = plain_weights(
        (y - y.mean()) / y.std(), (fitted - y.mean()) / y.std(), gamma=0.1, bandwidth=0.4
    )
    assert_allclose(weighter.transform(X, y), expected, rtol=1e-9)
    assert_allclose(weighter.label_mean_, [y.mean()])
    assert_allclose(weighter.label_scale_, [y.std()])


def test_weigh_is_the_function_with_own_parameters():
    y, y_pred = random_labels()
    weighter = AdaptiveWeighter(gamma=0.3, bandwidth=0.2, bias_score="minmax")
    expected = adaptive_weights(y, y_pred, gamma=0.3, bandwidth=0.2)
    assert_array_equal(weighter.weigh(y, y_pred), expected)


def test_finds_a_wrong_label():
    X, y = line()
    wrong = y.copy()
    wrong[17] += 8
    weights = AdaptiveWeighter.paper(regressor=Ridge()).fit_transform(X, wrong)
    assert weights.argmin() == 17
    clean = AdaptiveWeighter.paper(regressor=Ridge()).fit_transform(X, y)
    assert clean.argmin() != 17
    assert np.median(weights) > 0.9 > np.median(clean)


def test_default_regressor_finds_wrong_labels():
    X, y = line(300)
    wrong = [5, 150, 250]
    y[wrong] += 8
    for labels in (y, np.column_stack([y, y])):
        weights = AdaptiveWeighter().fit_transform(X, labels)
        assert set(np.argsort(weights)[:3]) == set(wrong)


def test_fit_transform_equals_fit_then_transform():
    X, y = line()
    weight = np.linspace(0.5, 2, 60)
    for sample_weight in (None, weight):
        both = AdaptiveWeighter(Ridge(), gamma=0.1).fit_transform(X, y, sample_weight)
        one = AdaptiveWeighter(Ridge(), gamma=0.1).fit(X, y, sample_weight).transform(X, y)
        assert_array_equal(both, one)


def test_new_data_are_judged_by_the_training_set():
    X, y = line()
    weighter = AdaptiveWeighter.paper(regressor=Ridge(), gamma=0.2).fit(X[:40], y[:40])
    fitted = weighter.regressor_.predict(X)
    mean, scale = weighter.label_mean_, weighter.label_scale_
    labels, predictions = (y - mean) / scale, (fitted - mean) / scale
    train = labels[:40], predictions[:40]
    expected = plain_weights(labels[40:], predictions[40:], train=train, gamma=0.2)
    assert_allclose(weighter.transform(X[40:], y[40:]), expected, rtol=1e-9)


def test_a_row_does_not_depend_on_its_neighbours():
    X, y = line()
    weighter = AdaptiveWeighter(Ridge(), gamma=0.2).fit(X[:40], y[:40])
    together = weighter.transform(X[40:], y[40:])
    alone = [weighter.transform(X[[i]], y[[i]])[0] for i in range(40, 60)]
    assert_allclose(together, alone, rtol=1e-9)


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
@pytest.mark.parametrize(("factor", "offset"), [(1000, 0), (1, 1e4), (-0.01, 3)])
@pytest.mark.parametrize(("bias_score", "atol"), [("minmax", 1e-8), ("mixture", 1e-5)])
def test_units_of_the_labels_do_not_matter(gamma, factor, offset, bias_score, atol):
    X, y = line()
    weighter = AdaptiveWeighter(LinearRegression(), gamma=gamma, bias_score=bias_score)
    expected = weighter.fit_transform(X, y)
    assert_allclose(weighter.fit_transform(X, factor * y + offset), expected, atol=atol)


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
def test_weighter_follows_the_samples(gamma):
    X, y = line()
    order = np.random.default_rng(0).permutation(60)
    weighter = AdaptiveWeighter(LinearRegression(), gamma=gamma)
    expected = weighter.fit_transform(X, y)[order]
    assert_allclose(weighter.fit_transform(X[order], y[order]), expected, atol=1e-9)


@pytest.mark.parametrize("gamma", [0, 0.1])
def test_weighter_weight_two_is_a_repeated_sample(gamma):
    X, y = line()
    weight = np.ones(60)
    weight[:10] = 2
    repeated = np.r_[np.arange(60), np.arange(10)]
    weighter = AdaptiveWeighter(LinearRegression(), gamma=gamma)
    weights = weighter.fit_transform(X, y, weight)
    expected = weighter.fit_transform(X[repeated], y[repeated])[:60]
    assert_allclose(weights, expected, atol=1e-9)


@pytest.mark.parametrize("gamma", [0, 0.1])
def test_weighter_weight_zero_is_an_absent_sample(gamma):
    X, y = line()
    y[:3] += 30
    weight = np.ones(60)
    weight[:3] = 0
    weighter = AdaptiveWeighter(LinearRegression(), gamma=gamma)
    weights = weighter.fit_transform(X, y, weight)
    expected = weighter.fit_transform(X[3:], y[3:])
    assert_allclose(weights[3:], expected, atol=1e-9)


@pytest.mark.parametrize("regressor", [None, Ridge()])
@pytest.mark.parametrize("value", [0.0, 0.1, 5.0])
@pytest.mark.parametrize(("bias_score", "atol"), [("minmax", 0), ("mixture", 1e-4)])
def test_constant_labels_are_all_normal(regressor, value, bias_score, atol):
    X, _ = line()
    weighter = AdaptiveWeighter(regressor, bias_score=bias_score)
    assert_allclose(weighter.fit_transform(X, np.full(60, value)), 1, atol=atol)


def test_several_labels():
    X, y = line()
    labels = np.column_stack([y, X[:, 0] ** 2])
    weighter = AdaptiveWeighter(Ridge()).fit(X, labels)
    assert weighter.label_mean_.shape == weighter.label_scale_.shape == (2,)
    each = [AdaptiveWeighter(Ridge()).fit_transform(X, labels[:, k]) for k in range(2)]
    assert_allclose(weighter.transform(X, labels), np.mean(each, axis=0), atol=1e-9)
    assert isinstance(AdaptiveWeighter().fit(X, labels).regressor_, MultiOutputRegressor)


def test_fit_leaves_the_regressor_alone():
    X, y = line()
    ridge = Ridge()
    weighter = AdaptiveWeighter(ridge).fit(X, y)
    assert not hasattr(ridge, "coef_")
    assert weighter.regressor is ridge


@pytest.mark.parametrize("gamma", [-0.1, 1.5, np.nan, "0.1", None])
def test_bad_gamma(gamma):
    with pytest.raises(ValueError, match=r"gamma=.*expected a number in \[0, 1\]"):
        AdaptiveWeighter(Ridge(), gamma=gamma).fit(*line())


@pytest.mark.parametrize("bandwidth", [0, -1.0, np.nan, "isj", None])
def test_bad_bandwidth(bandwidth):
    with pytest.raises(ValueError, match=r"bandwidth=.*'scott', 'silverman' or a positive"):
        AdaptiveWeighter(Ridge(), bandwidth=bandwidth).fit(*line())


def test_wrong_number_of_labels():
    X, y = line()
    weighter = AdaptiveWeighter(Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="y has 2 labels per sample, but fit saw 1"):
        weighter.transform(X, np.column_stack([y, y]))


def test_unfitted():
    with pytest.raises(NotFittedError):
        AdaptiveWeighter().transform(*line())


@pytest.mark.parametrize("part", ["X", "y"])
def test_nan_is_refused(part):
    X, y = line()
    (X if part == "X" else y)[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        AdaptiveWeighter(Ridge()).fit(X, y)
    weighter = AdaptiveWeighter(Ridge()).fit(*line())
    with pytest.raises(ValueError, match="NaN"):
        weighter.transform(X, y)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_weights_below_or_all_zero_are_refused(value):
    X, y = line()
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        AdaptiveWeighter(Ridge()).fit(X, y, np.full(60, value))


# Between the stages of EstNetRegressor


class Recorder(AdaptiveWeighter):
    """Keeps what it is asked to weigh, and what it answers."""

    def weigh(self, y, y_pred, *, train=None, sample_weight=None):
        weights = super().weigh(y, y_pred, train=train, sample_weight=sample_weight)
        Recorder.seen = {"y": y, "y_pred": y_pred, "train": train, "weight": sample_weight}
        Recorder.seen["result"] = weights
        return weights


@pytest.mark.parametrize("gamma", [0, 0.1])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_second_stage_uses_weights_of_the_first(
    lines, small_regressor, monkeypatch, gamma, n_outputs
):
    X, y = lines[0], lines[1][:, :n_outputs]
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    weight[4] = 0
    batches, gradients, after_stage_1, splits = [], [], [], []
    loss, train_stages = WeightedHuberLoss.forward, skestnet._network.train_two_stages

    def record_batch(self, y_pred, target):
        batches.append((self.training, *[part.numpy().copy() for part in target]))
        if self.training:
            y_pred.retain_grad()
            gradients.append((y_pred, *target))
        return loss(self, y_pred, target)

    def record_stage_1(net, samples, train, valid, weigh, settings):
        def first_weigh():
            batches.clear()  # those of stage 1
            gradients.clear()
            net.module_.eval()
            after_stage_1.append(net.forward(samples.X[samples.index]).numpy())
            splits.append((samples, train, valid))
            return weigh()

        return train_stages(net, samples, train, valid, first_weigh, settings)

    monkeypatch.setattr(WeightedHuberLoss, "forward", record_batch)
    monkeypatch.setattr(skestnet._network, "train_two_stages", record_stage_1)
    weighter = Recorder.paper(gamma=gamma)
    est = small_regressor(weighter=weighter, max_epochs=3, batch_size=5).fit(X, y, weight)
    samples, train, valid = splits[0]

    # What the weights are made of: standardised labels, and the first stage's predictions.
    rows = samples.index
    assert set(rows) == set(np.flatnonzero(weight))
    assert len(valid) > 0
    assert set(train) | set(valid) == set(range(len(rows)))
    assert not set(train) & set(valid)
    mean = np.average(y[rows[train]], axis=0, weights=weight[rows[train]])
    variance = np.average((y[rows[train]] - mean) ** 2, axis=0, weights=weight[rows[train]])
    labels = (y[rows] - mean) / np.sqrt(variance)
    assert_allclose(Recorder.seen["y"], labels, atol=1e-5)
    assert_allclose(Recorder.seen["y_pred"], after_stage_1[0], atol=1e-5)

    # The weights, from scratch.
    w = weight[rows] / weight[rows].mean()
    expected = plain_weights(
        labels,
        after_stage_1[0],
        train=(labels[train], after_stage_1[0][train]),
        gamma=gamma,
        sample_weight=w[train],
    )
    assert_allclose(est.sample_weight_[rows], expected, atol=1e-4)
    assert_array_equal(est.sample_weight_[rows], Recorder.seen["result"])
    assert est.sample_weight_[4] == 0
    assert np.ptp(est.sample_weight_) > 0.5

    # The batches of stage 2 carry the product of the caller's weights with these.
    n_seen = {True: 0, False: 0}
    for training, batch_labels, batch_weight in batches:
        for label, batch_w in zip(batch_labels, batch_weight, strict=True):
            row = np.abs(labels - label).sum(axis=1).argmin()
            assert batch_w == pytest.approx(w[row] * est.sample_weight_[rows[row]], abs=1e-5)
            assert row in (train if training else valid)
            n_seen[training] += 1
    # What reaches the network is the gradient of eq. 18, by finite differences.
    for y_pred, *target in gradients[:5]:
        assert_allclose(y_pred.grad, plain_gradient(y_pred, *target, est.huber_delta), atol=1e-6)

    n_epochs = sum(epoch["stage"] == 2 for epoch in est.history_)
    assert n_seen == {True: n_epochs * len(train), False: n_epochs * len(valid)}


def test_anomalous_training_labels_get_little_weight(line_spectra, small_regressor):
    X, y = line_spectra(80)
    labels = y[:, 0].copy()
    wrong = np.arange(0, 80, 16)
    labels[wrong] = 16000 - (labels[wrong] - 8000)
    est = small_regressor(width=4, max_epochs=10, lr=0.01).fit(X, labels)
    clean = np.setdiff1d(np.arange(80), wrong)
    assert np.median(est.sample_weight_[wrong]) < np.quantile(est.sample_weight_[clean], 0.05)
    control = small_regressor(width=4, max_epochs=10, lr=0.01).fit(X, y[:, 0])
    low = np.quantile(control.sample_weight_[clean], 0.05)
    assert np.median(control.sample_weight_[wrong]) > low


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_labels_and_predictions_are_finite(bad):
    for pair in (([0.0, bad], [0.0, 1.0]), ([0.0, 1.0], [0.0, bad])):
        with pytest.raises(ValueError, match="NaN or infinite"):
            adaptive_weights(*pair)


def test_weights_of_the_training_set_are_checked():
    y = [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="negative values"):
        adaptive_weights(y, y, sample_weight=[1, -1, 1])
    with pytest.raises(ValueError, match="zero for every sample"):
        adaptive_weights(y, y, sample_weight=[0, 0, 0])
    with pytest.raises(ValueError, match=r"shape \(2,\): expected \(3,\)"):
        adaptive_weights(y, y, sample_weight=[1, 1])
