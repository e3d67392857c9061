"""The smooth SVM against the values of the published code and the hinge."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import multi_margin_loss, softplus

from mil.losses.smooth_svm import smooth_svm_loss

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/building_blocks.json"


def test_values_of_the_published_code():
    """Where it switches to the hard maximum, its value is given beside the closed form's."""
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    for case in json.loads(GOLDEN.read_text())["blocks"]["smooth_top1_svm"]["cases"]:
        scores = torch.tensor(case["scores"], dtype=torch.float64, requires_grad=True)
        target = torch.tensor(case["labels"])
        loss = smooth_svm_loss(scores, target, case["alpha"], case["tau"]).mean()
        assert loss.item() == pytest.approx(case["closed_form"], abs=1e-6)
        assert loss.item() == pytest.approx(case["original"], abs=3e-3)
        loss.backward()
        torch.testing.assert_close(
            scores.grad, torch.tensor(case["grad_original"]).double(), rtol=0, atol=3.2e-3
        )


def test_two_classes_are_a_softplus_of_the_margin():
    scores = torch.randn(50, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    target = torch.arange(50) % 2
    own, other = scores.gather(1, target[:, None]), scores.gather(1, 1 - target[:, None])
    expected = softplus(other - own + 1)[:, 0]
    torch.testing.assert_close(smooth_svm_loss(scores, target), expected, rtol=1e-12, atol=1e-14)


def test_a_low_temperature_is_the_hinge_of_the_hardest_class():
    scores = torch.tensor([[0.3, -0.7, 0.1], [2.0, 0.5, -1.0], [0.0, 0.4, 3.0]])
    target = torch.tensor([0, 0, 1])
    hinge = torch.tensor([0.8, 0.0, 3.6])  # max(0, 1 + the best other - the own)
    found = smooth_svm_loss(scores, target, temperature=1e-3)
    torch.testing.assert_close(found, hinge, rtol=0, atol=2e-3)
    two = smooth_svm_loss(scores[:, :2], torch.tensor([0, 1, 1]), temperature=1e-3)
    known = 2 * multi_margin_loss(scores[:, :2], torch.tensor([0, 1, 1]), reduction="none")
    torch.testing.assert_close(two, known, rtol=0, atol=2e-3)


def test_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \[3, 1\].*must be \[3\]"):
        smooth_svm_loss(torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.int64))


def test_large_scores_neither_overflow_nor_stop_learning():
    scores = torch.tensor([[500.0, -500.0], [-500.0, 500.0]], requires_grad=True)
    loss = smooth_svm_loss(scores, torch.tensor([0, 0]))
    assert loss.tolist() == [0.0, 1001.0]
    loss.sum().backward()
    assert scores.grad[1].tolist() == [-1.0, 1.0]
