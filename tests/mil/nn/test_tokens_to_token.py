"""T2T against the reference's values and against windows laid side by side."""

import json
from pathlib import Path

import pytest
import torch
from examples import golden_fill, golden_input
from torch.nn.functional import unfold

from mil.nn.grid_stencil import window_cells
from mil.nn.sinusoid import grid_sinusoid, sinusoid
from mil.nn.tokens_to_token import TokensToToken

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/building_blocks.json"
NAMES = {
    "attn.proj": "out.0",
    "attn.qkv.weight": "qkv.weight",
    "mlp.fc1": "mlp.1",
    "mlp.fc2": "mlp.4",
    "norm1": "norm",
    "norm2": "mlp.0",
}


def squares(side):
    at = torch.arange(side)
    return torch.cartesian_prod(torch.zeros(1, dtype=torch.int64), at, at)


def test_values_of_the_reference():
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    cases = json.loads(GOLDEN.read_text())["blocks"]["T2T"]["cases"]
    for case in cases:
        layer = TokensToToken(8, 16, case["kernel"]).double().eval()
        golden_fill(layer, NAMES, case["norm_weights"])
        p = int(case["input"].split("x_")[1][0])
        x = torch.from_numpy(golden_input(p, 64)[:, :8])
        centres = squares(8 // case["stride"])
        windows = window_cells(squares(8), centres, case["kernel"], case["stride"])
        y = layer(x, windows, torch.tensor([0, len(centres)]))
        near = {"abs": 2e-6}
        assert len(y) == case["tokens_out"]
        assert y[0, :5].tolist() == pytest.approx(case["out_row0_first5"], **near)
        assert y[-1, :5].tolist() == pytest.approx(case["out_last_row_first5"], **near)
        assert y.norm().item() == pytest.approx(case["out_norm"], **near)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2), (7, 1)])
def test_windows_need_not_be_laid_side_by_side(kernel, stride):
    """(exact): W LN(unfold x) by a convolution and two sums, with its gradients."""
    torch.manual_seed(0)
    layer = TokensToToken(3, 4, kernel).double()
    with torch.no_grad():
        layer.norm.weight.normal_(), layer.norm.bias.normal_()
    image = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    there = torch.rand(9, 9) < 0.7
    image = image * there
    cells = torch.nonzero(there)
    cells = torch.cat([torch.zeros(len(cells), 1, dtype=torch.int64), cells], 1)
    x = image[0, :, cells[:, 1], cells[:, 2]].T.contiguous().requires_grad_()
    centres = squares((9 - 1) // stride + 1)
    fast = layer.project(x, window_cells(cells, centres, kernel, stride))

    placed = image.new_zeros(9, 9, 3).index_put((cells[:, 1], cells[:, 2]), x)
    windows = unfold(placed.permute(2, 0, 1)[None], kernel, padding=kernel // 2, stride=stride)
    literal = layer.qkv(layer.norm(windows[0].T))
    torch.testing.assert_close(fast, literal, rtol=1e-9, atol=1e-9)
    wanted = [x, layer.qkv.weight, layer.norm.weight, layer.norm.bias]
    for one, other in zip(
        torch.autograd.grad(fast.square().sum(), wanted),
        torch.autograd.grad(literal.square().sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


def test_features_with_a_large_mean_keep_their_variance():
    """The difference of two sums in single precision would have lost it."""
    torch.manual_seed(0)
    layer = TokensToToken(16, 4, 3)
    x = torch.randn(25, 16) + 100
    windows = window_cells(squares(5), squares(5), 3)
    exact = TokensToToken(16, 4, 3).double()
    exact.load_state_dict(layer.state_dict())
    fast, wanted = layer.project(x, windows), exact.project(x.double(), windows)
    middle = 12  # whose window is whole; at the border zeros make the variance
    torch.testing.assert_close(fast[middle].double(), wanted[middle], rtol=0.01, atol=0.01)


def test_sinusoids():
    code = sinusoid(torch.tensor([0, 3]), 6)
    assert code[0].tolist() == [0, 1, 0, 1, 0, 1]
    for i in range(3):
        angle = torch.tensor(3 / 10_000 ** (2 * i / 6), dtype=torch.float64)
        torch.testing.assert_close(code[1, 2 * i], angle.sin())
        torch.testing.assert_close(code[1, 2 * i + 1], angle.cos())
    both = grid_sinusoid(torch.tensor([[3, 5]]), 8)
    torch.testing.assert_close(both[0, :4], sinusoid(torch.tensor([3]), 4)[0])
    torch.testing.assert_close(both[0, 4:], sinusoid(torch.tensor([5]), 4)[0])
