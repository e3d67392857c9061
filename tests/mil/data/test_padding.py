"""Padded batches to packed bags and back."""

import numpy as np
import pytest
import torch
from examples import example_bag

from mil.bags import Bag, BagError, pack
from mil.data import bag_of, collate, from_tensordict, packed, padded, to_tensordict

NAN = float("nan")


def full_bag(instances, seed=0):
    """A bag with every field; its edges are unique, as those of a matrix are."""
    random = np.random.RandomState(seed)
    pairs = random.permutation(instances * instances)[: 2 * instances]
    return Bag.single(
        torch.from_numpy(random.standard_normal((instances, 5)).astype(np.float32)),
        f"bag {seed}",
        coords=torch.from_numpy(random.randint(0, 9, (instances, 2))),
        slide=torch.from_numpy(random.randint(0, 2, instances)),
        cluster=torch.from_numpy(random.randint(0, 3, instances)),
        edge_index=torch.from_numpy(np.stack([pairs % instances, pairs // instances])),
        edge_latent=torch.from_numpy(np.stack([pairs // instances, pairs % instances])),
        edge_weight=torch.from_numpy(random.rand(len(pairs)).astype(np.float32) + 0.1),
        label=torch.tensor([seed % 2]),
        instance_label=torch.from_numpy(random.randint(-1, 2, instances)),
    )


def assert_same(one, other):
    for name in ("features", "offsets", "coords", "slide", "cluster", "label", "instance_label"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert one.ids == other.ids
    dense = [to_matrix(bag.edge_index, bag.edge_weight, len(bag.features)) for bag in (one, other)]
    assert torch.equal(*dense)
    assert torch.equal(*[to_matrix(b.edge_latent, None, len(b.features)) for b in (one, other)])


def to_matrix(edges, weight, nodes):
    """A literal adjacency: row i receives from column j."""
    matrix = torch.zeros(nodes, nodes)
    for e, (source, target) in enumerate(edges.T.tolist()):
        matrix[target, source] += 1 if weight is None else weight[e]
    return matrix


def test_there_and_back_is_the_same():
    bags = [full_bag(n, seed) for seed, n in enumerate((3, 1, 8))]
    assert_same(packed(collate(bags)), pack(bags))


def test_what_a_padded_batch_looks_like():
    bags = [full_bag(n, seed) for seed, n in enumerate((3, 8))]
    batch = collate(bags)
    assert batch["mask"].dtype == torch.bool
    assert batch["mask"].sum(1).tolist() == [3, 8]
    assert batch["Y"].tolist() == [0, 1]
    assert batch["name"] == ["bag 0", "bag 1"]
    for key, fill in {"X": 0, "y_inst": -1, "coords": -1, "slide": -1, "cluster": -1}.items():
        assert (batch[key][0, 3:] == fill).all(), key
    assert torch.equal(batch["X"][0, :3], bags[0].features)
    assert torch.equal(batch["coords"][0, :3], bags[0].coords.flip(1))  # row, column
    for b, bag in enumerate(bags):
        n = len(bag.features)
        expected = to_matrix(bag.edge_index, bag.edge_weight, n)
        dense = batch["adj"].to_dense()[b]
        assert torch.equal(dense[:n, :n], expected)
        assert dense[n:].abs().sum() == dense[:, n:].abs().sum() == 0


def test_a_label_that_stands_first_is_not_taken_for_instances():
    """torchmil takes the mask from the first dense key, which a [1]-shaped Y may be."""
    bag = bag_of({"Y": torch.tensor([1]), "X": torch.zeros(4, 2)})
    assert padded(bag)["mask"].tolist() == [[True] * 4]
    assert bag.label.tolist() == [1]


def test_instances_may_be_anywhere_and_padding_may_hold_anything():
    bag = pack([full_bag(3, 0), full_bag(4, 1)])
    places = torch.tensor([[1, 4, 5, -1], [0, 2, 3, 5]])
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, places[0, :3]] = mask[1, places[1]] = True
    batch = {"X": torch.full((2, 6, 5), NAN), "mask": mask.to(torch.uint8)}
    batch["X"][mask] = bag.features
    adjacency = torch.full((2, 6, 6), NAN)
    for b, (start, n) in enumerate(((0, 3), (3, 4))):
        rows = places[b, :n]
        whole = to_matrix(bag.edge_index, bag.edge_weight, 7)
        part = whole[start : start + n, start : start + n]
        adjacency[b][rows[:, None], rows] = part
    batch["adj"] = adjacency  # dense, NaN from and to padding
    found = packed(batch)
    assert torch.equal(found.features, bag.features)
    assert torch.equal(
        to_matrix(found.edge_index, found.edge_weight, 7),
        to_matrix(bag.edge_index, bag.edge_weight, 7),
    )


def test_gradients_reach_instances_and_no_padding():
    x = torch.randn(2, 3, 4).requires_grad_()
    mask = torch.tensor([[True, False, True], [True, True, False]])
    packed({"X": x, "mask": mask}).features.square().sum().backward()
    assert torch.equal(x.grad, torch.where(mask.unsqueeze(-1), 2 * x.detach(), 0))


def test_batches_that_cannot_be():
    x = torch.zeros(2, 3, 4)
    with pytest.raises(BagError, match="no model reads 'coord'; did you mean coords"):
        packed({"X": x, "coord": x})
    with pytest.raises(BagError, match="no X"):
        packed({"mask": x[..., 0] == 0})
    with pytest.raises(BagError, match=r"X is \[2, 3\].*unsqueeze"):
        packed({"X": x[..., 0]})
    with pytest.raises(BagError, match=r"mask is \[2, 4\]; it must be \[2, 3\]"):
        packed({"X": x, "mask": torch.ones(2, 4)})
    with pytest.raises(BagError, match=r"coords is \[2, 4, 2\], but X has 2 bags of 3"):
        packed({"X": x, "coords": torch.zeros(2, 4, 2)})
    with pytest.raises(BagError, match=r"adj is \[2, 3, 2\].*\[2, 3, 3\]"):
        packed({"X": x, "adj": torch.zeros(2, 3, 2)})
    with pytest.raises(BagError, match="bag 1: no instance"):
        packed({"X": x, "mask": torch.tensor([[1, 1, 1], [0, 0, 0]])})
    with pytest.raises(BagError, match=r"y_inst is \[1, 2\], but X has 1 bags of 3"):
        bag_of({"X": x[0], "y_inst": torch.zeros(2)})


def test_tensordicts():
    pytest.importorskip("tensordict", reason="the optional package tensordict is not installed")
    bags = pack([full_bag(n, seed) for seed, n in enumerate((3, 8))])
    tensors = to_tensordict(bags)
    assert tensors.batch_size == torch.Size([2])
    assert_same(from_tensordict(tensors), bags)

    from tensordict import TensorDict

    assert from_tensordict(tensors[1]).ids == ("bag 1",)
    one = TensorDict({"Y": torch.tensor([1.0]), "X": torch.ones(4, 2)}, batch_size=[])
    assert from_tensordict(one).features.shape == (4, 2)


def test_example_bags_with_equal_edges_keep_their_sums():
    bag = example_bag(16, 4)
    again = packed(padded(bag))
    assert torch.equal(
        to_matrix(again.edge_index, again.edge_weight, 16), to_matrix(bag.edge_index, None, 16)
    )
