"""Properties of every registered model."""

from pathlib import Path

import pytest
import torch
from examples import SMALL_MODELS, every_term, example_bag, reordered
from safetensors.torch import load_file, save_file

from mil.bags import REGION, Bag, BagError, pack
from mil.models import build_model, model_names
from mil.nn.segments import bag_softmax, segment_sum
from mil.registry import Registry, UnknownNameError

WIDTH = 24


OUTPUTS = 3


@pytest.fixture(params=model_names())
def model(request):
    torch.manual_seed(0)
    return build_model(request.param, WIDTH, outputs=OUTPUTS).eval()


def test_packed_bags_are_the_bags_one_by_one(model):
    bags = [example_bag(n, WIDTH, seed) for seed, n in enumerate((16, 64, 32))]
    together = model(pack(bags))
    alone = [model(bag) for bag in bags]
    torch.testing.assert_close(
        together.vector, torch.cat([one.vector for one in alone]), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        together.scores, torch.cat([one.scores for one in alone]), rtol=1e-4, atol=1e-6
    )


def test_a_bag_does_not_depend_on_the_others(model):
    quiet, other, loud = (example_bag(32, WIDTH, seed) for seed in (0, 1, 1))
    loud.features.mul_(10)
    one, two = model(pack([quiet, other])), model(pack([quiet, loud]))
    torch.testing.assert_close(two.vector[0], one.vector[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(two.scores[:32], one.scores[:32], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(two.vector[1], one.vector[1])
    if one.auxiliary is not None:
        first = one.auxiliary.bag == 0
        torch.testing.assert_close(two.auxiliary.logits[first], one.auxiliary.logits[first])


def test_attention_is_the_share_of_each_instance(model):
    """Where instances are averaged, the softmax of the scores says with which weights."""
    bag = pack([example_bag(16, WIDTH, 0), example_bag(48, WIDTH, 1)])
    embedding = model(bag)
    if embedding.pooled is not None:
        raw = embedding.scores if embedding.class_scores is None else embedding.class_scores
        weights = bag_softmax(raw, bag.offsets)  # [N], or [N, C] of C branches
        averages = [
            segment_sum(one.unsqueeze(1) * embedding.pooled, bag.offsets)
            for one in weights.view(64, -1).unbind(1)
        ]
        branched = embedding.class_scores is not None
        vector = model.after_pooling(torch.stack(averages, 1) if branched else averages[0])
        torch.testing.assert_close(vector, embedding.vector, rtol=1e-4, atol=1e-5)
    if embedding.samples is not None:
        assert (embedding.samples >= 0).all()
        total = segment_sum(embedding.samples, bag.offsets)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-4, atol=1e-5)


def test_shapes(model):
    bag = pack([example_bag(16, WIDTH, 0), example_bag(48, WIDTH, 1)])
    embedding = model(bag)
    assert embedding.vector.shape == (2, model.out_dim)
    assert embedding.scores.shape == (64,)


def test_order_of_instances(model):
    if not model.order_free:
        pytest.skip(f"{model.name} depends on the order of instances by design")
    bag = example_bag(64, WIDTH)
    random = torch.Generator().manual_seed(1)
    order = torch.randperm(64, generator=random)
    if model.reads_regions:  # whole regions, and the instances inside each
        inside = [torch.randperm(REGION, generator=random) for _ in range(4)]
        order = torch.cat([REGION * k + inside[k] for k in torch.randperm(4, generator=random)])
    before, after = model(bag), model(reordered(bag, order))
    torch.testing.assert_close(after.vector, before.vector, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(after.scores, before.scores[order], rtol=1e-4, atol=1e-6)


def test_gradient_reaches_every_parameter(model):
    model.train()
    bag = pack([example_bag(64, WIDTH, seed) for seed in range(4)])
    if model.observes:  # some losses begin once bags have been seen often
        seen = model(bag).detached()
        for _ in range(20):
            model.observe(seen, bag, torch.arange(4) % OUTPUTS)
    assert set(model(bag).penalties) == set(model.penalties)
    every_term(model, bag, OUTPUTS).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None]
    # a bias just before a softmax over instances cannot matter: its gradient exists and is about 0
    still = [n for n, p in model.named_parameters() if p.ndim > 1 and not p.grad.abs().sum() > 0]
    assert dead == []
    assert still == []


def test_evaluation_is_deterministic_and_training_is_not_needed_to_save(model, tmp_path):
    bag = example_bag(32, WIDTH)
    before = model(bag).vector
    torch.testing.assert_close(model(bag).vector, before, rtol=0, atol=0)
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    other = build_model(model.name, WIDTH, outputs=OUTPUTS).eval()
    assert not torch.equal(other(bag).vector, before)
    other.load_state_dict(load_file(tmp_path / "m.safetensors"))
    torch.testing.assert_close(other(bag).vector, before, rtol=0, atol=0)


@pytest.mark.parametrize("instances", [1, 16])
def test_tiny_bags(model, instances):
    if model.reads_regions and instances < REGION:
        with pytest.raises(BagError, match=f"{instances} instances are no multiple of 16"):
            model(example_bag(instances, WIDTH))
        return
    embedding = model(example_bag(instances, WIDTH))
    assert torch.isfinite(embedding.vector).all()
    assert torch.isfinite(embedding.scores).all()


FEW_LANDMARKS = {name: SMALL_MODELS[name] | {"landmarks": 8} for name in ("camil", "transmil")}
AROUND = (1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17)
"""Sizes around what models count by: groups of 4, 8 landmarks and clusters, twice the 8 that are
chosen, the tenth."""


@pytest.mark.parametrize("name", model_names())
def test_bags_of_every_small_size(name):
    """Specification 7.5: together they are what each is alone, and can be learnt from."""
    torch.manual_seed(0)
    options = (SMALL_MODELS | FEW_LANDMARKS).get(name, {})
    model = build_model(name, WIDTH, outputs=OUTPUTS, **options).double().eval()
    sizes = (REGION, 3 * REGION) if model.reads_regions else AROUND
    bags = [in_double(example_bag(n, WIDTH, seed=n, name=f"of {n}")) for n in sizes]
    classes = torch.arange(len(bags)) % OUTPUTS
    with torch.no_grad():
        packed = pack(bags)
        together = model(packed)
        losses = model.instance_loss(together, packed, classes)
        for i, (bag, scores) in enumerate(zip(bags, together.scores.split(sizes), strict=True)):
            alone = model(bag)
            torch.testing.assert_close(together.vector[i], alone.vector[0])
            torch.testing.assert_close(scores, alone.scores)
            for penalty, values in together.penalties.items():
                torch.testing.assert_close(values[i], alone.penalties[penalty][0])
            if losses is not None:
                of_alone = model.instance_loss(alone, bag, classes[i : i + 1])
                torch.testing.assert_close(losses[i], of_alone[0])
    every_term(model.train(), packed, OUTPUTS).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def in_double(bag):
    return Bag(**{**vars(bag), "features": bag.features.double()})


def test_half_precision_scores_are_finite(model):
    bag = example_bag(32, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(bag).vector.float()
    torch.testing.assert_close(low, model(bag).vector, rtol=0.1, atol=0.1)


def test_misspelt_names_are_sentences():
    with pytest.raises(
        UnknownNameError, match=r"model 'abmill' does not exist; did you mean abmil"
    ):
        build_model("abmill", 8)
    with pytest.raises(UnknownNameError, match=r"no option 'hiden'; did you mean hidden"):
        build_model("abmil", 8, hiden=3)


def test_a_file_is_all_a_new_model_needs(tmp_path: Path, monkeypatch):
    package = tmp_path / "some_models"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from mil.registry import Registry\nKNOWN = Registry('model', __name__)\n"
    )
    (package / "mine.py").write_text(
        "from some_models import KNOWN\n@KNOWN.register('mine')\nclass Mine:\n"
        "    def __init__(self, in_dim):\n        self.in_dim = in_dim\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import some_models

    assert isinstance(some_models.KNOWN, Registry)
    assert some_models.KNOWN.names() == ["mine"]
    assert some_models.KNOWN.build("mine", 5).in_dim == 5
