"""Weights of torchmil give torchmil's outputs here; what does not fit is told in sentences."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from examples import golden_input
from golden import eight_neighbours, golden, golden_parameters
from synthetic_cohort import write_cohort
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torchmil_cases import (
    ALL,
    CASES,
    OTHER,
    VALUES,
    WIDTH,
    WRONG,
    bag,
    certain,
    filled,
    logit,
    original,
)

from mil.__main__ import STAGES
from mil.bags import Bag
from mil.mil_model import MILModel
from mil.models import MODELS
from mil.prediction import predict_fold
from mil.problems import InputError
from mil.torchmil_weights.convert import GRAPH, convert_torchmil, from_torchmil
from mil.torchmil_weights.tables import REFUSED, TABLES
from wsi.commandline import main
from wsi.storage import read_features

MEASURED = json.loads(VALUES.read_text())


def weights(case):
    """A state of torchmil's model by the fill rule; what its spectral norm goes by is anything."""
    shapes = MEASURED[case]["shapes"]
    iterated = {name: torch.ones(shape) for name, shape in shapes.items() if "._" in name}
    return filled({n: shape for n, shape in shapes.items() if n not in iterated}) | iterated


def ours(case, state, one):
    model, _, _, options = ALL[case]
    return told(from_torchmil(model, state, **options), one)


def told(network, one):
    """What a network says of a bag, as torchmil says it: the mean logit over draws."""
    with torch.no_grad():
        return MILModel(network).eval().of_bag(one).logits.mean().item()


@pytest.mark.parametrize("case", CASES)
def test_values_measured_on_torchmil(case):
    assert ours(case, weights(case), bag()) == pytest.approx(MEASURED[case]["logit"], abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_torchmil_itself(case):
    pytest.importorskip("torchmil", reason="torchmil is not installed: pip install torchmil==1.0.2")
    torch.manual_seed(0)
    model = original(*CASES[case][1:3])
    for parameter in model.parameters():  # coefficients and norms start at 1, biases at 0
        if parameter.ndim < 2:
            parameter.data.mul_(1 + 0.3 * torch.rand_like(parameter)).add_(0.1)
    state = certain(model.state_dict())
    assert ours(case, state, bag()) == pytest.approx(logit(model, state, bag()), abs=1e-5)


@pytest.mark.parametrize("case", WRONG)
def test_orders_of_a_convolution_are_torchmils_where_it_mixes_no_nodes(case):
    model, _, _, options = WRONG[case]
    state = weights(case)
    network = from_torchmil(model, state, **options)
    assert told(network, bag(1)) == pytest.approx(MEASURED[case]["logit"], abs=1e-5)
    first = network.model.representation.convs[0]
    for k, layer in enumerate(first.weights):
        part = state["layers_rep.0.fc.weight"][:, k * WIDTH : (k + 1) * WIDTH]
        assert torch.equal(layer.weight, part)


@pytest.mark.parametrize("case", OTHER)
def test_camil_is_torchmils_but_for_what_its_values_are_of(case):
    model, _, _, options = OTHER[case]
    network = from_torchmil(model, weights(case), **options)
    measured, fuse = MEASURED[case]["logit"], network.model._fuse
    assert abs(told(network, bag()) - measured) > 1e-4
    network.model._fuse = lambda t, h, share: fuse(t, t, share)
    assert told(network, bag()) == pytest.approx(measured, abs=1e-5)


def test_norms_of_gtp_have_torchmils_epsilon():
    """Its class token starts at zero; one that is little yet depends on it (measured there)."""
    state = weights("gtp")
    state["cls_token"] /= 100
    assert ours("gtp", state, bag()) == pytest.approx(0.164257, abs=1e-5)
    other = told(from_torchmil("gtp", state, epsilon=1e-6), bag())
    assert other == pytest.approx(0.104472, abs=1e-5)


def test_instances_of_iib_mil_have_no_labels_yet():
    state = weights("iib_mil")
    network = from_torchmil("iib_mil", state)
    assert state["inst_classifier.weight"].all()
    assert state["prototypes"].all()
    assert not network.model.labels.prototypes.any()
    assert not MILModel(network).eval().of_bag(bag()).inst_logits.any()
    with torch.no_grad():  # they do not reach torchmil's outputs, either
        for name in ("inst_classifier", "prototypes", "feat_proj", "decoder.layers.0.norm2"):
            for key in (key for key in state if key.startswith(name)):
                state[key] += 1
    assert ours("iib_mil", state, bag()) == pytest.approx(MEASURED["iib_mil"]["logit"], abs=1e-5)


def test_weights_of_setmil_are_refused():
    with pytest.raises(InputError, match="a token is pieces of many patches") as caught:
        from_torchmil("setmil", {"proj.weight": torch.zeros(16, WIDTH)})
    assert caught.value.problems == [f"model is 'setmil': {REFUSED['setmil']}"]


def test_setmil_of_torchmil_has_tokens_of_many_patches():
    """Why it is refused: neither its tokens nor what its heads read are of patches."""
    models = pytest.importorskip("torchmil", reason="pip install torchmil==1.0.2").models
    torch.manual_seed(0)
    model = models.SETMIL(in_shape=(WIDTH,), att_dim=16, set_n_heads=4).eval()
    x = torch.randn(1, 36, WIDTH)
    places = torch.stack([torch.arange(36) // 6, torch.arange(36) % 6], 1)
    seen = []
    model.se_transf.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(x, coords=places[None])
        patches = model.proj(x)  # [1, 36, 16]
        reshaped = patches.transpose(1, 2).reshape(1, 36, 16)
        tokens = [torch.cat([model.cls_token, y], 1) for y in (reshaped, patches)]
        wrong, right = (y + model.pos_embed(y) for y in tokens)
        (found,) = seen
        torch.testing.assert_close(found, wrong)
        assert (found - right)[:, 1:].abs().max() > 0.1

        attention = model.se_transf.layers[0].att_module
        heads = attention.qkv_nn(found).chunk(3, 2)
        wrong = scaled_dot_product_attention(*(y.reshape(1, 4, 37, 4) for y in heads))
        torch.testing.assert_close(attention(found), wrong.transpose(1, 2).reshape(1, 37, 16))


@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize("number", range(12))
def test_values_of_the_specification(number, p):
    file = golden("sm_family")
    models = ("SmABMIL", "TransformerABMIL", "SmTransformerABMIL")
    cases = [one for one in file["cases"] if one["case"].split()[0] in models]
    assert len(cases) == 12
    case = cases[number]
    made, shapes = case["constructor"], case["parameters"]
    coefficients = {n: lambda g: 1 + 0.2 * g for n in shapes if n.endswith("coef")}
    state = golden_parameters(shapes, case["norm_weights"], coefficients)
    names = {"sm_where": "smooth", "sm_mode": "mode", "transf_n_heads": "heads"}
    options = {names[key]: value for key, value in made.items() if key in names}
    if "mode" in options:
        options["mode"] = options["mode"].replace("approx", "approximate")
    model = {"SmABMIL": "sm_abmil", "TransformerABMIL": "transformer_abmil"}.get(
        case["case"].split()[0], "sm_transformer_abmil"
    )
    network = from_torchmil(model, {n: v.float() for n, v in state.items()}, **options)
    edges = eight_neighbours()
    x = torch.from_numpy(golden_input(p, 64)).float()
    one = Bag.single(x, edge_index=edges, edge_weight=torch.ones(edges.shape[1]))
    assert told(network, one) == pytest.approx(case["expected"][f"x_{p}"]["logit"], abs=1e-5)


@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize("variance", ["single", "diagonal"])
def test_latent_variables_are_the_posterior_means(variance, p):
    case = next(one for one in golden("vaeabmil")["cases"] if one["covar_mode"] == variance)
    state = {n: v.float() for n, v in golden_parameters(case["parameters"]).items()}
    network = from_torchmil("vaeabmil", state)
    assert network.model.autoencoder.widths == [64, 32, 16]
    x = torch.from_numpy(golden_input(p, 64)).float()
    expected = case["expected"][f"x_{p}"]["logit_posterior_mean"]
    assert told(network, Bag.single(x)) == pytest.approx(expected, abs=1e-5)


def test_outputs_of_draws_are_averaged_before_the_sigmoid(monkeypatch):
    """As torchmil does, and not as the head does by itself."""
    case = next(one for one in golden("probsmooth")["cases"] if one["covar_mode"] == "diag")
    state = {n: v.float() for n, v in golden_parameters(case["parameters"]).items()}
    network = from_torchmil("prob_smooth_abmil", state, samples=4).train()
    noise = np.random.RandomState(300).standard_normal((1, 64, 4))[0]
    monkeypatch.setattr(torch, "randn", lambda *shape, **how: torch.from_numpy(noise).float())
    edges = eight_neighbours()
    x = torch.from_numpy(golden_input(0, 64)).float()
    one = Bag.single(x, edge_index=edges, edge_weight=torch.ones(edges.shape[1]))
    logits, _ = network(one, torch.empty(1, 1, 0))
    expected = case["expected"]["x_0"]
    probability = network.head.predict(logits.detach()).probability[0, 1]
    assert logits.mean().item() == pytest.approx(expected["mean_logit"], abs=1e-5)
    assert probability == pytest.approx(1 / (1 + np.exp(-expected["mean_logit"])), abs=1e-5)
    assert probability != pytest.approx(expected["mean_probability"], abs=1e-5)


def test_every_table_is_of_a_model_with_the_preset():
    assert all("torchmil" in MODELS.find(name).presets for name in TABLES)
    assert {model for model, *_ in ALL.values()} == set(TABLES)


@pytest.mark.parametrize("model", TABLES)
def test_what_differs_is_said(model, caplog):
    case, options = next((name, last) for name, (one, *_, last) in ALL.items() if one == model)
    network = from_torchmil(model, weights(case), **options)
    graph = GRAPH if "graph" in network.model.needs else ""
    assert caplog.messages == [f"{model}: {x}" for x in (TABLES[model].differs, graph) if x]


def test_a_normalised_adjacency_must_not_be_given():
    """The sentence is needed: normalised twice, predictions are others."""
    one = bag()
    i, j = one.edge_index
    rate = torch.bincount(i).float().rsqrt()
    twice = Bag.single(one.features, edge_index=one.edge_index, edge_weight=rate[i] * rate[j])
    measured = MEASURED["sm early"]["logit"]
    assert abs(ours("sm early", weights("sm early"), twice) - measured) > 1e-4


def test_instances_of_clam_and_dsmil_go_along():
    """The classifier of class c is torchmil's number c, logit 1 less logit 0."""
    for case, layer in (("clam_sb", "inst_classifiers.{}.module"), ("dsmil", "inst_classifier")):
        state = weights(case)
        logits = MILModel(from_torchmil(case, state)).of_bag(bag()).inst_logits[0]
        x = bag().features
        for c in range(logits.shape[1]):
            weight, bias = (state[f"{layer.format(c)}.{kind}"] for kind in ("weight", "bias"))
            each = x @ weight.T + bias
            expected = each[:, 1] - each[:, 0] if case == "clam_sb" else each[:, 0]
            torch.testing.assert_close(logits[:, c], expected)


def refused(case, change, **options):
    """The sentences on changed weights; an option that is None is not given."""
    state = weights(case)
    change(state)
    options = {k: v for k, v in {**CASES[case][3], **options}.items() if v is not None}
    with pytest.raises(InputError) as caught:
        from_torchmil(CASES[case][0], state, **options)
    return caught.value.problems


def test_every_parameter_that_does_not_fit_has_a_sentence():
    def change(state):
        del state["pool.fc1.module.bias"]
        state["pool.fc2.weight"] = torch.zeros(1, 9)
        state["classifier.module.bias"] = torch.zeros(1).double()
        state["feat_ext.0.weight"] = torch.zeros(12, 99)

    assert refused("abmil", change) == [
        "weights: pool.fc1.module.bias is missing; model abmil has it, float32 [8].",
        "weights: pool.fc2.weight is float32 [1, 9]; beside the file's other layers, model abmil "
        "has it float32 [1, 8].",
        "weights: classifier.module.bias is float64 [1]; beside the file's other layers, model "
        "abmil has it float32 [1].",
        "weights: feat_ext.0.weight is not known; model abmil as torchmil publishes it has no such "
        "parameter. A network with layers of its own cannot be taken over.",
    ]


@pytest.mark.parametrize(
    ("case", "change", "options", "sentence"),
    [
        (
            "abmil",
            lambda state: state.pop("pool.fc1.module.weight"),
            {},
            "weights: pool.fc1.module.weight is missing; every network of torchmil's of this kind "
            "has such a matrix. Give the file as its training wrote it.",
        ),
        (
            "abmil",
            dict,
            {"hidden": 12},
            "weights: for model.embed.0.weight of model 'abmil' torchmil has nothing. Leave out "
            "the option by which the model has it.",
        ),
        (
            "sm fixed",
            dict,
            {"alpha": None},
            "weights: there is no pool.sm.sm.coef, so nothing was smoothed (sm_where none), or "
            "with an sm_alpha that is a number, which no file of weights has. Give the option "
            "smooth=none, or alpha, the weight of the neighbours: 1 - sm_alpha, with mode=exact "
            "sm_alpha itself.",
        ),
        (
            "sm early",
            lambda state: state["pool.sm.sm.coef"].fill_(-0.25),
            {},
            "weights: pool.sm.sm.coef is -0.25; smoothing needs it above 0 (torchmil does not see "
            "to that): the weight of the neighbours would not be between 0 and 1.",
        ),
        (
            "sm spectral",
            dict,
            {"smooth": "late"},
            "weights: pool.proj1.weight is missing; model sm_abmil has it, float32 [8, 12].",
        ),
        (
            "gtp",
            lambda state: state.update(
                {"transformer_encoder.layers.0.norm1.weight": torch.ones(16)}
            ),
            {},
            "weights: transformer_encoder.layers.0.norm1.weight is float32 [16]; beside the file's "
            "other layers, model gtp has it float32 [12].",
        ),
        (
            "iib_mil",
            lambda state: state.update({"decoder.layers.1.norm1.weight": torch.ones(16)}),
            {},
            "weights: decoder.layers.1.norm1.weight is not known; model iib_mil as torchmil "
            "publishes it has no such parameter. A network with layers of its own cannot be taken "
            "over.",
        ),
        (
            "transmil",
            lambda state: state.update({"layers.0.mlp_module.0.weight": torch.zeros(64, 16)}),
            {},
            "weights: layers.0.mlp_module.0.weight is not known; model transmil as torchmil "
            "publishes it has no such parameter. A network with layers of its own cannot be taken "
            "over.",
        ),
        (
            "vaeabmil",
            lambda state: state.pop("feat_ext.decoder.net.2.weight"),
            {},
            "weights: feat_ext.decoder.net.2.weight is missing; every network of torchmil's of "
            "this kind has such a matrix. Give the file as its training wrote it.",
        ),
    ],
)
def test_what_cannot_be_is_refused(case, change, options, sentence):
    assert refused(case, change, **options)[0] == sentence


@pytest.mark.parametrize("orders", [7, 0, "five"])
def test_orders_that_cannot_be_are_refused(orders):
    with pytest.raises(InputError, match=rf"no {orders!r} orders of as many features each; give"):
        from_torchmil("deepgraphsurv", weights("deepgraphsurv"), orders=orders)


def test_models_classes_and_files_that_cannot_be_are_refused(tmp_path):
    state = weights("abmil")
    with pytest.raises(InputError, match="model is 'abmill'; did you mean abmil"):
        from_torchmil("abmill", state)
    with pytest.raises(InputError, match="torchmil has one output, so there must be two names"):
        from_torchmil("abmil", state, classes=["a", "b", "c"])
    with pytest.raises(InputError, match=r"nothing\.pt: there is no such file"):
        from_torchmil("abmil", tmp_path / "nothing.pt")
    nested = tmp_path / "nested.pt"
    torch.save({"epoch": 3, "model": state}, nested)
    with pytest.raises(InputError, match=r"nested\.pt: this should be parameters .* epoch, model"):
        from_torchmil("abmil", nested)
    torch.save(nn.Linear(2, 2), tmp_path / "pickled.pt")
    with pytest.raises(InputError, match=r"pickled\.pt: it cannot be read .* Nothing in it was"):
        from_torchmil("abmil", tmp_path / "pickled.pt")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"unit": "bag"}, "unit is 'bag'; it must be patient or slide."),
        (
            {"options": "{heads: 4}"},
            "options is '{heads: 4}'; it must be a JSON object, as options='{\"heads\": 4}'.",
        ),
    ],
)
def test_nothing_is_written_of_arguments_that_cannot_be(tmp_path, wrong, sentence):
    torch.save(weights("abmil"), tmp_path / "best.pt")
    settings = {"weights": tmp_path / "best.pt", "model": "abmil", "label": "tumour"}
    with pytest.raises(InputError) as caught:
        convert_torchmil(**settings, to=tmp_path / "fold0", **wrong)
    assert caught.value.problems == [sentence]
    assert not (tmp_path / "fold0").exists()


def test_weights_of_the_loss_are_left_out(caplog):
    caplog.set_level(logging.INFO)
    state = {**weights("abmil"), "criterion.pos_weight": torch.tensor(3.0)}
    assert told(from_torchmil("abmil", state), bag()) == pytest.approx(
        MEASURED["abmil"]["logit"], abs=1e-5
    )
    assert "weights: criterion.pos_weight is left out: predictions have no loss." in caplog.messages


def test_the_state_of_the_random_numbers_stays_and_the_weights_are_copies():
    state = weights("abmil")
    before = torch.get_rng_state()
    network = from_torchmil("abmil", state)
    assert torch.equal(torch.get_rng_state(), before)
    network.head.linear.weight.data.zero_()
    assert state["classifier.module.weight"].abs().min() > 0


def test_a_fold_folder_predicts_what_torchmil_says(tmp_path):
    write_cohort(tmp_path, patients=12, patches=9, width=12)
    people = pd.read_csv(tmp_path / "patients.csv")
    people.drop(columns=["time", "event"]).assign(tumour=["no", "yes"] * 6).to_csv(
        tmp_path / "patients.csv", index=False
    )
    torch.save(weights("abmil gated"), tmp_path / "best.pt")
    settings = {
        "weights": tmp_path / "best.pt",
        "model": "abmil",
        "label": "tumour",
        "classes": '["no","yes"]',
        "to": tmp_path / "fold0",
    }
    assert (
        main("mil", STAGES, ["convert_torchmil", *(f"{k}={v}" for k, v in settings.items())]) == 0
    )
    made = yaml.safe_load((tmp_path / "fold0/config.yaml").read_text())
    assert made["experiment"]["model_options"] == {
        "hidden": None,
        "out": None,
        "attention": 8,
        "gated": True,
        "dropout": 0.0,
    }
    assert list(made["converted_from"]) == ["best.pt"]
    predict_fold(
        cohort=tmp_path / "cohort.csv",
        patients=tmp_path / "patients.csv",
        fold=tmp_path / "fold0.csv",
        root=tmp_path,
        model=tmp_path / "fold0/model.safetensors",
        config=tmp_path / "fold0/config.yaml",
        predictions=tmp_path / "predictions.csv",
        draws=tmp_path / "draws.npz",
        attention=tmp_path / "attention.npz",
    )
    table = pd.read_csv(tmp_path / "predictions.csv")
    network = from_torchmil("abmil", tmp_path / "best.pt")
    features, _, _ = read_features(tmp_path / f"features/{table.patient_id[0]}-0.h5")
    expected = 1 / (1 + np.exp(-told(network, Bag.single(torch.from_numpy(features)))))
    assert table.probability_yes[0] == pytest.approx(expected, rel=1e-5)
