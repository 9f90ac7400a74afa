import numpy as np
import pytest
import torch
from torch import nn

from skestnet.nn import EstNet, GRUModule, InputModule, PRSEBlock

LENGTHS = [1, 2, 3, 15, 16, 17, 100]


def count_convolutions(net):
    return sum(isinstance(module, nn.Conv1d) for module in net.modules())


def small_net(n_pixels=33, n_outputs=2, **params):
    torch.manual_seed(0)
    return EstNet(n_pixels, n_outputs, **{"depth": 12, "width": 3, **params})


@pytest.fixture(autouse=True)
def _own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


@pytest.mark.parametrize("depth", [12, 34, 66])
def test_depth_counts_convolutions_of_the_paper(depth):
    with torch.device("meta"):
        net = EstNet(3909, depth=depth, width=64)
    assert count_convolutions(net) == depth


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("depth", range(12, 41, 2))
def test_every_even_depth_and_any_width(depth, width):
    with torch.device("meta"):
        net = EstNet(40, depth=depth, width=width)
    assert count_convolutions(net) == depth


def test_blocks_of_the_paper():
    with torch.device("meta"):
        blocks = {
            depth: [len(stage) for stage in EstNet(99, depth=depth).prse] for depth in (34, 66)
        }
    assert sum(blocks[34]) == 15
    assert sum(blocks[66]) == 31
    assert max(blocks[34]) - min(blocks[34]) <= 1
    assert max(blocks[66]) - min(blocks[66]) <= 1


@pytest.mark.parametrize("n_pixels", LENGTHS)
def test_any_length(n_pixels):
    net = small_net(n_pixels)
    x = torch.randn(3, n_pixels)
    assert net.train()(x).shape == (3, 2)
    assert net.eval()(x).shape == (3, 2)
    assert net.features(x).shape == (3, -(-n_pixels // 16))


@pytest.mark.parametrize("n_pixels", [100, 977])
def test_shapes_of_the_modules(n_pixels):
    net = EstNet(n_pixels, n_outputs=2, depth=12, width=64).eval()
    length = -(-n_pixels // 16)
    seen = {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.shape}))
    with torch.no_grad():
        net(torch.randn(2, n_pixels))
    assert {name: tuple(shape) for name, shape in seen.items()} == {
        "input": (2, 64, n_pixels),
        "prse": (2, 512, length),
        "gru": (2, 1, length),
        "output": (2, 2),
    }


def test_each_stage_halves_and_doubles():
    net = small_net(n_pixels=37, width=4).eval()
    maps = net.input(torch.randn(2, 1, 37))
    shapes = []
    for stage in net.prse:
        maps = stage(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(4, 19), (8, 10), (16, 5), (32, 3)]


def test_first_halving_shortcut_is_pooled_and_the_others_are_projected():
    net = small_net(depth=34)
    for k, stage in enumerate(net.prse):
        first, *others = stage
        n_projections = sum(isinstance(m, nn.Conv1d) for m in first.shortcut.modules())
        assert n_projections == (k > 0)
        assert all(isinstance(block.shortcut, nn.Identity) for block in others)
    assert isinstance(net.prse[0][0].shortcut, nn.AvgPool1d)


@pytest.mark.parametrize("n_pixels", [1, 33])
def test_every_parameter_receives_a_gradient(n_pixels):
    net = small_net(n_pixels, dropout=0.0).train()
    net(torch.randn(6, n_pixels)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    if n_pixels > 1:
        assert [name for name, p in net.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_eval_is_deterministic_and_training_is_not():
    net = small_net(n_pixels=100, dropout=0.5)
    x = torch.randn(4, 100)
    net.eval()
    assert torch.equal(net(x), net(x))
    net.output.train()
    assert not torch.equal(net(x), net(x))


def test_order_of_the_batch_does_not_matter():
    net = small_net().eval()
    x, order = torch.randn(7, 33), torch.randperm(7)
    torch.testing.assert_close(net(x)[order], net(x[order]))
    assert not torch.allclose(net(x), net(x[order]))  # the rows do differ


def test_save_and_load_agree(tmp_path):
    net = small_net()
    net.train()(torch.randn(5, 33))  # moves the running statistics, which must be saved too
    torch.save(net.state_dict(), tmp_path / "net.pt")
    torch.manual_seed(5)
    other = EstNet(33, 2, depth=12, width=3)
    x = torch.randn(3, 33)
    assert not torch.equal(net.eval()(x), other.eval()(x))
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert torch.equal(net.eval()(x), other.eval()(x))


def test_explicit_blocks():
    net = small_net(depth=16, blocks=(3, 1, 1, 1))
    assert [len(stage) for stage in net.prse] == [3, 1, 1, 1]
    assert count_convolutions(net) == 16
    assert net(torch.randn(2, 33)).shape == (2, 2)


@pytest.mark.parametrize("depth", [0, 10, 13, 35])
def test_bad_depth(depth):
    with pytest.raises(ValueError, match=rf"depth={depth}: expected an even number"):
        EstNet(33, depth=depth, width=2)


@pytest.mark.parametrize("blocks", [(1, 1, 1), (2, 1, 1, 1), (0, 2, 1, 1), ()])
def test_bad_blocks(blocks):
    with pytest.raises(ValueError, match=r"blocks=.*depth=12"):
        EstNet(33, depth=12, width=2, blocks=blocks)


def test_input_module_is_convolution_norm_prelu():
    module = InputModule(3).eval()
    x = torch.randn(2, 1, 9)
    padded = nn.functional.pad(x, (1, 1))
    rows = []
    for k in range(3):
        kernel = module.conv.weight[k, 0]
        rows.append(sum(kernel[j] * padded[:, 0, j : j + 9] for j in range(3)))
    normed = torch.stack(rows, dim=1) / (1 + module.norm.eps) ** 0.5
    expected = torch.where(normed > 0, normed, 0.25 * normed)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize(("channels", "stride"), [((2, 2), 1), ((2, 2), 2), ((2, 4), 2)])
@pytest.mark.parametrize("length", [1, 8, 9])
def test_block_is_two_chained_residual_connections(channels, stride, length):
    block = PRSEBlock(*channels, stride, reduction=1).eval()
    x = torch.randn(3, channels[0], length)
    f = block.norm1(block.conv1(x))
    f = torch.where(f > 0, f, block.act1.weight * f)
    f = block.norm2(block.conv2(f))
    if channels[0] != channels[1]:
        kernel = block.shortcut[0].weight[:, :, 0]
        shortcut = block.shortcut[1](torch.einsum("oc,bcl->bol", kernel, x[:, :, ::stride]))
    elif stride == 2:
        pairs = [x[:, :, i : i + 2].mean(dim=-1) for i in range(0, length, 2)]
        shortcut = torch.stack(pairs, dim=-1)
    else:
        shortcut = x
    y = f + shortcut
    y = torch.where(y > 0, y, block.act2.weight * y)
    squeezed = block.se.act(block.se.squeeze(y.mean(dim=-1)))
    weight = torch.sigmoid(block.se.excite(squeezed))
    z = y + weight[:, :, None] * y
    torch.testing.assert_close(block(x), z)


def test_squeeze_follows_the_reduction():
    widths = {r: PRSEBlock(64, 64, 1, reduction=r).se.squeeze.out_features for r in (2, 8, 16)}
    assert widths == {2: 32, 8: 8, 16: 4}
    assert PRSEBlock(2, 2, 1, reduction=16).se.squeeze.out_features >= 1


def test_gru_module_against_a_loop_over_channels():
    module = GRUModule(5)
    x = torch.randn(3, 7, 5)  # seven channels are seven steps, five positions the features
    gru = module.gru
    w_r, w_u, w_n = gru.weight_ih_l0.chunk(3)
    v_r, v_u, v_n = gru.weight_hh_l0.chunk(3)
    b_r, b_u, b_n = gru.bias_ih_l0.chunk(3)
    c_r, c_u, c_n = gru.bias_hh_l0.chunk(3)
    h = torch.zeros(3, 5)
    for step in x.unbind(dim=1):
        reset = torch.sigmoid(step @ w_r.T + b_r + h @ v_r.T + c_r)
        update = torch.sigmoid(step @ w_u.T + b_u + h @ v_u.T + c_u)
        candidate = torch.tanh(step @ w_n.T + b_n + reset * (h @ v_n.T + c_n))
        h = (1 - update) * candidate + update * h
    torch.testing.assert_close(module(x), h[:, None])


def test_weights_are_normal_and_scaled_by_the_fan_in():
    net = EstNet(400, 50, depth=12, width=16)
    gain = (2 / (1 + 0.25**2)) ** 0.5
    conv = net.prse[2][0].conv1.weight.detach()
    fan_in = conv.shape[1] * conv.shape[2]
    checked = {
        "conv": (conv, gain * fan_in**-0.5),
        "linear": (net.output.linear.weight.detach(), 25**-0.5),
        "recurrent": (net.gru.gru.weight_hh_l0.detach(), 25**-0.5),
        "gru input": (net.gru.gru.weight_ih_l0.detach(), 25**-0.5),
    }
    for name, (weight, std) in checked.items():
        z = weight.numpy().ravel() / std
        error = (2 * len(z)) ** -0.5
        assert abs(z.std() - 1) < 4 * error, name
        assert abs(z.mean()) < 4 * len(z) ** -0.5, name
        # Normal, not uniform: a uniform one has kurtosis 1.8 and nothing beyond 1.74 sigma.
        assert abs((z**4).mean() - 3) < 4 * (24 / len(z)) ** 0.5 + 0.05, name
        assert np.abs(z).max() > 2.5, name


def test_biases_start_at_zero():
    net = small_net()
    biases = [p for name, p in net.named_parameters() if "bias" in name]
    assert biases
    assert all(not p.any() for p in biases)
