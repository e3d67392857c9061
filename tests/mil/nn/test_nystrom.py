"""Nystrom attention against the reference's values and against its own matrices."""

import json
from pathlib import Path

import pytest
import torch
from examples import golden_fill, golden_input

from mil.nn.nystrom import WEIGHTS, NystromAttention
from mil.problems import InputError

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/building_blocks.json"
NAMES = {
    "res_conv.weight": "residual.filter.weight",
    "to_out.0": "out",
    "to_qkv.weight": "qkv.weight",
}
PARITY = {"mask_padding": False, "fixed_landmarks": True}


def golden_cases():
    """Those without a mask in the middle of a sequence, which packed bags never have."""
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    golden = json.loads(GOLDEN.read_text())["blocks"]["nystrom"]
    return golden, [case for case in golden["cases"] if "mask" not in case["case"]]


def reference_form(start):
    attention = NystromAttention(64, 8, 16, start=start, **PARITY).double()
    golden_fill(attention, NAMES)
    return attention


def one(n):
    return torch.tensor([0, n])


@pytest.mark.parametrize("start", ["global", "per_matrix"])
def test_values_of_the_reference(start):
    attention = reference_form(start)
    golden, cases = golden_cases()
    near = {"abs": 2e-6}
    assert len(cases) == 6
    for case in cases:
        p, n = int(case["input"][2]), int(case["input"].split(":")[1][:-1])
        y = attention(torch.from_numpy(golden_input(p, 64)[:n]), one(n))
        if start == "per_matrix":
            norm = case["out_norm_with_per_matrix_start"]
            assert y.norm().item() == pytest.approx(norm, **near)
            x = torch.from_numpy(golden_input(p, 64)[:n])
            apart = (y - reference_form("global")(x, one(n))).abs().max().item()
            assert apart == pytest.approx(case["max_abs_difference_of_per_matrix_start"], **near)
            continue
        assert y[0, :5].tolist() == pytest.approx(case["out_row0_first5"], **near)
        assert y[-1, :5].tolist() == pytest.approx(case["out_last_row_first5"], **near)
        assert y.norm().item() == pytest.approx(case["out_norm"], **near)
    if start == "global":
        y = attention(torch.from_numpy(golden_input(0, 64)), one(64))
        (y.square().sum() / 2).backward()
        norms = golden["grad_norms_of_half_squared_output_x0"]
        found = dict(attention.named_parameters())
        for name, ours in (
            ("res_conv.weight", "residual.filter.weight"),
            ("to_out.0.bias", "out.bias"),
            ("to_out.0.weight", "out.weight"),
            ("to_qkv.weight", "qkv.weight"),
        ):
            assert found[ours].grad.norm().item() == pytest.approx(norms[name], rel=1e-6)


def test_row_of_the_reference():
    """Of one head: a head's own matrix is what the reference gives out."""
    attention = reference_form("global")
    _, cases = golden_cases()
    for case in cases:
        p, n = int(case["input"][2]), int(case["input"].split(":")[1][:-1])
        x = torch.from_numpy(golden_input(p, 64)[:n])
        matrix = literal_weights(attention, x)  # [h, n, n]
        expected = case["att_head0_last_query_last5_keys"]
        assert matrix[0, -1, -5:].tolist() == pytest.approx(expected, abs=2e-6)
        row = attention.of_first(x, one(n))[1]
        torch.testing.assert_close(row, matrix[:, 0].mean(0))


def literal_weights(attention, x):
    """The whole matrix A1 Z A3 of each head [h, n, n], padding left out, by the formulas."""
    a1, z, a3, _ = literal_parts(attention, x)
    return (a1 @ z @ a3)[..., -len(x) :]


def literal_parts(attention, x):
    n, h = len(x), attention.heads
    m = attention.landmarks if attention.fixed else min(attention.landmarks, n)
    length = -(-n // m)
    front = m * length - n
    q, k, v = attention.qkv(x).view(n, 3, h, -1).permute(1, 2, 0, 3)  # [h, n, d]
    full = [torch.cat([t.new_zeros(h, front, t.shape[2]), t], 1) for t in (q, k, v)]
    real = torch.arange(m * length) >= front
    if attention.mask_padding:
        runs = [run[run >= front] for run in torch.arange(m * length).split(length)]
        runs = [run for run in runs if len(run)]
    else:
        runs = torch.arange(m * length).split(length)
        real[:] = True
    means = [torch.stack([t[:, run].mean(1) for run in runs], 1) for t in full[:2]]
    scale = q.shape[2] ** -0.5

    def softmax(queries, keys):
        return (queries @ keys.transpose(1, 2) * scale).softmax(-1)

    a1, a2 = softmax(q, means[1]), softmax(means[0], means[1])
    a3 = softmax(means[0], full[1][:, real])
    z = []
    for a in a2:
        of = a2 if attention.start == "global" else a
        one_z = a.T / (of.sum(-2).max() * of.sum(-1).max())
        eye = torch.eye(len(a), dtype=a.dtype)
        for _ in range(attention.iterations):
            az = a @ one_z
            one_z = one_z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
        z.append(one_z)
    return a1, torch.stack(z), a3, full[2][:, real]


@pytest.mark.parametrize("form", [{}, PARITY, {"start": "global"}, {"residual": "heads"}])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 20, 40])
def test_two_fused_calls_are_the_product_of_three_matrices(form, n):
    torch.manual_seed(0)
    attention = NystromAttention(16, 2, 8, kernel=5, **form).double()
    x = torch.randn(n, 16, dtype=torch.float64)
    a1, z, a3, v = literal_parts(attention, x)
    y = a1 @ z @ (a3 @ v)
    own = v[:, -n:]  # [h, n, d]
    weight = attention.residual.filter.weight
    if form.get("residual") == "heads":
        group = 8 // 2
        for a in range(2):
            for o in range(8):
                for b in range(2):
                    channels = own[b][:, o // group * group :][:, :group]
                    y[a, :, o] += channels @ weight[o, :, b - a + 2]
    else:
        for head in range(2):
            for i in range(n):
                for step in range(-2, 3):
                    if 0 <= i + step < n:
                        y[head, i] += weight[head, 0, step + 2, 0] * own[head, i + step]
    expected = attention.out(y.transpose(0, 1).reshape(n, 16))
    torch.testing.assert_close(attention(x, one(n)), expected)


def test_a_bag_is_the_same_whatever_it_is_packed_with():
    """Also with the largest norms: they are those of a bag's heads, not of the batch's."""
    for start in ("per_matrix", "global"):
        torch.manual_seed(0)
        attention = NystromAttention(16, 2, 8, start=start)
        a, b = torch.randn(21, 16), 10 * torch.randn(5, 16)
        alone = attention(a, one(21))
        packed = attention(torch.cat([a, b]), torch.tensor([0, 21, 26]))[:21]
        torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-6)


def test_padding_that_takes_part_changes_a_bag():
    """The trap that mask_padding avoids: zeros in front draw attention to themselves."""
    torch.manual_seed(0)
    x = torch.randn(9, 16)
    masked = NystromAttention(16, 2, 8)
    unmasked = NystromAttention(16, 2, 8, mask_padding=False)
    unmasked.load_state_dict(masked.state_dict())
    assert (masked(x, one(9)) - unmasked(x, one(9))).abs().max() > 1e-3


def test_with_all_landmarks_it_is_plain_attention():
    """Landmarks are the instances themselves, so A1 Z A3 = A2 Z A2, which is about A2."""
    torch.manual_seed(0)
    attention = NystromAttention(16, 2, 8, iterations=30, residual="none").double()
    x = torch.randn(6, 16, dtype=torch.float64)
    q, k, _ = attention.qkv(x).view(6, 3, 2, 8).permute(1, 2, 0, 3)
    exact = (q @ k.transpose(1, 2) / 8**0.5).softmax(-1)
    torch.testing.assert_close(literal_weights(attention, x), exact, rtol=1e-6, atol=1e-8)
    row = attention.of_first(x, one(6))[1]
    torch.testing.assert_close(row, exact[:, 0].mean(0), rtol=1e-6, atol=1e-8)


def test_the_inverse_is_made_in_single_precision_at_least():
    torch.manual_seed(0)
    attention = NystromAttention(16, 2, 8)
    x = torch.randn(40, 16)
    with torch.autocast("cpu", torch.bfloat16):
        low = attention(x, one(40))
    torch.testing.assert_close(low.float(), attention(x, one(40)), rtol=0.05, atol=0.05)


def test_gradients_are_right():
    torch.manual_seed(0)
    attention = NystromAttention(8, 2, 4, kernel=3).double()
    x = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: attention(x, torch.tensor([0, 2, 7])), x)


@pytest.mark.parametrize("residual", ["sequence", "heads", "none"])
@pytest.mark.parametrize("mask_padding", [True, False])
def test_stages_say_the_same(residual, mask_padding, monkeypatch):
    """(exact): landmarks made of means of instances, and queries a run at a time."""
    monkeypatch.setattr("mil.nn.recompute.LARGE", 10)
    monkeypatch.setattr("mil.nn.recompute.RUN", 7)
    torch.manual_seed(0)
    attention = NystromAttention(
        16, 2, 8, residual=residual, mask_padding=mask_padding, fixed_landmarks=not mask_padding
    ).double()
    x = torch.randn(45, 16, dtype=torch.float64, requires_grad=True)
    offsets, found = torch.tensor([0, 5, 45]), []
    wanted = [x, *attention.parameters()]
    for method in (attention.forward, attention.in_stages):
        y = method(x, offsets)
        found.append((y.detach(), *torch.autograd.grad(y.square().sum(), wanted)))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("residual", ["sequence", "heads", "none"])
@pytest.mark.parametrize("form", [{}, PARITY, {"start": "global", "mask_padding": False}])
@pytest.mark.parametrize("sizes", [[1, 2], [7, 8, 9], [40, 45]])
def test_the_first_instance_hears_the_same_without_the_others(residual, form, sizes, monkeypatch):
    """(exact): values summed before they are made, queries of runs made of means."""
    monkeypatch.setitem(WEIGHTS, "cpu", 100)  # of a large bag, two landmarks at a time
    torch.manual_seed(0)
    attention = NystromAttention(16, 2, 8, residual=residual, kernel=5, **form).double()
    x = torch.randn(sum(sizes), 16, dtype=torch.float64, requires_grad=True)
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    wanted, found = [x, *attention.parameters()], []
    for y in (attention(x, offsets)[offsets[:-1]], attention.of_first(x, offsets)[0]):
        found.append((y.detach(), *torch.autograd.grad(y.square().sum(), wanted)))
    torch.testing.assert_close(*found)
    rows = attention.of_first(x, offsets)[1].split(sizes)
    for row, bag in zip(rows, x.split(sizes), strict=True):
        torch.testing.assert_close(row, literal_weights(attention, bag)[:, 0].mean(0))


def test_without_projection_heads_are_put_side_by_side():
    torch.manual_seed(0)
    attention, bare = NystromAttention(16, 2, 8), NystromAttention(16, 2, 8, project=False)
    attention.out.weight.data.copy_(torch.eye(16))
    attention.out.bias.data.zero_()
    bare.load_state_dict({k: v for k, v in attention.state_dict().items() if k[:4] != "out."})
    x = torch.randn(20, 16)
    torch.testing.assert_close(bare(x, one(20)), attention(x, one(20)))


def test_options_that_cannot_be_are_sentences():
    with pytest.raises(InputError, match=r"residual is 'head'; it must be sequence, heads, none"):
        NystromAttention(16, 2, residual="head")
    with pytest.raises(InputError, match=r"start is 'local'; it must be per_matrix, global"):
        NystromAttention(16, 2, start="local")
    with pytest.raises(InputError, match=r"8 channels of a head are no multiple of 3"):
        NystromAttention(24, 3, residual="heads")
