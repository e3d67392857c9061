"""What a training step on a large bag takes, beside the bag."""

from pathlib import Path

import pytest
import torch
from test_bag_memory import HighestAnonymous

from mil.bags import Bag
from mil.data import grid_edges
from mil.mil_model import MILModel
from mil.models import model_names

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc tells of memory"),
]
WIDTH = 1024
WIDE = ("camil", "transmil", "transformer_abmil")
"""What takes many seconds at 16,384 instances: a quarter of them, in a quarter of the memory."""
ELSEWHERE = (
    "iib_mil",  # minutes, too, but its blocks: tests/mil/nn/test_block_attention.py
    "setmil",
    "sm_transformer_abmil",  # the encoder of transformer_abmil, and a pool that is tested here
    "transformer_prob_smooth_abmil",
)


@pytest.mark.parametrize("name", [name for name in model_names() if name not in ELSEWHERE])
def test_a_step_on_16384_instances_takes_less_than_two_gigabytes(name):
    """Specification 7.15: of 1,024 features on a grid, with all losses and their gradients."""
    n, most = (4_096, 2**29) if name in WIDE else (16_384, 2**31)
    torch.manual_seed(0)
    rows = torch.arange(n)
    place = torch.stack([rows % 128, rows // 128], 1) * 512
    bag = Bag.single(torch.randn(n, WIDTH).relu(), "A", coords=place, cluster=rows % 8)
    edges = grid_edges(bag)
    bag = Bag(**{**vars(bag), "edge_index": edges, "edge_latent": edges, "label": torch.ones(1)})
    model = MILModel.build(name, WIDTH, classes=2)
    with HighestAnonymous() as memory:
        model.of_bag(bag).loss.backward()
    assert memory.grown < most, f"{memory.grown / 2**20:,.0f} MB"
