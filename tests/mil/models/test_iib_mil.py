"""IIB-MIL against the values of the original, and how labels of instances become clear."""

import io
import json
from pathlib import Path

import pytest
import torch
from examples import example_bag, golden_fill, golden_input
from torch import nn
from torch.nn.functional import cross_entropy

from mil.bags import Bag, pack
from mil.heads.base import Targets
from mil.models import build_model
from mil.network import build_network
from mil.nn.label_disambiguation import LabelDisambiguation
from mil.training.step import Stepper

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/iibmil.json"


def attention(theirs, ours):
    return {
        f"{theirs}.in_proj_weight": f"{ours}.project.weight",
        f"{theirs}.in_proj_bias": f"{ours}.project.bias",
        f"{theirs}.out_proj": f"{ours}.out",
    }


def golden_names():
    names = {
        "query_embed.weight": "model.queries",
        "wsi_classifier": "head",
        "patch_encoder.mlp_head.0": "model.classify.0",
        "patch_encoder.mlp_head.1": "model.classify.1",
    }
    for i in range(3):
        for k in range(5):
            for part in (0, 2):
                ours = f"model.stages.{i}.layers.{3 * k + part}"
                names[f"patch_encoder.depth_{i}.{4 * k + part}"] = ours
        names[f"patch_encoder.res_{i}"] = f"model.stages.{i}.again"
        theirs, ours = f"patch_encoder.trans_{i}.layers.0", f"model.stages.{i}.transformer"
        names |= attention(f"{theirs}.self_attn", f"{ours}.attention")
        parts = {"linear1": "mlp.0", "linear2": "mlp.2", "norm1": "norms.0", "norm2": "norms.1"}
        names |= {f"{theirs}.{a}": f"{ours}.{b}" for a, b in parts.items()}
    for i in range(2):
        theirs, ours = f"wsi_aggregator.decoder.layers.{i}", f"model.decoder.{i}"
        names |= attention(f"{theirs}.self_attn", f"{ours}.own")
        names |= attention(f"{theirs}.cross_attn", f"{ours}.cross")
        parts = {"linear1": "mlp.0", "linear2": "mlp.2"}
        parts |= {"norm2": "norms.0", "norm1": "norms.1", "norm3": "norms.2"}
        names |= {f"{theirs}.{a}": f"{ours}.{b}" for a, b in parts.items()}
    return names


@pytest.fixture(scope="module")
def original():
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name}: golden values of the specifications are not here")
    golden = json.loads(GOLDEN.read_text())
    module = nn.Module()
    module.model = build_model("iib_mil", 64, outputs=2, preset="paper", hidden=32, warmup=0)
    module.head = nn.Linear(160, 2)
    module.double().eval()
    golden_fill(module, golden_names(), golden["norm_weights"])
    return module, golden


@pytest.mark.parametrize(
    ("p", "logit", "norms"),
    [
        (0, 2.430541, (0.533608, 1.857802, 5.624565)),
        (1, 2.781427, (0.528822, 1.487494, 5.455707)),
    ],
)
def test_layers_of_torchmil(p, logit, norms):
    """Measured on torchmil 1.0.2; gradients of the logit by features, token, and q, k and v."""
    module = nn.Module()
    module.model = build_model("iib_mil", 64, preset="torchmil", hidden=32)
    module.model.classify = nn.Identity()  # torchmil's is of one class, and not in the outputs
    module.head = nn.Linear(32, 1)
    module.double().eval()
    encoder, decoder = "model.stages.layers.0", "model.decoder.0"
    names = {
        "cls_token": "model.queries",
        "encoder.layers.0.att_module.qkv_nn.weight": f"{encoder}.attention.qkv.weight",
        "encoder.layers.0.att_proj": f"{encoder}.enter",
        "encoder.layers.0.norm1": f"{encoder}.norm",
        "encoder.layers.0.norm2": f"{encoder}.mlp.0",
        "encoder.layers.0.mlp_module.0": f"{encoder}.mlp.1",
        "encoder.layers.0.mlp_module.3": f"{encoder}.mlp.4",
        "encoder.norm": "model.stages.norm",
        "decoder.layers.0.att_module.qkv_nn.weight": f"{decoder}.qkv.weight",
        "decoder.layers.0.norm1": f"{decoder}.before",
        "decoder.norm": f"{decoder}.after",
        "bag_classifier": "head",
    }
    golden_fill(module, names, [f"{name}.weight" for name in names if "norm" in name])
    x = torch.from_numpy(golden_input(p, 64)).requires_grad_()
    found = module.head(module.model(Bag.single(x)).vector)
    found.backward()
    assert found.item() == pytest.approx(logit, abs=2e-6)
    learnt = (x, module.model.queries, module.model.decoder[0].qkv.weight)
    assert [one.grad.norm().item() for one in learnt] == pytest.approx(norms, abs=2e-6)


@pytest.mark.parametrize("p", [0, 1])
def test_values_of_the_original(original, p):
    module, golden = original
    expected, near = golden["expected"][f"x_{p}"], {"abs": 2e-6}
    x = torch.from_numpy(golden_input(p, 64)).requires_grad_()
    embedding = module.model(Bag.single(x))
    logits = module.head(embedding.vector)
    assert logits[0].tolist() == pytest.approx(expected["bag_logits"], **near)
    for row in range(3):
        found = embedding.instance_logits[row].tolist()
        assert found == pytest.approx(expected["instance_logits_first3"][row], **near)
    first = embedding.instances[0, :5].tolist()
    assert first == pytest.approx(expected["embedding_row0_first5"], **near)
    layers, t = module.model.decoder, module.model.queries
    for layer in layers:
        t, weights = layer(t, embedding.instances)
    found = weights.mean(0)[0, :5].tolist()
    assert found == pytest.approx(expected["last_cross_attention_mean_heads_query0_first5"], **near)
    torch.testing.assert_close(
        embedding.scores.exp(), weights.mean((0, 1)), rtol=1e-5, atol=1e-8, check_dtype=False
    )
    module.zero_grad()
    other = cross_entropy(logits, torch.tensor([0]))
    assert other.item() == pytest.approx(expected["bag_loss_label0"], **near)
    loss = cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(expected["bag_loss_label1"], **near)
    names = golden_names()
    parameters = dict(module.named_parameters())
    for name, norm in expected["grad_norms_bag_label1"].items():
        layer, _, kind = name.rpartition(".")
        ours = names.get(name) or f"{names.get(layer)}.{kind}"
        grad = x.grad if name == "input" else parameters[ours].grad
        assert grad.norm().item() == pytest.approx(norm, rel=1e-6, **near), name


def test_packed_bags_of_the_transformer_are_the_bags_one_by_one():
    torch.manual_seed(0)
    model = build_model("iib_mil", 24, preset="torchmil", hidden=16, stages=2, queries=3).eval()
    bags = [example_bag(n, seed=n) for n in (1, 16, 40)]
    together, alone = model(pack(bags)), [model(bag) for bag in bags]
    assert together.vector.shape == (3, 3 * 16)
    near = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(together.vector, torch.cat([one.vector for one in alone]), **near)
    torch.testing.assert_close(together.scores, torch.cat([one.scores for one in alone]), **near)
    (together.vector.square().sum() + together.instance_logits.square().sum()).backward()
    assert [n for n, q in model.named_parameters() if not q.grad.abs().sum() > 0] == []


def test_labels_become_clear_as_in_the_original(original):
    module, golden = original
    told, near = golden["label_disambiguation"], {"abs": 2e-6}
    inputs = [golden_input(0, 64), golden_input(1, 64), golden_input(0, 64)[:, ::-1].copy()]
    bag = pack([Bag.single(torch.from_numpy(x), str(i)) for i, x in enumerate(inputs)])
    classes, labels = torch.tensor([0, 1, 1]), module.model.labels
    with torch.no_grad():
        embedding = module.model(bag)
        e, logits = embedding.instances, embedding.instance_logits
        before = module.model.instance_loss(embedding, bag, classes).mean().item()
        assert before == pytest.approx(told["instance_loss_before_update"], **near)
        labels._improve(e, logits.softmax(1), bag, classes)
        check_prototypes(labels, told["prototypes"][0])
        module.model.observe(embedding.detached(), bag, classes)
        check_prototypes(labels, told["prototypes"][1])
        after = module.model.instance_loss(embedding, bag, classes).mean().item()
    assert after == pytest.approx(told["instance_loss_after_update"], **near)
    confidence = labels.confidence(bag, classes)
    row = told["confidence_after_one_update_row64"]
    assert confidence[64].tolist() == pytest.approx(row, abs=1e-6)
    assert (confidence[64:, 1] > 0.5).sum() == told["pseudo_label_1_count"]
    score = (e @ labels.prototypes.T).softmax(1)[::64]
    for found, wanted in zip(score, told["prototype_score_row0_of_each_bag"], strict=True):
        assert found.tolist() == pytest.approx(wanted, **near)


def check_prototypes(labels, told):
    for c in (0, 1):
        first = labels.prototypes[c, :5].tolist()
        assert first == pytest.approx(told[f"prototype{c}_first5"], abs=2e-6)
    assert labels.prototypes.norm(dim=1).tolist() == pytest.approx(told["norms"], abs=2e-6)


def drawn(sizes=(23, 40), classes=(0, 1), width=6):
    torch.manual_seed(0)
    bag = pack([Bag.single(torch.randn(n, width), str(i)) for i, n in enumerate(sizes)])
    return bag, torch.tensor(classes), torch.randn(len(bag.features), 2)


def test_prototypes_move_one_instance_after_another():
    """(exact): the closed form is the loop of the reference."""
    bag, classes, logits = drawn((23, 40, 31), (0, 1, 1))
    labels = LabelDisambiguation(2, 6, 0.99, 0, normalised=False)
    labels.prototypes.normal_()
    e, probability = bag.features, logits.softmax(1)
    expected = labels.prototypes.clone()
    for c, rows in ((0, range(23)), (1, range(23, 94))):
        m = 1 - 0.01 * 3 / int((classes == c).sum())
        best = sorted(rows, key=lambda n, c=c: -probability[n, c].item())[: len(rows) // 10]
        assert len(best) == {0: 2, 1: 7}[c]
        for n in best:
            expected[c] = m * expected[c] + (1 - m) * e[n]
    labels._improve(e, probability, bag, classes)
    torch.testing.assert_close(labels.prototypes, expected)


def test_prototype_of_a_class_comes_of_bags_of_that_class():
    """The trap: a prototype of class 0 from the most positive instances inverts all labels."""
    bag, classes, _ = drawn((40, 40))
    labels = LabelDisambiguation(2, 6, 0.9, 0, normalised=True)
    x = bag.features * 0.1
    x[:40, 0] += 5  # negative instances point along the first axis,
    x[40:60, 1] += 5  # half of those of the positive bag along the second
    x[60:, 0] += 5
    logits = torch.stack([x[:, 0], x[:, 1]], 1)
    for _ in range(3):
        labels.learn(x, logits, bag, classes)
    confidence = labels.confidence(bag, classes)
    assert (confidence[:40] == torch.tensor([1.0, 0.0])).all()
    assert (confidence[40:60, 1] > 0.5).all()
    assert (confidence[60:, 0] > 0.5).all()


def test_confidence_belongs_to_a_bag_and_a_row():
    bag, classes, logits = drawn()
    labels = LabelDisambiguation(2, 6, 0.9, 0, normalised=True)
    labels.learn(bag.features, logits, bag, classes)
    both = labels.confidence(bag, classes)
    second = Bag.single(bag.features[23:], "1")
    torch.testing.assert_close(labels.confidence(second, classes[1:]), both[23:])
    shorter, stranger = Bag.single(second.features[1:], "1"), Bag.single(second.features, "9")
    for one in (shorter, stranger):
        assert (labels.confidence(one, classes[1:]) == 0.5).all()


def test_unknown_classes_and_early_bags_have_no_loss():
    bag, classes, logits = drawn()
    labels = LabelDisambiguation(2, 6, 0.9, 2, normalised=True)
    for seen in range(3):
        loss = labels.loss(logits, bag, classes)
        assert ((loss > 0) == (seen == 2)).all()
        assert (labels.loss(logits, bag, torch.tensor([-1, 1])) > 0).tolist() == [False, seen == 2]
        labels.learn(bag.features, logits, bag, classes)
    before = labels.prototypes.clone()
    labels.learn(bag.features, logits, bag, torch.tensor([-1, -1]))
    assert torch.equal(labels.prototypes, before)
    assert labels.visits == {"0": 3, "1": 3}


def test_dropout_is_off_in_evaluation_and_on_in_training():
    model = build_model("iib_mil", 24, hidden=8, stages=1, dropout=0.5)
    plain = build_model("iib_mil", 24, hidden=8, stages=1, dropout=0.0)
    plain.load_state_dict(model.state_dict())
    bag = example_bag(20)
    torch.testing.assert_close(model.eval()(bag).vector, plain.train()(bag).vector)
    assert not torch.equal(model.train()(bag).vector, plain.train()(bag).vector)


def stepper():
    torch.manual_seed(0)
    fitted = {"classes": ["no", "yes"], "outputs": 1, "several": False, "weights": [1.0, 1.0]}
    options = {"hidden": 8, "stages": 1, "warmup": 1, "dropout": 0.0}
    experiment = {"model": "iib_mil", "head": "classes", "model_options": options}
    network = build_network(experiment, 24, fitted, standardise=False)
    noise = torch.Generator().manual_seed(1)
    return Stepper(network, None, learning_rate=1e-2, weight_decay=0.0, l1=0.0, noise=noise)


def test_a_training_goes_on_with_what_was_observed():
    bag = pack([example_bag(20, seed=0, name="A"), example_bag(20, seed=1, name="B")])
    labels = Targets.of([0, 1])
    first = stepper()
    for _ in range(3):
        first.step([bag], labels)
    assert set(first.network.model.labels.confidences) == {"A", "B"}
    assert first.network.model.labels.prototypes.any(1).all()  # or all would be called negative
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    second = stepper()
    second.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    for one in (first, second):
        one.step([bag], labels)
    states = first.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    kept = [one.network.model.labels.confidences["B"] for one in (first, second)]
    assert torch.equal(*kept)
