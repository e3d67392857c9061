"""Training in half precision: what may be rounded, and what not."""

import numpy as np
import pytest
import torch
import yaml
from examples import SMALL_MODELS, example_bag, pairs
from synthetic_cohort import run, write_cohort
from test_step import APART, BAG, EVENT, TIME, changed, gradients, state, stepper
from test_training import QUICK, SMALL, c_index

from mil.discriminator import Discriminator
from mil.heads import head_names
from mil.heads.base import Labels
from mil.models import build_model, model_names
from mil.nn.segments import bag_softmax, segment_mean, segment_sum
from mil.problems import InputError
from mil.training.settings import choose_precision

HALVES = [torch.bfloat16, torch.float16]
CPU = torch.device("cpu")
LABELS = Labels.of(TIME, EVENT)


def without_dropout(s):
    for module in (s.network, s.discriminator or s.network):
        for layer in module.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
    return s


def similarity(one, other):
    a, b = (torch.cat([g.flatten() for g in part.values()]) for part in (one, other))
    return torch.cosine_similarity(a, b, dim=0).item()


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_long_sums_do_not_stand_still(half):
    """In half precision a sum of ones ends at 256 (bfloat16) or 2048."""
    offsets = torch.tensor([0, 5000, 5001])
    ones = torch.ones(5001, 3, dtype=half)
    assert segment_sum(ones, offsets)[:, 0].tolist() == [5000.0, 1.0]
    assert segment_mean(ones, offsets)[:, 0].tolist() == [1.0, 1.0]
    assert bag_softmax(ones, offsets)[0, 0].item() == pytest.approx(1 / 5000)


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("name", model_names())
def test_a_large_bag_has_nearly_the_same_vector(name, half):
    torch.manual_seed(0)
    model = build_model(name, 24, **SMALL_MODELS.get(name, {})).eval()
    bag = example_bag(16 * 150)  # more than the 2048 at which sums in float16 stand still
    with torch.no_grad():
        right = model(bag)
        with torch.autocast("cpu", half):
            found = model(bag)
    apart = (found.vector.float() - right.vector).norm() / right.vector.norm()
    assert 0 < apart < 0.02
    torch.testing.assert_close(found.scores.float(), right.scores, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_the_discriminator_judges_in_float32(half):
    torch.manual_seed(0)
    judge, bag = Discriminator(24).eval(), example_bag(160)
    time = torch.tensor([0.3])
    with torch.no_grad():
        right = judge(bag, time)
        with torch.autocast("cpu", half):
            evidence = judge.encode(bag)
        found = judge.judge(evidence, time)
    assert evidence.regions.dtype == evidence.vector.dtype == found.dtype == torch.float32
    torch.testing.assert_close(found, right, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("head", head_names("survival"))
@pytest.mark.parametrize("ranking", [0.0, 2.0], ids=["alone", "ranked"])
@pytest.mark.parametrize("window", [[BAG], APART], ids=["together", "apart"])
def test_gradients_are_nearly_those_of_float32(half, head, ranking, window):
    made = []
    for precision in (torch.float32, half):
        s = without_dropout(stepper(head, precision=precision, ranking_weight=ranking))
        loss, seen = s.network.head.loss, []
        s.network.head.loss = lambda output, labels, loss=loss, seen=seen: (
            seen.append(output.dtype),
            loss(output, labels),
        )[1]
        record = s.step(window, LABELS)
        assert set(seen) == {torch.float32}
        assert {p.dtype for p in s.network.parameters()} == {torch.float32}
        assert record.overflows == 0
        made.append((s, record))
    (right, expected), (found, record) = made
    # Bags hardly differ here, so that rounding of their vectors weighs; two draws of dropout: 0.03.
    alike = {torch.bfloat16: 0.95, torch.float16: 0.99}[half]
    assert similarity(gradients(found.network), gradients(right.network)) > alike
    if found.discriminator is not None:
        assert record.discriminator_loss == pytest.approx(expected.discriminator_loss, rel=0.02)
    assert record.loss == pytest.approx(expected.loss, rel=0.05, abs=0.01)
    size = [torch.cat([g.flatten() for g in gradients(s.network).values()]).norm().item()
            for s in (right, found)]  # fmt: skip
    assert size[1] == pytest.approx(size[0], rel=0.05), "the scale of the loss is taken out"


def test_an_update_whose_gradients_overflow_is_left_out():
    s = stepper("cox", precision=torch.float16)
    s.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = state(s.network)
    record = s.step([BAG], LABELS)
    assert record.overflows == 1
    assert changed(s.network, before) == []
    assert s.scaler.get_scale() == 2.0**39
    while record.overflows:
        record = s.step([BAG], LABELS)
    assert set(changed(s.network, before)) == set(before)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_it_is_learned_in_half_precision_too(tmp_path, precision):
    cohort = write_cohort(tmp_path, patients=60)
    keys = {**QUICK, "precision": precision, "epochs": 25}
    predictions, _ = run(cohort, "adversarial", options=SMALL, **keys)
    assert c_index(predictions, "test") > 0.8
    made = yaml.safe_load((cohort / "out/config.yaml").read_text())
    assert made["precision"] == precision


def test_features_too_large_for_float16_are_a_sentence():
    s = stepper("nll", precision=torch.float16)
    bag = example_bag(32)
    bag.features.mul_(1e6)
    with pytest.raises(InputError, match="precision: float16, which ends at 65504"):
        s.step([bag], Labels.of(TIME[:1], np.ones(1)))


def test_automatic_precision(monkeypatch):
    gpu = torch.device("cuda")
    assert choose_precision("auto", CPU) == torch.float32
    assert choose_precision("float16", CPU) == torch.float16
    for able, expected in ((True, torch.bfloat16), (False, torch.float32)):
        answer = {False: able, True: True}  # every GPU emulates it
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation, a=answer: a[including_emulation],
        )
        assert choose_precision("auto", gpu) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("model", model_names())
def test_a_gpu_learns_in_any_precision(tmp_path, model, precision):
    cohort = write_cohort(tmp_path, patients=60)
    keys = {**QUICK, "precision": precision, "device": "cuda", "epochs": 25}
    for head in [head for name, head in pairs(*head_names("survival")) if name == model]:
        predictions, _ = run(cohort, head, model=model, out=head, **keys)
        assert np.isfinite(predictions["risk"]).all()
        if model in ("abmil", "patchgcn"):
            assert c_index(predictions, "test") > 0.75
