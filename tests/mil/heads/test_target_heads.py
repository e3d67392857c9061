"""Heads of classes, grades and numbers."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from mil.heads import HEADS, build_head
from mil.heads.base import HeadError, Targets

WIDTH = 6
CLASSES = np.array([0, 1, 2, 1, 0, 2, 1, 1.0])
TWO = (CLASSES > 0).astype(float)
SEVERAL = np.array([[1, 0], [0, 1], [1, np.nan], [0, 0], [1, 1], [np.nan, 0], [0, 1], [0, 0]])
NUMBERS = np.array([3.0, 8.0, 20.0, 11.0, 6.0, 15.0, 2.0, 9.0])
NAMES = {2: ["no", "yes"], 3: ["low", "mid", "high"]}
KINDS = {
    "one sigmoid": ("classes", TWO, {}),
    "softmax of two": ("classes", TWO, {"link": "softmax"}),
    "softmax": ("classes", CLASSES, {}),
    "svm": ("classes", CLASSES, {"loss": "svm"}),
    "sigmoids": ("classes", CLASSES, {"link": "sigmoid", "class_weights": "balanced"}),
    "several": ("classes", SEVERAL, {}),
    "cumulative": ("ordinal", CLASSES, {}),
    "coral": ("ordinal", CLASSES, {"form": "coral"}),
    "squares": ("regression", NUMBERS, {}),
    "absolutes": ("regression", NUMBERS, {"norm": "l1"}),
}


def make(name, target, width=WIDTH, **options):
    given = {}
    if name != "regression":
        columns = target.shape[1] if target.ndim == 2 else int(target.max()) + 1
        given["classes"] = NAMES[columns]
    torch.manual_seed(0)
    fitted = HEADS.find(name).fit(target, **given, **options)
    return build_head(name, width, fitted, **options)


@pytest.fixture(params=KINDS)
def kind(request):
    name, target, options = KINDS[request.param]
    return make(name, target, **options), Targets.of(target)


@pytest.fixture
def vector():
    return torch.randn(len(TWO), WIDTH, generator=torch.Generator().manual_seed(3))


NOISE = torch.empty(len(TWO), 1, 0)


def told(prediction):
    return prediction.value if hasattr(prediction, "value") else prediction.probability


def test_gradient_reaches_every_parameter_and_the_embedding(kind, vector):
    head, targets = kind
    vector.requires_grad_()
    head.loss(head(vector, NOISE), targets).backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert vector.grad.isfinite().all()
    assert vector.grad.abs().sum() > 0


def test_gradients_are_those_of_differences(kind, vector):
    head, targets = kind
    output = head(vector, NOISE).detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda raw: head.loss(raw, targets), output)


def test_the_loss_is_a_mean_over_patients(kind, vector):
    """A step may add it up from groups of its window."""
    head, targets = kind
    output = head(vector, NOISE).detach()
    parts = [head.loss(output[i : i + 1], targets.at(slice(i, i + 1))).item() for i in range(8)]
    assert head.loss(output, targets).item() == pytest.approx(np.mean(parts), rel=1e-5)


def test_draws_of_random_attention_are_averaged(kind, vector):
    """Loss: the mean of those of the draws. Prediction: the mean of what each draw says."""
    head, targets = kind
    draws = [head(vector * scale, NOISE).detach() for scale in (0.5, 1.0, 2.0)]
    together = torch.stack(draws, 1)  # [B, M, C]
    losses = [head.loss(one, targets).item() for one in draws]
    assert head.loss(together, targets).item() == pytest.approx(np.mean(losses), rel=1e-5)
    each = [told(head.predict(one)) for one in draws]
    prediction = head.predict(together)
    np.testing.assert_allclose(told(prediction), np.mean(each, axis=0), rtol=1e-6)
    np.testing.assert_allclose(prediction.spread, np.std(each, axis=0), atol=1e-9)
    assert not head.predict(draws[0]).spread.any()


def test_descending_the_loss_learns_the_targets(kind):
    head, targets = kind
    vector = torch.eye(8, WIDTH + 0)
    vector = torch.cat([vector, torch.eye(8)[:, WIDTH:]], 1)  # one direction a patient
    head.linear = torch.nn.Linear(8, head.linear.out_features, head.linear.bias is not None)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        head.loss(head(vector, NOISE), targets).backward()
        optimiser.step()
    found, value = told(head.predict(head(vector, NOISE).detach())), targets.value.numpy()
    if head.task == "regression":
        np.testing.assert_allclose(found, value, atol=0.5)
    elif value.ndim == 2:
        assert ((found > 0.5) == value)[~np.isnan(value)].all()
    else:
        np.testing.assert_array_equal(found.argmax(1), value)


def test_unknown_targets_have_no_class_and_no_say(kind):
    head, targets = kind
    hidden = Targets.of(np.full_like(targets.value.numpy(), np.nan))
    assert head.usable(targets)
    assert not head.usable(hidden)
    assert not hidden.known.any()
    assert (head.classes(hidden) == -1).all()


def test_probabilities_sum_to_one(kind, vector):
    head, _ = kind
    if head.task == "regression" or getattr(head, "several", False):
        return
    probability = head.predict(head(vector, NOISE).detach()).probability
    assert (probability >= 0).all()
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-12)


def test_collapsed_predictions_are_told(kind, vector):
    head, _ = kind
    prediction = head.predict(head(vector[:1].expand(8, -1), NOISE).detach())
    assert head.complaints(prediction) == ["collapsed: all patients have the same prediction."]
    assert head.complaints(head.predict(head(vector, NOISE).detach())) == []


def test_one_sigmoid_is_the_softmax_with_the_other_logit_zero(vector):
    one, two = make("classes", TWO), make("classes", TWO, link="softmax")
    logit = one(vector, NOISE).detach()
    pair = torch.cat([torch.zeros_like(logit), logit], 1)
    targets = Targets.of(TWO)
    assert one.loss(logit, targets).item() == pytest.approx(two.loss(pair, targets).item())
    np.testing.assert_allclose(told(one.predict(logit)), told(two.predict(pair)), rtol=1e-6)
    assert (type(one).outputs({"outputs": 1}), one.linear.out_features) == (1, 1)
    assert two.linear.out_features == 2
    np.testing.assert_array_equal(one.classes(targets), TWO)


def test_loss_is_pytorchs_cross_entropy(vector):
    head, targets = make("classes", CLASSES), Targets.of(CLASSES)
    logits = head(vector, NOISE).detach()
    expected = F.cross_entropy(logits, torch.from_numpy(CLASSES).long())
    assert head.loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)


def test_svm_loss_of_two_classes_is_its_closed_form(vector):
    head = make("classes", TWO, loss="svm", link="softmax")
    logits = head(vector, NOISE).detach()
    own = logits[torch.arange(8), torch.from_numpy(TWO).long()]
    expected = F.softplus(logits.sum(1) - 2 * own + 1).mean()
    assert head.loss(logits, Targets.of(TWO)).item() == pytest.approx(expected.item(), rel=1e-6)
    with pytest.raises(HeadError, match="set link: softmax"):
        make("classes", TWO, loss="svm")


def test_sigmoids_against_the_others_are_means_over_classes(vector):
    head, targets = make("classes", CLASSES, link="sigmoid"), Targets.of(CLASSES)
    logits = head(vector, NOISE).detach()
    truth = F.one_hot(torch.from_numpy(CLASSES).long(), 3).float()
    expected = F.binary_cross_entropy_with_logits(logits, truth)
    assert head.loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)


def test_unknown_labels_of_several_do_not_count(vector):
    head = make("classes", SEVERAL)
    logits = head(vector, NOISE).detach()
    each = F.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(np.nan_to_num(SEVERAL)).float(), reduction="none"
    ).numpy()
    expected = np.nanmean(np.where(np.isnan(SEVERAL), np.nan, each), axis=1).mean()
    assert head.loss(logits, Targets.of(SEVERAL)).item() == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_are_scikit_learns_and_their_mean_is_one():
    head = make("classes", CLASSES, class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.arange(3), y=CLASSES)
    np.testing.assert_allclose(head.weights, expected, rtol=1e-6)
    assert head.weights[CLASSES.astype(int)].mean().item() == pytest.approx(1)


def test_mean_of_logits_is_not_the_mean_of_probabilities():
    head = make("classes", TWO, average="logit")
    logits = torch.tensor([[[0.0], [4.0]]])  # one patient, two draws
    assert head.predict(logits).probability[0, 1] == pytest.approx(1 / (1 + np.exp(-2)))
    of_probability = make("classes", TWO).predict(logits).probability[0, 1]
    assert of_probability == pytest.approx((0.5 + 1 / (1 + np.exp(-4))) / 2)


def test_outputs_of_a_model_that_gives_them_go_through_no_layer():
    head = make("classes", CLASSES, width=3)
    head.take_outputs("instance_max")
    logits = torch.randn(8, 3)
    torch.testing.assert_close(head(logits, NOISE), logits)
    assert list(head.parameters()) == []


def test_a_class_without_training_patients_is_named():
    with pytest.raises(HeadError, match="none of the 2 training patients has mid, so"):
        HEADS.find("ordinal").fit(np.array([0.0, 2.0]), NAMES[3])
    target = np.array([[1.0, 0], [1, 1]])
    with pytest.raises(HeadError, match="none of the 2 training patients has A = 0, so"):
        HEADS.find("classes").fit(target, ["A", "B"])


def test_ordinal_loss_is_the_likelihood_of_the_grade(vector):
    head, targets = make("ordinal", CLASSES), Targets.of(CLASSES)
    output = head(vector, NOISE).detach()
    assert (output.diff(dim=1) < 0).all()  # P(y > k) falls with k
    probability = told(head.predict(output))
    expected = -np.log(probability[np.arange(8), CLASSES.astype(int)]).mean()
    assert head.loss(output, targets).item() == pytest.approx(expected, rel=1e-5)


def test_ordinal_loss_is_finite_far_out():
    head = make("ordinal", CLASSES)
    output = head.read(torch.tensor([[200.0], [-200.0]])).detach().requires_grad_()
    loss = head.loss(output, Targets.of([0, 2]))
    loss.backward()
    assert 150 < loss.item() < 250
    assert output.grad.isfinite().all()


@pytest.mark.parametrize("form", ["cumulative", "coral"])
def test_ordinal_starts_at_the_shares_of_the_training_part(form):
    head = make("ordinal", CLASSES, form=form)
    output = head.read(torch.zeros(1, 1)).detach()
    np.testing.assert_allclose(told(head.predict(output))[0], [2 / 8, 4 / 8, 2 / 8], rtol=1e-6)


def test_coral_loss_is_the_sum_of_binary_ones(vector):
    head = make("ordinal", CLASSES, form="coral")
    output = head(vector, NOISE).detach()
    above = torch.from_numpy(CLASSES)[:, None] > torch.arange(2)
    expected = F.binary_cross_entropy_with_logits(output, above.float(), reduction="none").sum(1)
    loss = head.loss(output, Targets.of(CLASSES)).item()
    assert loss == pytest.approx(expected.mean().item(), rel=1e-6)


def test_regression_is_on_the_scale_of_the_table():
    head = make("regression", NUMBERS)
    output = torch.tensor([[0.0], [1.0]])
    np.testing.assert_allclose(
        told(head.predict(output)), [NUMBERS.mean(), NUMBERS.mean() + NUMBERS.std()], rtol=1e-6
    )
    loss = head.loss(output, Targets.of(NUMBERS[:2])).item()
    error = (NUMBERS[:2] - NUMBERS.mean()) / NUMBERS.std() - [0, 1]
    assert loss == pytest.approx((error**2).mean(), rel=1e-5)
