import io

import pytest
import torch
from torch import nn

from wsi.encoders.torchscript import TORCHSCRIPT
from wsi.storage import sha256_file
from wsi.weights import fetch_weights, load_encoder, untrained

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
DECLARED = {"width": 5, "input_size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}


class Mine(nn.Module):
    def __init__(self, width=5):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 7, 4)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


@pytest.fixture
def export(tmp_path):
    def export(network, example=None):
        path = tmp_path / "mine.pt"
        example = torch.randn(2, 3, 32, 32) if example is None else example
        torch.jit.save(torch.jit.trace(network.eval(), example, check_trace=False), path)
        return path

    return export


def fetch(path, tmp_path, encoder=TORCHSCRIPT, **changed):
    output = tmp_path / "out.safetensors"
    declared = {**DECLARED, **changed}
    fetch_weights(encoder=encoder, weights=str(path), output=str(output), declared=declared)
    return output


@torch.inference_mode()
def test_a_network_of_ones_own_goes_through_one_file(export, tmp_path):
    torch.manual_seed(0)
    mine = Mine()
    given = export(mine)
    output = fetch(given, tmp_path, trained_on_tcga=True, licence="ours", resize=40)
    encoder, network, described = load_encoder(output)
    assert (encoder.width, encoder.input_size, encoder.resize) == (5, 32, 40)
    assert (encoder.mean, encoder.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert encoder.trained_on_tcga is True
    assert described == {
        "encoder": "torchscript",
        "source": "mine.pt",
        "licence": "ours",
        "trained_on_tcga": "yes",
        "published_sha256": sha256_file(given),
        "sha256": sha256_file(output),
    }
    x = torch.randn(3, 3, 32, 32)
    network = network.to("cpu", memory_format=torch.channels_last)
    torch.testing.assert_close(network(x), mine(x))


def test_the_same_file_gives_the_same_bytes(export, tmp_path):
    given = export(Mine())
    first = sha256_file(fetch(given, tmp_path))
    assert sha256_file(fetch(given, tmp_path)) == first


def test_for_timing_the_file_is_read(export):
    encoder, network = untrained(TORCHSCRIPT, str(export(Mine())), DECLARED)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, encoder.width)


@pytest.mark.parametrize(
    ("network", "changed", "sentence"),
    [
        (Mine(), {"width": 6}, r"2 patches give \(2, 5\), and must give \(2, 6\); check width"),
        (nn.Conv2d(3, 5, 7), {}, r"2 patches give \(2, 5, 26, 26\), and must give"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), {"input_size": 48},
         r"takes no patches of shape \(2, 3, 48, 48\) .*Check input_size"),
    ],
)  # fmt: skip
def test_what_it_gives_is_measured(network, changed, sentence, export, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        fetch(export(network), tmp_path, **changed)
    assert not (tmp_path / "out.safetensors").exists()


def test_features_that_are_no_numbers_are_refused(export, tmp_path):
    mine = Mine()
    mine.conv.bias.data[2] = float("nan")
    with pytest.raises(ValueError, match="its features are not finite"):
        fetch(export(mine), tmp_path)


@pytest.mark.parametrize("weights", ["random", "hub", "imagenet"])
def test_it_needs_a_file(weights, tmp_path):
    with pytest.raises(ValueError, match=r"weights must be the path of a TorchScript file"):
        fetch(weights, tmp_path)


def test_a_state_dict_is_no_torchscript(tmp_path):
    content = io.BytesIO()
    torch.save(Mine().state_dict(), content)
    (tmp_path / "mine.pt").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=r"mine\.pt: no TorchScript can be read .*torch\.jit\.tra"):
        fetch(tmp_path / "mine.pt", tmp_path)


def test_conch_comes_as_torchscript_and_is_fed_as_its_authors_say(tmp_path, export):
    given = export(Mine(768), torch.randn(2, 3, 448, 448))
    output = tmp_path / "out.safetensors"
    fetch_weights(encoder="conch_v1_5", weights=str(given), output=str(output))
    encoder, _, described = load_encoder(output)
    assert (encoder.name, encoder.width, encoder.input_size) == ("conch_v1_5", 768, 448)
    assert (described["trained_on_tcga"], described["licence"]) == ("no", "CC-BY-NC-ND-4.0")
    with pytest.raises(ValueError, match="conch_v1_5: its network comes with its weights"):
        fetch_weights(encoder="conch_v1_5", weights="hub", output=str(output))
