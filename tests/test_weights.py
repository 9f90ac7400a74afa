import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skestnet._network
from skestnet import AdaptiveWeighter, adaptive_weights
from skestnet.nn import WeightedHuberLoss


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


# The function


@pytest.mark.parametrize("bandwidth", ["scott", "silverman", 0.3])
@pytest.mark.parametrize("gamma", [0, 0.1, 1])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_against_a_plain_loop(plain_weights, gamma, n_outputs, bandwidth):
    y, y_pred = random_labels(n_outputs=n_outputs)
    expected = plain_weights(y, y_pred, gamma=gamma, bandwidth=bandwidth)
    weights = adaptive_weights(y, y_pred, gamma=gamma, bandwidth=bandwidth)
    assert_allclose(weights, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gamma", [0, 0.1, 1])
def test_weighted_training_set_of_its_own(plain_weights, gamma):
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


# Control functions (eq. 16)


PLAIN_PHI1 = {"identity": lambda g: g, "sqrt": lambda g: g**0.5, "log1p": lambda g: np.log(1 + g)}
PLAIN_PHI2 = {
    "linear": lambda beta: 1 - beta,
    "square": lambda beta: (1 - beta) * (1 - beta),
    "step": lambda beta: 1.0 if beta < 0.5 else 0.0,
}


@pytest.mark.parametrize("phi1", PLAIN_PHI1)
@pytest.mark.parametrize("phi2", PLAIN_PHI2)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_named_control_functions_against_a_plain_loop(plain_weights, phi1, phi2, n_outputs):
    y, y_pred = random_labels(n_outputs=n_outputs)
    weights = adaptive_weights(y, y_pred, gamma=0.3, phi1=phi1, phi2=phi2)
    plain = {"phi1": PLAIN_PHI1[phi1], "phi2": PLAIN_PHI2[phi2]}
    assert_allclose(weights, plain_weights(y, y_pred, gamma=0.3, **plain), rtol=1e-12)


def test_control_functions_of_the_user_against_a_plain_loop(plain_weights):
    own = {"phi1": lambda g: 1 / (1 + g), "phi2": lambda beta: np.exp(-5 * beta)}
    train, new = random_labels(n_outputs=2), random_labels(12, 2, seed=1)
    w = np.random.default_rng(2).uniform(0.5, 3, 30)
    weights = adaptive_weights(*new, train=train, gamma=0.3, sample_weight=w, **own)
    expected = plain_weights(*new, train=train, gamma=0.3, sample_weight=w, **own)
    assert_allclose(weights, expected, rtol=1e-12)


@pytest.mark.parametrize(("gamma", "unused"), [(0, "phi1"), (1, "phi2")])
def test_control_function_without_a_share_changes_nothing(gamma, unused):
    y, y_pred = random_labels()
    expected = adaptive_weights(y, y_pred, gamma=gamma)
    assert_array_equal(adaptive_weights(y, y_pred, gamma=gamma, **{unused: np.exp}), expected)


@pytest.mark.parametrize("bias_score", ["minmax", "mixture"])
def test_control_function_sees_bias_scores_from_zero_to_one(bias_score):
    seen = []
    y, y_pred = random_labels(n_outputs=2)
    new, new_pred = random_labels(12, 2, seed=1)
    new_pred[0] += 100  # beyond every training residual
    adaptive_weights(
        new,
        new_pred,
        train=(y, y_pred),
        bias_score=bias_score,
        phi2=lambda beta: seen.append(beta.copy()) or 1 - beta,
    )
    (beta,) = seen
    assert beta.shape == (12, 2)
    assert beta.min() >= 0
    assert_allclose(beta[0], 1)
    assert beta[1:].max() <= 1


@pytest.mark.parametrize("name", ["phi1", "phi2"])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda x: x[:-1], id="one_less"),
        pytest.param(lambda x: x.ravel(), id="flat"),
        pytest.param(lambda x: 1.0, id="a_number"),  # noqa: ARG005
        pytest.param(lambda x: x * np.nan, id="nan"),
        pytest.param(lambda x: np.full_like(x, np.inf), id="infinite"),
        pytest.param(lambda x: -x - 1e-3, id="negative"),
    ],
)
def test_control_function_that_returns_no_weights(name, bad):
    y, y_pred = random_labels()
    with pytest.raises(ValueError, match=rf"{name} returned .* for one of shape \(30, 1\)"):
        adaptive_weights(y, y_pred, gamma=0.5, **{name: bad})


@pytest.mark.parametrize("name", ["phi1", "phi2"])
@pytest.mark.parametrize("bad", ["cube", None, 1.0, ["sqrt"]])
def test_unknown_control_function(name, bad):
    with pytest.raises(ValueError, match=rf"{name}=.*: expected one of \['.*'\] or a function"):
        adaptive_weights([0.0, 1.0], [0.0, 2.0], **{name: bad})


@pytest.mark.parametrize("bad", ["max", None, 1, ["minmax"], np.abs])
def test_unknown_bias_score(bad):
    with pytest.raises(ValueError, match=r"bias_score=.*: expected one of \['minmax', 'mixture'\]"):
        adaptive_weights([0.0, 1.0], [0.0, 2.0], bias_score=bad)


# Errors of the labels


def plain_judged(y, y_pred, y_err, train=None):
    """Divide residuals by the label's error and the fit's own, in quadrature, one at a time."""
    t, t_pred, t_err = (y, y_pred, y_err) if train is None else train
    judged = np.zeros_like(y)
    for k in range(y.shape[1]):
        spread = (
            np.median([abs(a - b) for a, b in zip(t[:, k], t_pred[:, k], strict=True)]) / 0.6745
        )
        beyond = spread**2 - np.median(t_err[:, k]) ** 2
        own = max(beyond, (spread / 10) ** 2)
        for i in range(len(y)):
            judged[i, k] = (y[i, k] - y_pred[i, k]) / (own + y_err[i, k] ** 2) ** 0.5
    return judged


def random_errors(n_samples=30, n_outputs=1, seed=5, typical=0.2):
    return typical * np.random.default_rng(seed).uniform(0.1, 3, (n_samples, n_outputs))


@pytest.mark.parametrize("bias_score", ["minmax", "mixture"])
@pytest.mark.parametrize("typical", [0.01, 0.2, 2])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_errors_of_labels_against_a_plain_loop(n_outputs, typical, bias_score):
    y, y_pred = random_labels(n_outputs=n_outputs)
    y_err = random_errors(n_outputs=n_outputs, typical=typical)
    judged = plain_judged(y, y_pred, y_err)
    weights = adaptive_weights(y, y_pred, y_err=y_err, bias_score=bias_score)
    expected = adaptive_weights(y_pred + judged, y_pred, bias_score=bias_score)
    assert_allclose(weights, expected, rtol=1e-9, atol=1e-12)


def test_errors_of_another_training_set_against_a_plain_loop():
    train = (*random_labels(n_outputs=2), random_errors(n_outputs=2))
    y, y_pred = random_labels(12, 2, seed=1)
    y_err = random_errors(12, 2, seed=6)
    weights = adaptive_weights(y, y_pred, train=train, y_err=y_err)
    reference = train[1] + plain_judged(*train), train[1]
    judged = plain_judged(y, y_pred, y_err, train)
    assert_allclose(weights, adaptive_weights(y_pred + judged, y_pred, train=reference), rtol=1e-9)


@pytest.mark.parametrize("bias_score", ["minmax", "mixture"])
@pytest.mark.parametrize("error", [0.0, 0.01, 0.3, 100.0])
def test_equal_errors_change_nothing(error, bias_score):
    y, y_pred = random_labels(n_outputs=2)
    expected = adaptive_weights(y, y_pred, gamma=0.1, bias_score=bias_score)
    equal = adaptive_weights(
        y, y_pred, gamma=0.1, y_err=np.full_like(y, error), bias_score=bias_score
    )
    assert_allclose(equal, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bias_score", ["minmax", "mixture"])
def test_same_residual_is_less_anomalous_with_a_larger_error(bias_score):
    rng = np.random.default_rng(0)
    y, y_err = rng.standard_normal(100), np.full(100, 0.1)
    y_pred = y + 0.1 * rng.standard_normal(100)
    y_pred[:3], y_err[0] = y[:3] + 1.2, 1.0
    weights = adaptive_weights(y, y_pred, y_err=y_err, bias_score=bias_score)
    assert weights[0] > 0.85
    assert weights[1:3].max() < 0.1
    control = adaptive_weights(y, y_pred, bias_score=bias_score)
    assert np.ptp(control[:3]) < 1e-9
    assert control[0] < 0.1


def test_errors_do_not_change_the_label_density():
    y, y_pred = random_labels()
    expected = adaptive_weights(y, y_pred, gamma=1)
    assert_array_equal(adaptive_weights(y, y_pred, gamma=1, y_err=random_errors()), expected)


@pytest.mark.parametrize("bias_score", ["minmax", "mixture"])
def test_exact_label_is_not_excused_where_most_are_fitted_exactly(bias_score):
    y, y_pred, y_err = np.zeros(30), np.zeros(30), np.full(30, 0.1)
    y_pred[:2], y_err[0] = 1, 0
    weights = adaptive_weights(y, y_pred, y_err=y_err, bias_score=bias_score)
    assert weights[0] <= weights[1] < 0.01
    assert weights[2:].min() > 0.99


@pytest.mark.parametrize("error", [0.0, 1e-3])
def test_exact_fit_of_labels_with_errors(error):
    y, _ = random_labels()
    assert_array_equal(adaptive_weights(y, y, y_err=np.full_like(y, error)), np.ones(30))


def test_errors_have_the_shape_of_the_labels():
    y, y_pred = random_labels(n_outputs=2)
    for bad in (0.1, y[:, 0], y[:-1], y.T):
        with pytest.raises(ValueError, match=r"y_err has shape .*: expected that of y, \(30, 2\)"):
            adaptive_weights(y, y_pred, y_err=np.abs(bad))


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
def test_errors_are_finite_and_at_least_zero(bad):
    y, y_pred = random_labels()
    y_err = random_errors()
    y_err[3] = bad
    with pytest.raises(ValueError, match="y_err holds negative, NaN or infinite values"):
        adaptive_weights(y, y_pred, y_err=y_err)


# Signal-to-noise ratios


def noisy_residuals(n_samples=600, seed=0):
    """Residuals whose spread falls with the S/N."""
    rng = np.random.default_rng(seed)
    y, snr = rng.standard_normal(n_samples), np.exp(rng.uniform(0, 4, n_samples))
    return y, y + rng.standard_normal(n_samples) / snr, snr


def test_same_residual_is_more_anomalous_at_high_snr():
    y, y_pred, snr = noisy_residuals()
    y_pred[:2], snr[:2] = y[:2] + 0.5, (2.0, 50.0)
    low, high = adaptive_weights(y, y_pred, snr=snr, bias_score="mixture")[:2]
    assert low > 0.9
    assert high < 0.1
    control = adaptive_weights(y, y_pred, bias_score="mixture")[:2]
    assert np.ptp(control) < 0.1


def test_unit_of_the_snr_does_not_matter():
    y, y_pred, snr = noisy_residuals()
    expected = adaptive_weights(y, y_pred, snr=snr, bias_score="mixture")
    scaled = adaptive_weights(y, y_pred, snr=7 * snr, bias_score="mixture")
    assert_allclose(scaled, expected, atol=1e-9)


def test_equal_snr_changes_nothing():
    y, y_pred, _ = noisy_residuals()
    expected = adaptive_weights(y, y_pred, bias_score="mixture")
    equal = adaptive_weights(y, y_pred, snr=np.full(600, 3.0), bias_score="mixture")
    assert_array_equal(equal, expected)


def test_minmax_takes_no_notice_of_the_snr():
    y, y_pred, snr = noisy_residuals(30)
    expected = adaptive_weights(y, y_pred, gamma=0.1)
    for train in (None, (y, y_pred, None, snr)):
        weights = adaptive_weights(y, y_pred, train=train, gamma=0.1, snr=snr)
        assert_array_equal(weights, expected)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_snr_is_positive_and_finite(bad):
    y, y_pred, snr = noisy_residuals(30)
    snr[3] = bad
    with pytest.raises(ValueError, match="snr holds NaN, infinite values, or values that are not"):
        adaptive_weights(y, y_pred, snr=snr, bias_score="mixture")


@pytest.mark.parametrize("shape", [(), (1,), (29,), (30, 1)])
def test_there_is_one_snr_for_each_spectrum(shape):
    y, y_pred, _ = noisy_residuals(30)
    with pytest.raises(ValueError, match=r"snr has shape .*: expected \(30,\), one a spectrum"):
        adaptive_weights(y, y_pred, snr=np.ones(shape), bias_score="mixture")


# A training set of its own, with what is known of it


@pytest.mark.parametrize("known", [(), ("y_err",), ("snr",), ("y_err", "snr")])
def test_training_set_may_be_the_samples_themselves(known):
    y, y_pred, snr = noisy_residuals(300)
    extra = {"y_err": random_errors(300)[:, 0], "snr": snr}
    extra = {name: extra[name] for name in known}
    train = [y, y_pred, extra.get("y_err"), extra.get("snr")]
    while train[-1] is None:
        train.pop()
    assert len(train) == {(): 2, ("y_err",): 3}.get(known, 4)
    both = {"gamma": 0.1, "bias_score": "mixture"}
    expected = adaptive_weights(y, y_pred, **extra, **both)
    weights = adaptive_weights(y, y_pred, train=tuple(train), **extra, **both)
    assert_array_equal(weights, expected)
    some = {name: values[:5] for name, values in extra.items()}
    few = adaptive_weights(y[:5], y_pred[:5], train=tuple(train), **some, **both)
    assert_allclose(few, expected[:5], rtol=1e-12)


@pytest.mark.parametrize("name", ["y_err", "snr"])
def test_what_is_known_on_one_side_only_is_refused(name):
    y, y_pred, snr = noisy_residuals(30)
    mixture = {"bias_score": "mixture"}
    with pytest.raises(ValueError, match=f"{name} is known for these samples only"):
        adaptive_weights(y, y_pred, train=(y, y_pred), **{name: snr}, **mixture)
    train = (y, y_pred, snr) if name == "y_err" else (y, y_pred, None, snr)
    with pytest.raises(ValueError, match=f"{name} is known for the training set only"):
        adaptive_weights(y, y_pred, train=train, **mixture)


@pytest.mark.parametrize("n_parts", [0, 1, 5])
def test_training_set_of_too_few_or_many_parts(n_parts):
    y, y_pred = random_labels()
    with pytest.raises(ValueError, match=f"train has {n_parts} parts: expected y and y_pred"):
        adaptive_weights(y, y_pred, train=(y,) * n_parts)


@pytest.mark.parametrize("bias_score", ["minmax", "mixture"])
@pytest.mark.parametrize(("here", "there"), [(1, 2), (2, 1)])
def test_training_set_has_as_many_labels(here, there, bias_score):
    train = random_labels(n_outputs=there)
    with pytest.raises(
        ValueError, match=f"y has {here} labels per sample and that of train {there}"
    ):
        adaptive_weights(*random_labels(n_outputs=here), train=train, bias_score=bias_score)


def test_training_set_is_checked_like_the_samples():
    y, y_pred = random_labels()
    with pytest.raises(ValueError, match="NaN or infinite"):
        adaptive_weights(y, y_pred, train=(y, np.full_like(y, np.nan)))
    with pytest.raises(ValueError, match=r"y has shape \(30, 1\) and y_pred has shape \(29, 1\)"):
        adaptive_weights(y, y_pred, train=(y, y_pred[1:]))
    with pytest.raises(ValueError, match="y_err holds negative"):
        adaptive_weights(y, y_pred, train=(y, y_pred, -np.ones_like(y)), y_err=np.ones_like(y))


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
    plain_weights, lines, small_regressor, monkeypatch, gamma, n_outputs
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

    def record_stage_1(net, samples, train, valid, weigh, settings, state):
        def first_weigh():
            batches.clear()  # those of stage 1
            gradients.clear()
            net.module_.eval()
            after_stage_1.append(net.forward(samples.X[samples.index]).numpy())
            splits.append((samples, train, valid))
            return weigh()

        return train_stages(net, samples, train, valid, first_weigh, settings, state)

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


def test_control_function_of_the_user_reaches_the_second_stage(lines, small_regressor):
    X, y = lines[0], lines[1][:, 0]
    weighter = AdaptiveWeighter(phi2=lambda beta: np.full_like(beta, 0.25))
    assert_array_equal(
        small_regressor(weighter=weighter).fit(X, y).sample_weight_, np.full(30, 0.25)
    )


def test_exact_labels_are_judged_without_their_neighbours():
    train = (np.zeros(20), np.r_[1.0, np.zeros(19)], np.full(20, 0.1))
    alone = adaptive_weights([0.0], [0.05], train=train, y_err=[0.0])
    beside = adaptive_weights([0.0, 0.0], [0.05, 0.05], train=train, y_err=[0.0, 0.01])
    assert alone[0] == beside[0]
    assert 0 < alone[0] < 1
