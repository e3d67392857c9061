"""Every way to read and every precision agree with a plain loop in float32."""

import numpy as np
import pytest
import torch

from tests.wsi.encoding.conftest import lay
from tests.wsi.encoding.plain_loop import cosines, plain_loop
from wsi.encoding.batches import encode_in_batches
from wsi.encoding.network import Network
from wsi.encoding.threads import encode_in_threads
from wsi.storage import read_h5

LEAST = {"float32": 0.9999, "bfloat16": 0.999, "float16": 0.999}  # cosines
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
GPU = [pytest.mark.gpu, needs_gpu]
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]
HOW = [("cpu", "float32"), ("cpu", "bfloat16")]  # float16 on a CPU works, four times slower
HOW += [pytest.param("cuda", precision, marks=GPU) for precision in LEAST]


@pytest.fixture(scope="module")
def task(make_slide, noise, tmp_path_factory):
    """One coarse patch; its 16 children of 256 px are read as they are."""
    picture = noise(1024, 1024, seed=8)
    return lay(tmp_path_factory.mktemp("slide"), "S", picture, make_slide, size=256, mpp=1.0)


@pytest.fixture(scope="module")
def expected(task, random_resnet50):
    return plain_loop(task.slide, read_h5(task.patches)[0]["coords"], random_resnet50)


@pytest.mark.parametrize(("device", "precision"), HOW)
@pytest.mark.parametrize("back_end", ["tiff", "openslide"])
def test_features_agree_with_the_plain_loop(
    task, expected, random_resnet50, monkeypatch, device, precision, back_end
):
    if back_end == "openslide":
        monkeypatch.setattr("wsi.reader.opening.PLAIN_TIFF", ())
    network = Network(str(random_resnet50), torch.device(device))
    network.choose_precision(precision, lambda: pytest.fail("no sample is needed"))
    if device == "cuda":
        [slide] = encode_in_batches([task], network, 2, 256)
    else:
        [slide] = encode_in_threads([task], network, 2)
    assert cosines(slide.features, expected).min() > LEAST[precision]
    # as near to its own row as to no other: rows are not mixed up
    distance = np.linalg.norm(slide.features[:, None] - expected[None], axis=2)
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(16))


@pytest.mark.parametrize("device", DEVICES)
def test_batches_of_a_gpu_agree_with_the_plain_loop(task, expected, random_resnet50, device):
    network = Network(str(random_resnet50), torch.device(device))
    network.choose_precision("auto", lambda: np.zeros((64, 256, 256, 3), np.uint8))
    [slide] = encode_in_batches([task], network, 2, 256)
    least = LEAST["float16" if device == "cuda" else "float32"]
    assert cosines(slide.features, expected).min() > least


@needs_gpu
@pytest.mark.gpu
def test_on_a_gpu_the_slides_before_change_no_bit(cohort, random_resnet50):
    def encode(tasks):
        network = Network(str(random_resnet50), torch.device("cuda"))
        network.choose_precision("float16", lambda: None)
        return {s.task.slide_id: s.features for s in encode_in_batches(tasks, network, 2, 64)}

    np.testing.assert_array_equal(encode(cohort)["S4"], encode(cohort[4:])["S4"])
