"""Padded batches through every registered model."""

from dataclasses import replace

import pytest
import torch
from examples import example_bag

from mil.bags import BagError, pack, select
from mil.data import collate, packed
from mil.heads.base import Targets
from mil.mil_model import MILModel
from mil.models import model_names
from mil.problems import InputError
from mil.training.step import Stepper

WIDTH = 24
SIZES = (16, 64, 32)  # whole regions, for models that read them
BAGS = [
    replace(example_bag(n, WIDTH, seed, f"bag {seed}"), label=torch.tensor([seed % 2]))
    for seed, n in enumerate(SIZES)
]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=model_names())
def model(request):
    torch.manual_seed(0)
    return MILModel.build(request.param, WIDTH, classes=3).eval()


def with_rubbish(batch):
    """The batch with rubbish in its padding, and two more places at the end of each bag."""
    longer = {}
    for key, value in batch.items():
        if key in ("X", "coords", "cluster", "mask"):
            more = value.new_zeros(len(value), 2, *value.shape[2:])
            longer[key] = torch.cat([value, more], 1)
        elif key.startswith("adj"):
            n = value.shape[1] + 2
            longer[key] = torch.zeros(len(value), n, n)
            longer[key][:, :-2, :-2] = value.to_dense()
        else:
            longer[key] = value
    empty = ~longer["mask"]
    longer["X"][empty] = torch.nan
    longer["coords"][empty] = 7
    longer["cluster"][empty] = 10**6
    for key in ("adj", "adj_latent"):
        longer[key][empty] = longer[key].transpose(1, 2)[empty] = torch.nan
    return longer


def gradients(model, **batch):
    model.zero_grad()
    model(**batch).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_padding_changes_nothing(model):
    """Specification 7.1 and 7.2: logits, losses, scores and gradients, whatever padding holds."""
    batch = with_rubbish(collate(BAGS))
    together = model(**batch)
    alone = [model(**collate([bag])) for bag in BAGS]
    torch.testing.assert_close(together.logits, torch.cat([a.logits for a in alone]), **CLOSE)
    for index, (one, n) in enumerate(zip(alone, SIZES, strict=True)):
        torch.testing.assert_close(together.att[index, :n], one.att[0], **CLOSE)
        torch.testing.assert_close(together.scores[index, :n], one.scores[0], **CLOSE)
        assert (together.att[index, n:] == -torch.inf).all()
        assert (together.scores[index, n:] == 0).all()
    assert together.losses.keys() == alone[0].losses.keys()
    if together.embedding.auxiliary is None:  # its mean is over outputs, not bags
        for name, loss in together.losses.items():
            expected = torch.stack([one.losses[name] for one in alone]).mean()
            torch.testing.assert_close(loss, expected, **CLOSE)

    clean = gradients(model, **collate(BAGS))
    assert clean
    for name, gradient in gradients(model, **batch).items():
        torch.testing.assert_close(gradient, clean[name], **CLOSE)


def test_another_bag_changes_nothing(model):
    batch = collate(BAGS)
    louder = {**batch, "X": batch["X"] * torch.tensor([1.0, 10.0, 1.0])[:, None, None]}
    before, after = model(**batch), model(**louder)
    for index in (0, 2):
        torch.testing.assert_close(after.logits[index], before.logits[index], **CLOSE)
        torch.testing.assert_close(after.scores[index], before.scores[index], **CLOSE)
    assert not torch.equal(after.logits[1], before.logits[1])


def test_packed_and_padded_agree_and_predictions_are_the_same_twice(model):
    batch = collate(BAGS)
    padded = model(**batch)
    bag = packed(batch)
    vector = model.network.model(bag)
    torch.testing.assert_close(padded.embedding.vector, vector.vector, **CLOSE)
    torch.testing.assert_close(padded.embedding.scores, vector.scores, **CLOSE)

    model.train()
    one, two = model.predict(**batch), model.predict(**batch)
    assert model.training
    assert (one.bags.probability == two.bags.probability).all()
    assert torch.equal(one.scores, two.scores)
    assert one.bags.probability.sum(1) == pytest.approx(1)
    if model.network.model.scores_are == "attention":
        torch.testing.assert_close(one.scores.sum(1), torch.ones(3))


def test_losses_are_those_of_a_training_step(model):
    """Their sum has the gradient that the trainer descends on."""
    twin = MILModel.build(model.network.model.name, WIDTH, classes=3)
    twin.load_state_dict(model.state_dict())
    for module in (model, twin):  # dropout apart, both in training mode
        module.train()
        for layer in module.modules():
            for name in ("p", "dropout"):
                if isinstance(getattr(layer, name, None), float):
                    setattr(layer, name, 0.0)
    stepper = Stepper(
        twin.network, None, learning_rate=0.0, weight_decay=0.0, l1=0.0, noise=torch.Generator()
    )
    torch.manual_seed(5)
    record = stepper.step([packed(collate(BAGS))], Targets(torch.tensor([0.0, 1.0, 0.0])))
    torch.manual_seed(5)
    ours = gradients(model, **collate(BAGS))
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, **CLOSE)
    model.eval()
    twin.eval()
    output = model(**collate(BAGS))
    assert torch.isfinite(torch.tensor(record.loss))
    assert output.loss.item() == pytest.approx(twin(**collate(BAGS)).loss.item())


def test_instances_may_lie_anywhere_between_padding():
    torch.manual_seed(0)
    model = MILModel.build("abmil", WIDTH, classes=2).eval()
    x, mask = torch.full((1, 9, WIDTH), torch.nan), torch.zeros(1, 9, dtype=torch.bool)
    mask[0, [1, 4, 7]] = True
    features = torch.randn(3, WIDTH)
    x[0, [1, 4, 7]] = features
    apart, dense = model(X=x, mask=mask), model(X=features.unsqueeze(0))
    torch.testing.assert_close(apart.logits, dense.logits)
    torch.testing.assert_close(apart.att[mask], dense.att[0])
    assert apart.losses == {}


def test_packed_bags_lie_at_the_beginning_of_rows():
    """Without a mask; what is said of instances is made once, when it is asked for."""
    torch.manual_seed(0)
    model = MILModel.build("abmil", WIDTH, classes=2).eval()
    output, padded = model.of_bag(pack(BAGS)), model(**collate(BAGS))
    assert "scores" not in vars(output)
    assert torch.equal(output.scores, padded.scores)
    assert torch.equal(output.att, padded.att)
    assert output.scores is output.scores
    assert output.scores.requires_grad


def test_patients_without_a_label_add_nothing():
    torch.manual_seed(0)
    model = MILModel.build("abmil", WIDTH, classes=2).eval()
    batch = collate(BAGS)
    known = collate([BAGS[0], BAGS[2]])
    batch["Y"] = torch.tensor([0.0, torch.nan, 0.0])
    torch.testing.assert_close(model(**batch).loss, model(**known).loss)
    batch["Y"] = torch.full((3,), torch.nan)
    assert model(**batch).losses == {}
    with pytest.raises(InputError, match="no bag has a label"):
        _ = model(**batch).loss


def test_heads_of_survival():
    torch.manual_seed(0)
    model = MILModel.build("abmil", WIDTH, head="cox").eval()
    batch = collate(BAGS)
    batch["Y"] = torch.tensor([[3.0, 1], [5.0, 0], [2.0, 1]])
    risk = model(**batch).logits
    assert risk.shape[0] == 3
    # Breslow without ties: who is at risk is known by hand
    log = torch.logsumexp
    expected = (log(risk, 0) - risk[2] + log(risk[[0, 1]], 0) - risk[0]) / 2
    torch.testing.assert_close(model(**batch).loss, expected.squeeze())
    assert model.predict(**batch).bags.risk.shape == (3,)
    with pytest.raises(InputError, match=r"head 'cox' reads time and event, so it must be \[bags"):
        model(**{**batch, "Y": torch.zeros(3)})


def test_noise_of_an_adversarial_head_is_the_same_in_evaluation_only():
    model = MILModel.build("abmil", WIDTH, head="adversarial", fitted={"t_ref": 1.0})
    batch = {key: value for key, value in collate(BAGS).items() if key != "Y"}
    model.eval()
    assert torch.equal(model(**batch).logits, model(**batch).logits)
    model.train()
    assert not torch.equal(model(**batch).logits, model(**batch).logits)


def test_mistakes_are_sentences():
    with pytest.raises(InputError, match="head 'classes': its outputs are not known"):
        MILModel.build("abmil", 4)
    with pytest.raises(InputError, match=r"HEADS.find\('nll'\).fit"):
        MILModel.build("abmil", 4, head="nll")
    model = MILModel.build("patchgcn", 4, classes=2)
    with pytest.raises(BagError, match="no edge_index"):
        model(X=torch.zeros(1, 3, 4))
    with pytest.raises(BagError, match="'feature'"):
        model(feature=torch.zeros(1, 3, 4))


def test_a_subset_of_a_bag_is_a_bag():
    model = MILModel.build("patchgcn", WIDTH, classes=2).eval()
    some = select(pack(BAGS), torch.arange(0, 112, 3))
    assert torch.isfinite(model(**collate([some])).logits).all()
