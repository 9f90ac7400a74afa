import pytest
import torch

from skestnet.nn import WeightedHuberLoss


def example(n_rows=8, n_outputs=2, delta=0.7):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(n_rows, n_outputs, generator=generator, dtype=torch.float64)
    residual = torch.linspace(-3, 3, n_rows * n_outputs, dtype=torch.float64)
    weight = torch.linspace(0, 1.5, n_rows, dtype=torch.float64) ** 2
    return y + residual.reshape(n_rows, n_outputs), y, weight, delta


def paper_loss(y_pred, y, weight, delta):
    """Eq. 18 as printed: the constant beyond delta carries no weight."""
    total = 0.0
    for i in range(len(y)):
        for k in range(y.shape[1]):
            r = abs(float(y_pred[i, k] - y[i, k]))
            s = float(weight[i])
            total += s * r**2 / 2 if r <= delta else delta * s * r - delta**2 / 2
    return total / y.numel()


def test_against_the_formula():
    y_pred, y, weight, delta = example()
    total = 0.0
    for i in range(len(y)):
        for k in range(2):
            r = abs(float(y_pred[i, k] - y[i, k]))
            huber = r**2 / 2 if r <= delta else delta * r - delta**2 / 2
            total += float(weight[i]) * huber
    loss = WeightedHuberLoss(delta)(y_pred, (y, weight))
    assert float(loss) == pytest.approx(total / y.numel(), rel=1e-12)


def test_weight_one_is_the_plain_huber_loss():
    y_pred, y, weight, delta = example()
    loss = WeightedHuberLoss(delta)(y_pred, (y, torch.ones_like(weight)))
    torch.testing.assert_close(loss, torch.nn.HuberLoss(delta=delta)(y_pred, y))


def test_gradient_is_that_of_equation_18():
    y_pred, y, weight, delta = example()
    y_pred.requires_grad_()
    WeightedHuberLoss(delta)(y_pred, (y, weight)).backward()
    step = 1e-6
    expected = torch.zeros_like(y_pred)
    for i in range(len(y)):
        for k in range(2):
            change = torch.zeros_like(y_pred)
            change[i, k] = step
            high = paper_loss(y_pred.detach() + change, y, weight, delta)
            low = paper_loss(y_pred.detach() - change, y, weight, delta)
            expected[i, k] = (high - low) / (2 * step)
    residual = (y_pred - y).detach().abs()
    outside = residual > delta
    assert outside.any()
    assert (~outside).any()
    torch.testing.assert_close(y_pred.grad, expected, rtol=1e-6, atol=1e-9)


def test_value_differs_from_equation_18_by_the_constant():
    y_pred, y, weight, delta = example()
    outside = ((y_pred - y).abs() > delta).double()
    constant = float((outside * (1 - weight[:, None])).mean()) * delta**2 / 2
    ours = float(WeightedHuberLoss(delta)(y_pred, (y, weight)))
    assert ours == pytest.approx(paper_loss(y_pred, y, weight, delta) + constant, rel=1e-12)
    assert abs(constant) > 1e-3


def test_weight_zero_removes_a_row_from_the_gradient():
    y_pred, y, weight, delta = example()
    y_pred.requires_grad_()
    WeightedHuberLoss(delta)(y_pred, (y, weight)).backward()
    assert weight[0] == 0
    assert not y_pred.grad[0].any()
    assert y_pred.grad[1:].all()
