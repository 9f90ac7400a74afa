import pytest
import torch
from torch import nn

from skestnet.nn import MLP, OutputModule


def small_net(n_pixels=33, n_outputs=2, **params):
    torch.manual_seed(0)
    return MLP(n_pixels, n_outputs, **{"hidden": (16, 12, 8), **params})


@pytest.fixture(autouse=True)
def _own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


def linear_layers(net):
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def test_default_is_the_papers_four_linear_layers_with_prelu():
    net = MLP(977)
    shapes = [(layer.in_features, layer.out_features) for layer in linear_layers(net)]
    assert shapes == [(977, 256), (256, 128), (128, 64), (64, 1)]
    assert [type(module) for module in net.hidden] == 3 * [nn.Linear, nn.PReLU]
    assert isinstance(net.output, OutputModule)
    assert net.output.dropout.p == 0.2


def test_forward_against_a_plain_loop():
    net = small_net().eval()
    x = torch.randn(5, 33)
    h = x
    for linear, prelu in zip(net.hidden[::2], net.hidden[1::2], strict=True):
        h = h @ linear.weight.T + linear.bias
        h = torch.where(h > 0, h, prelu.weight * h)
    torch.testing.assert_close(net.features(x), h)
    expected = h @ net.output.linear.weight.T + net.output.linear.bias
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("hidden", [(), (1,), (16, 12, 8), [5, 4, 3, 2]])
def test_any_number_of_layers(hidden):
    net = small_net(hidden=hidden)
    x = torch.randn(4, 33)
    assert len(linear_layers(net)) == len(hidden) + 1
    assert net.features(x).shape == (4, (33, *hidden)[-1])
    assert net(x).shape == (4, 2)


def test_without_hidden_layers_it_is_linear():
    net = small_net(hidden=()).eval()
    x = torch.randn(4, 33)
    assert torch.equal(net.features(x), x)
    torch.testing.assert_close(net(x), net.output.linear(x))


@pytest.mark.parametrize("hidden", [(), (16, 12, 8)])
def test_forward_is_output_of_features(hidden):
    net = small_net(hidden=hidden, dropout=0.5)
    x = torch.randn(4, 33)
    assert torch.equal(net.eval()(x), net.output(net.features(x)))
    net.train()
    torch.manual_seed(3)
    y = net(x)
    torch.manual_seed(3)
    assert torch.equal(y, net.output(net.features(x)))


def test_nothing_before_the_output_module_is_random():
    net = small_net(dropout=0.5).train()
    x = torch.randn(4, 33)
    assert torch.equal(net.features(x), net.features(x))
    assert not torch.equal(net(x), net(x))


def test_every_parameter_receives_a_gradient():
    net = small_net(dropout=0.0).train()
    net(torch.randn(6, 33)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert [name for name, p in net.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_eval_is_deterministic():
    net = small_net(dropout=0.5).eval()
    x = torch.randn(4, 33)
    assert torch.equal(net(x), net(x))


def test_order_of_the_batch_does_not_matter():
    net = small_net().eval()
    x, order = torch.randn(7, 33), torch.randperm(7)
    torch.testing.assert_close(net(x)[order], net(x[order]))
    torch.testing.assert_close(net(x)[:1], net(x[:1]))
    assert not torch.allclose(net(x), net(x[order]))  # the rows do differ


def test_save_and_load_agree(tmp_path):
    net = small_net().eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    torch.manual_seed(5)
    other = MLP(33, 2, hidden=(16, 12, 8)).eval()
    x = torch.randn(3, 33)
    assert not torch.equal(net(x), other(x))
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert torch.equal(net(x), other(x))


def test_weights_are_normal_and_keep_the_variance():
    net = MLP(400, 50, hidden=(300, 200))
    gain = (2 / (1 + 0.25**2)) ** 0.5
    for layer in (*net.hidden[::2], net.output.linear):
        z = layer.weight.detach().ravel() * layer.in_features**0.5
        z = z / (gain if layer is not net.output.linear else z.std())
        assert abs(float(z.std()) - 1) < 4 * (2 * len(z)) ** -0.5
        # Normal, not uniform, which has kurtosis 1.8.
        assert abs(float((z**4).mean()) - 3) < 4 * (24 / len(z)) ** 0.5 + 0.05
        assert not layer.bias.any()
