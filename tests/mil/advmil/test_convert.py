"""Checkpoints under AdvMIL's names become fold folders, give its values, and come back."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from examples import golden_input
from safetensors.torch import load_file
from synthetic_cohort import run, write_cohort

from mil.advmil.convert import convert_advmil
from mil.advmil.export import export_advmil
from mil.bags import Bag
from mil.network import build_network
from mil.prediction import predict_fold
from mil.problems import InputError
from mil.training.store import (
    copy_state,
    load_discriminator_state,
    load_network_state,
    save_state,
)

# Layers of the original: [out, in] of a linear layer, [out, in, 1, 1] of a convolution, [width] of
# a norm; all with a bias. Single parameters stand in a tuple.
GATED = {"attention_a.0": [384, 384], "attention_b.0": [384, 384], "attention_c": [1, 384]}
REGION_GATED = {"fc1.0": [384, 384], "score.0": [384, 384], "fc2": [1, 384]}


def below(place, layers):
    return {f"{place}.{name}": shape for name, shape in layers.items()}


def narrowed(layers, width):
    return {name: [width if n == 384 else n for n in shape] for name, shape in layers.items()}


BACKBONES = {
    "abmil": {
        "attention_net.0": [384, 1024],
        **below("attention_net.3", GATED),
        "rho.0": [384, 384],
    },
    "deepattnmisl": {
        "phis.0": [384, 1024, 1, 1],
        "attention_net.0": [384, 384],
        **below("attention_net.3", GATED),
    },
    "patchgcn": {
        "fc.0": [128, 1024],
        "layers.0.conv.t": (1,),
        "layers.0.conv.mlp.0": [256, 128],
        "layers.0.conv.mlp.1": [256],
        "layers.0.conv.mlp.4": [128, 256],
        "layers.0.norm": [128],
        "path_phi.0": [128, 256],
        **below("path_attention_head", narrowed(GATED, 128)),
    },
    "esat": {
        "patch_embedding_layer.conv": [384, 1024, 1, 1],
        "patch_embedding_layer.norm": [384],
        **below(
            "patch_encoder_layer.layers.0",
            {
                "self_attn.in_proj_weight": (1152, 384),
                "self_attn.in_proj_bias": (1152,),
                "self_attn.out_proj": [384, 384],
                "linear1": [384, 384],
                "linear2": [384, 384],
                "norm1": [384],
                "norm2": [384],
            },
        ),
        **below("pool", REGION_GATED),
    },
}
DISCRIMINATOR = {
    **below(
        "net_pair_one",
        {
            "embedding.conv": [128, 1024, 1, 1],
            "embedding.norm": [128],
            "fc1.0": [64, 128],
            "fc1.3": [128, 64],
            **below("pool", narrowed(REGION_GATED, 128)),
            "fc2.0": [64, 128],
            "fc2.3": [128, 64],
        },
    ),
    "net_pair_two.0.0": [64, 1],
    "net_pair_two.1.0": [128, 64],
}
VALUES = {  # of the specification, for noise 0-1, 1-1, 1-0 and bags 0, 1
    "abmil": ((-0.023478, -0.036821), (-0.020978, -0.015684), (-0.024998, -0.017512)),
    "deepattnmisl": ((-0.394213, -0.381814), (-0.025150, -0.009142), (-0.030899, -0.008260)),
    "patchgcn": ((-0.552050, -0.564228), (-0.170948, -0.168524), (-0.237088, -0.233660)),
    "esat": ((-0.116547, -0.071947), (-0.742092, -0.755168), (-1.044808, -1.063300)),
}
JUDGED = {  # bags 0, 1, 0 with times .3, .3, .9
    ("instance", "prj_layer"): (2.345376, 2.148371, 5.616163),
    ("bag", "prj_layer"): (0.437039, 0.420393, 0.110306),
    ("cat", "fc"): (0.066136, 0.048238, 0.265315),
}
CASES = [(m, n, v) for m in VALUES for n, v in zip(("0-1", "1-1", "1-0"), VALUES[m], strict=True)]


def filled(layers):
    """Parameters of the original by the fill rule of the specification."""
    shapes, norms = {}, set()
    for name, shape in layers.items():
        if isinstance(shape, tuple):
            shapes[name] = shape
        else:
            shapes[f"{name}.weight"] = tuple(shape)
            shapes[f"{name}.bias"] = (shape[0],)
            norms |= {f"{name}.weight"} if len(shape) == 1 else set()
    state = {}
    for k, name in enumerate(sorted(shapes)):
        g = np.random.RandomState(1000 + k).standard_normal(shapes[name])
        if g.ndim >= 2:
            g = g / np.sqrt(np.prod(g.shape[1:]))
        elif name in norms:
            g = 1 + 0.1 * g
        else:
            g = 1 + 0.2 * g if name.endswith("conv.t") else 0.1 * g
        state[name] = torch.from_numpy(g).float()
    return state


def generator(model, noise="0-1", hops=1, **others):
    d = 128 if model == "patchgcn" else 384
    head, flags = {}, noise.split("-")
    for i, flag in enumerate(flags):
        out = d >> (i + 1) if i < len(flags) - 1 else 1
        head[f"MLPs.{i}.0"] = [out, (d >> i) * (1 + int(flag))]
    return filled(below("backbone", BACKBONES[model]) | head | others)


def discriminator(out="prj_layer"):
    return filled(DISCRIMINATOR | {out: [1, {"fc": 256}.get(out, 128)]})


def written(path, state, epoch=17):
    path.parent.mkdir(exist_ok=True, parents=True)
    optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 8e-5}]}
    torch.save({"epoch": epoch, "model": state, "optimizer": optimiser}, path)
    return path


def converted(folder, of_generator, of_discriminator=None, **options):
    """Convert, and build what prediction builds."""
    g = written(folder / "in/train_modelG-best.pth", of_generator)
    if of_discriminator is not None:
        options["discriminator"] = written(folder / "in/train_modelD-best.pth", of_discriminator)
    options = {"t_max": 2701.0} | options
    convert_advmil(generator=g, to=folder / "fold0", **options)
    made = yaml.safe_load((folder / "fold0/config.yaml").read_text())
    network = build_network(made["experiment"], made["in_dim"], made["fitted"], standardise=False)
    network.load_state_dict(load_network_state(folder / "fold0/model.safetensors"))
    return network.eval(), made


def golden_bag(p):
    node = torch.arange(64)
    edges = torch.stack([node.repeat(2), torch.cat([node + 1, node * node + 5]) % 64])
    x = torch.from_numpy(golden_input(p)).float()
    return Bag.single(x, edge_index=edges, cluster=node % 8)


@pytest.mark.parametrize(("model", "noise", "values"), CASES)
def test_a_converted_generator_gives_the_values_of_the_original(tmp_path, model, noise, values):
    network, made = converted(tmp_path, generator(model, noise), output="exp")
    assert (made["experiment"]["model"], made["in_dim"]) == (model, 1024)
    assert made["experiment"]["head_options"]["noise"] == noise
    assert made["fitted"] == {"t_ref": 2701.0}
    assert made["chosen_epoch"] == 17
    zeros = torch.zeros(1, 1, sum(network.head.noise_widths))
    for p, expected in enumerate(values):
        with torch.no_grad():
            output, _ = network(golden_bag(p), zeros)
        assert output.log().item() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(("kind", "values"), JUDGED.items())
def test_a_converted_discriminator_gives_the_values_of_the_original(tmp_path, kind, values):
    fusion, out = kind
    chosen = {} if fusion == "cat" else {"fusion": fusion}
    network, made = converted(tmp_path, generator("patchgcn"), discriminator(out), **chosen)
    assert made["experiment"]["head_options"]["discriminator"] == fusion
    judge = network.head.opponent(1024).eval()
    judge.load_state_dict(load_discriminator_state(tmp_path / "fold0/model.safetensors"))
    for (p, time), expected in zip([(0, 0.3), (1, 0.3), (0, 0.9)], values, strict=True):
        with torch.no_grad():
            assert judge(golden_bag(p), torch.tensor([time])).item() == pytest.approx(
                expected, abs=2e-5
            )


@pytest.mark.parametrize("model", BACKBONES)
@pytest.mark.parametrize(("noise", "out"), [("0-1", "prj_layer"), ("1-1", "fc"), ("1-0", None)])
def test_there_and_back_keeps_every_bit(tmp_path, model, noise, out):
    of_g, of_d = generator(model, noise), discriminator(out or "prj_layer")
    if out is None:
        of_d = {name: value for name, value in of_d.items() if "prj_layer" not in name}
    converted(tmp_path, of_g, of_d)
    export_advmil(fold=tmp_path / "fold0", to=tmp_path / "back")
    for name, given in (("G", of_g), ("D", of_d)):
        back = torch.load(tmp_path / f"back/train_model{name}-best.pth", weights_only=True)
        assert back["epoch"] == 17
        assert set(back["model"]) == set(given)
        for key, value in back["model"].items():
            if key.startswith("backbone.layers.0.norm"):  # never used: as it starts
                assert torch.equal(value, torch.full((128,), float("weight" in key)))
            else:
                assert torch.equal(value, given[key])

    again = tmp_path / "again"
    convert_advmil(
        generator=tmp_path / "back/train_modelG-best.pth",
        discriminator=tmp_path / "back/train_modelD-best.pth",
        to=again,
        t_max=2701,
    )
    first = (tmp_path / "fold0/model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == first


def test_widths_convolutions_norms_and_hops_are_read_off(tmp_path):
    with torch.random.fork_rng([]):
        experiment = {
            "model": "patchgcn",
            "model_options": {"hidden": 16, "out": 8, "num_layers": 3},
            "head": "adversarial",
            "head_options": {"noise": "0-1-0", "layer_norm": True, "output": "exp"},
            "training": {"standardise": False},
        }
        network = build_network(experiment, 32, {"t_ref": 5.0}, standardise=False)
    made = {"experiment": experiment, "in_dim": 32, "fitted": {"t_ref": 5.0}, "chosen_epoch": 2}
    save_state(tmp_path / "ours/model.safetensors", copy_state(network, None))
    (tmp_path / "ours/config.yaml").write_text(yaml.safe_dump(made))
    export_advmil(fold=tmp_path / "ours", to=tmp_path)
    theirs = torch.load(tmp_path / "train_modelG-best.pth", weights_only=True)["model"]
    assert theirs["backbone.layers.2.norm.weight"].shape == (16,)
    assert theirs["MLPs.1.1.weight"].shape == (2,)  # a norm behind each hidden layer

    convert_advmil(
        generator=tmp_path / "train_modelG-best.pth", to=tmp_path / "b", t_max=5, output="exp"
    )
    back = yaml.safe_load((tmp_path / "b/config.yaml").read_text())["experiment"]
    assert back["model_options"] == experiment["model_options"]
    assert back["head_options"] == experiment["head_options"] | {"distribution": "uniform"}
    state, first = load_file(tmp_path / "b/model.safetensors"), network.state_dict()
    assert set(state) == set(first)
    assert all(torch.equal(value, first[name]) for name, value in state.items())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=12, patches=16)


@pytest.mark.parametrize("model", BACKBONES)
def test_a_converted_folder_predicts_what_its_network_predicted(cohort, model):
    """Trained here, taken to the original's form, taken back: the same files."""
    small = {"model_options": {"hidden": 16}, "head_options": {"output": "sigmoid"}}
    small["model_options"] |= {"mask_empty": False} if model == "deepattnmisl" else {}
    small["model_options"] |= {"out": 16} if model in ("abmil", "patchgcn") else {}
    run(cohort, "adversarial", model=model, out=model, options=small, epochs=2, warmup=0)
    here, there = cohort / model, cohort / f"{model}-back"
    export_advmil(fold=here, to=there)
    t_max = yaml.safe_load((here / "config.yaml").read_text())["fitted"]["t_ref"]
    convert_advmil(
        generator=there / "train_modelG-best.pth",
        discriminator=there / "train_modelD-best.pth",
        to=there,
        t_max=t_max,
        seed=7,
    )
    predict_fold(
        model=there / "model.safetensors",
        config=there / "config.yaml",
        cohort=cohort / "cohort.csv",
        patients=cohort / "patients.csv",
        fold=cohort / "fold0.csv",
        root=cohort,
        predictions=there / "predictions.csv",
        draws=there / "draws.npz",
        attention=there / "attention.npz",
    )
    first, second = (pd.read_csv(at / "predictions.csv") for at in (here, there))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert first["predicted_time"].between(0, t_max).all()


BASELINES = {
    "time": ({"MLPs.0.0": [192, 384], "MLPs.1.0": [1, 192]}, {"t_max": 10.0}),
    "cox": ({"MLPs.0.0": [192, 384], "MLPs.1.0": [1, 192]}, {"t_max": None}),
    "nll": ({"MLPs.0.0": [192, 384], "MLPs.1.0": [4, 192]}, {"edges": [1.0, 2.0, 5.0]}),
}


@pytest.mark.parametrize("head", BASELINES)
def test_baselines_are_heads_without_noise(tmp_path, head):
    layers, options = BASELINES[head]
    state = filled(below("backbone", BACKBONES["abmil"]) | layers)
    network, made = converted(tmp_path, state, head=head, **options)
    assert made["experiment"]["head"] == head
    bag = golden_bag(0)
    with torch.no_grad():
        h = network.model(bag).vector
        output, _ = network(bag, torch.empty(1, 1, 0))
    for i in (0, 1):
        h = h @ state[f"MLPs.{i}.0.weight"].T + state[f"MLPs.{i}.0.bias"]
        h = h.relu() if i == 0 else h
    h = h.sigmoid() if head == "time" else h
    torch.testing.assert_close(output.flatten(), h.flatten())
    export_advmil(fold=tmp_path / "fold0", to=tmp_path / "back")
    back = torch.load(tmp_path / "back/train_modelG-best.pth", weights_only=True)["model"]
    assert set(back) == set(state)
    assert all(torch.equal(value, state[name]) for name, value in back.items())
    assert not (tmp_path / "back/train_modelD-best.pth").exists()


def refused(folder, of_generator, of_discriminator=None, **options):
    with pytest.raises(InputError) as error:
        converted(folder, of_generator, of_discriminator, **options)
    assert not (folder / "fold0").exists()
    return error.value.problems


def test_every_parameter_that_does_not_fit_has_a_sentence(tmp_path):
    of_g, of_d = generator("abmil"), discriminator()
    del of_g["backbone.attention_net.3.attention_c.bias"]
    of_g["backbone.rho.0.bias"] = torch.zeros(100)
    of_g["backbone.pos.weight"] = torch.zeros(2, 2)
    of_g["MLPs.0.0.bias"] = of_g["MLPs.0.0.bias"].half()
    of_d["net_pair_two.0.0.weight"] = torch.zeros(64, 4)
    found = refused(tmp_path, of_g, of_d)
    assert len(found) == 5
    for text, problem in zip(
        (
            "train_modelG-best.pth: backbone.attention_net.3.attention_c.bias is missing; "
            "model abmil with head adversarial has it, float32 [1].",
            "backbone.rho.0.bias is float32 [100]; beside the file's other layers, model abmil "
            "with head adversarial has it float32 [384].",
            "MLPs.0.0.bias is float16 [192];",
            "backbone.pos.weight is not known; model abmil with head adversarial as AdvMIL",
            "train_modelD-best.pth: net_pair_two.0.0.weight is float32 [64, 4]; beside",
        ),
        found,
        strict=True,
    ):
        assert text in problem


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (lambda s: s.pop("backbone.rho.0.weight"), {}, "no backbone of AdvMIL in it"),
        (lambda s: s.pop("backbone.attention_net.0.weight"), {}, "net.0.weight is missing; every"),
        (lambda s: s.update({"MLPs.0.0.weight": torch.zeros(9)}), {}, "is float32 .9.; every"),
        (
            lambda s: s.update({"MLPs.0.0.weight": torch.zeros(192, 500)}),
            {},
            r"MLPs.0.0.weight reads 500 values; .* must be 384 or, with noise, 768",
        ),
        (None, {"t_max": None}, r"t_max is None; head 'adversarial' needs"),
        (None, {"t_max": -3}, r"t_max is -3"),
        (None, {"t_max": "days"}, r"t_max is 'days'"),
        (None, {"head": "coxs"}, r"head is 'coxs'; did you mean cox\?"),
        (None, {"head": "nll"}, r"edges is None; head 'nll' needs"),
        (None, {"head": "nll", "edges": [3, 2]}, r"edges is \[3, 2\]"),
        (None, {"output": "softmax"}, r"output is 'softmax'; it must be"),
    ],
)
def test_what_cannot_be_converted_says_why(tmp_path, change, options, sentence):
    state = generator("abmil")
    if change:
        change(state)
    g = written(tmp_path / "train_modelG-best.pth", state)
    with pytest.raises(ValueError, match=sentence) as error:
        convert_advmil(generator=g, to=tmp_path / "to", **{"t_max": 10, **options})
    assert error.value.is_sentence
    assert not (tmp_path / "to").exists()


def test_discriminators_belong_to_the_adversarial_head(tmp_path):
    assert (
        "head 'cox' has no discriminator"
        in refused(tmp_path, generator("abmil", "0-0"), discriminator(), head="cox")[0]
    )
    assert "fusion is 'patch'; it must be instance or bag." in refused(
        tmp_path, generator("abmil"), discriminator(), fusion="patch"
    )
    assert "The generator's file is train_modelG-best.pth." in refused(tmp_path, discriminator())[0]


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no such file"),
        (b"not a checkpoint", "cannot be read as a PyTorch file of plain tensors"),
        ({"model": Payload()}, "Nothing in it was executed"),
        ({"state_dict": {}}, "no parameters under 'model'; .* this file has state_dict"),
        ([1], "this file has list"),
    ],
)
def test_what_is_no_checkpoint_says_so_and_is_not_executed(tmp_path, capsys, content, sentence):
    path = tmp_path / "g.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=sentence):
        convert_advmil(generator=path, to=tmp_path / "to", t_max=10)
    assert "executed" not in capsys.readouterr().out


def test_a_network_that_the_original_cannot_express_is_not_exported(tmp_path):
    converted(tmp_path, generator("deepattnmisl"))
    path = tmp_path / "fold0/config.yaml"
    made = yaml.safe_load(path.read_text())
    made["experiment"]["model_options"]["mask_empty"] = True
    made["experiment"]["head_options"]["output"] = "softplus"
    made["experiment"]["training"]["standardise"] = True
    path.write_text(yaml.safe_dump(made))
    with pytest.raises(InputError) as error:
        export_advmil(fold=tmp_path / "fold0", to=tmp_path / "back")
    text = "\n".join(error.value.problems)
    assert len(error.value.problems) == 3
    assert "model_options.mask_empty is True; AdvMIL's code has only False" in text
    assert "head_options.output is softplus; AdvMIL's code has only sigmoid and exp" in text
    assert "training.standardise is true" in text
    with pytest.raises(InputError, match="there is no such file"):
        export_advmil(fold=tmp_path / "nowhere", to=tmp_path / "back")
    assert not (tmp_path / "back").exists()
