"""Graphs of a bag, against scipy, scikit-learn and literal loops."""

import numpy as np
import pytest
import torch
from examples import example_bag
from scipy.spatial import Delaunay, cKDTree
from sklearn.neighbors import NearestNeighbors

from mil.bags import Bag, BagError, pack
from mil.data import edges as of
from mil.data import joined
from mil.nn.adjacency import bag_graph
from mil.nn.grid_positions import grid_positions
from mil.problems import InputError


def tissue(instances=200, step=512, seed=0, name="A", width=6):
    """Instances on random cells of a grid of 20 x 30, with holes, in random order."""
    random = np.random.RandomState(seed)
    cells = random.permutation(600)[:instances]
    coords = np.stack([cells % 30, cells // 30], 1) * step + random.randint(0, 9999, 2)
    features = random.standard_normal((instances, width)).astype(np.float32)
    return Bag.single(torch.from_numpy(features), name, coords=torch.from_numpy(coords))


def pairs(edges):
    found = [tuple(edge) for edge in np.asarray(edges).T.tolist()]
    assert len(set(found)) == len(found)
    return set(found)


def by_tree(points, radius):
    found = cKDTree(points).query_pairs(radius)
    return found | {(j, i) for i, j in found}


@pytest.mark.parametrize("radius", [1, 1.5, 2, 3.2, 8])
def test_grid_edges_are_those_of_a_tree(radius):
    bag = tissue()
    cells = grid_positions(bag, "").numpy()
    expected = by_tree(cells, radius)
    assert pairs(of.grid_edges(bag, radius)) == expected
    assert len(expected) > 100


def test_several_instances_of_a_cell_are_neighbours():
    bag = tissue(50)
    doubled = Bag.single(bag.features.repeat(2, 1), coords=bag.coords.repeat(2, 1))
    cells = grid_positions(doubled, "").numpy()
    assert pairs(of.grid_edges(doubled)) == by_tree(cells, 1.5)
    assert (3, 53) in pairs(of.grid_edges(doubled))


def test_patches_read_at_half_the_power_are_neighbours():
    """Of a 40x slide tiled at 20x the step is 1024 for patches of 512: torchmil finds no edge."""
    row, column = np.divmod(np.arange(16), 4)
    xy = torch.from_numpy(np.stack([column, row], 1) * 1024)
    bag = Bag.single(torch.zeros(16, 2), coords=xy)
    assert of.grid_edges(bag).shape[1] == 2 * (4 * 3 * 2 + 3 * 3 * 2)
    assert of.grid_edges(bag, of.FOUR).shape[1] == 2 * (4 * 3 * 2)


@pytest.mark.parametrize(
    "join",
    [
        of.grid_edges,
        of.nearest_edges,
        of.delaunay_edges,
        of.feature_edges,
        lambda bag: of.radius_edges(bag, 1200),
    ],
)
def test_bags_and_slides_share_no_edge(join):
    bags = [tissue(80, seed=1, name="A"), tissue(60, seed=2, name="B"), tissue(1, name="C")]
    together = pairs(join(pack(bags)))
    alone = [pairs(join(bag)) for bag in bags]
    shifted = {(i + s, j + s) for e, s in zip(alone, (0, 80, 140), strict=True) for i, j in e}
    assert together == shifted
    assert alone[2] == set()
    if join is not of.feature_edges:
        two = Bag.single(
            pack(bags).features,
            coords=torch.cat([bag.coords for bag in bags]),
            slide=torch.tensor([0] * 80 + [1] * 60 + [2]),
        )
        assert pairs(join(two)) == together


def test_radius_in_pixels():
    bag = example_bag(40)
    assert pairs(of.radius_edges(bag, 2048)) == by_tree(bag.coords.numpy(), 2048)


def test_nearest_in_space_and_among_features():
    bag = tissue(100)
    near = of.nearest_edges(bag, 5)
    assert near[0].tolist() == np.repeat(np.arange(100), 5).tolist()  # the instance is the source
    distance = (bag.coords[near[0]] - bag.coords[near[1]]).float().norm(dim=1).view(100, 5)
    tree, _ = cKDTree(bag.coords).query(bag.coords, k=6)
    np.testing.assert_allclose(distance, tree[:, 1:], rtol=1e-6)

    alike = of.feature_edges(bag, 5)
    nearest = NearestNeighbors(n_neighbors=6, metric="cosine").fit(bag.features)
    expected = nearest.kneighbors(bag.features, return_distance=False)[:, 1:]
    np.testing.assert_array_equal(alike[1].view(100, 5), expected)


def test_delaunay():
    anywhere = np.random.RandomState(0).randint(0, 90_000, (90, 2))  # no four on one circle
    bag = Bag.single(torch.zeros(90, 1), coords=torch.from_numpy(anywhere))
    triangles = Delaunay(bag.coords.numpy()).simplices
    expected = {(int(a), int(b)) for t in triangles for a in t for b in t if a != b}
    assert pairs(of.delaunay_edges(bag)) == expected

    line = Bag.single(torch.zeros(4, 1), coords=torch.tensor([[3, 3], [1, 1], [7, 7], [1, 1]]))
    assert pairs(of.delaunay_edges(line)) == {(1, 0), (0, 1), (0, 2), (2, 0), (1, 3), (3, 1)}


def test_weights():
    bags = [tissue(60, seed=1, name="A"), tissue(50, seed=2, name="B")]
    bags[1].features.mul_(10)
    for bag in (bags[0], bags[1]):
        edges = of.grid_edges(bag)
        x, y = bag.features[edges[0]], bag.features[edges[1]]
        distance = (x - y).norm(dim=1)
        gaussian = joined(bag, edges, "gaussian").edge_weight
        expected = torch.exp(-distance.square() / (2 * distance.median() ** 2))
        torch.testing.assert_close(gaussian, expected)
        assert gaussian.std() > 0.1  # torchmil's lie between 0.95 and 0.96
        cosine = joined(bag, edges, "cosine").edge_weight
        angle = (x * y).sum(1) / x.norm(dim=1) / y.norm(dim=1)
        torch.testing.assert_close(cosine, angle.clamp(min=0))
    together = pack(bags)
    weights = joined(together, of.grid_edges(together), "gaussian").edge_weight
    # each bag by its own median, whatever its neighbours are
    assert sorted(weights.tolist()) == pytest.approx(
        sorted(
            value
            for bag in bags
            for value in joined(bag, of.grid_edges(bag), "gaussian").edge_weight.tolist()
        )
    )
    assert joined(bags[0], of.grid_edges(bags[0])).edge_weight is None


def test_equal_features_weigh_one_and_others_nothing():
    bag = Bag.single(torch.tensor([[1.0], [1.0], [1.0], [5.0]]))
    edges = torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]])
    assert joined(bag, edges, "gaussian").edge_weight.tolist() == [1, 1, 1, 0]


def test_models_read_the_graph_and_its_record():
    bag = tissue(60)
    graph = bag_graph(joined(bag, of.grid_edges(bag), "gaussian"), "test")
    assert graph.symmetric
    torch.testing.assert_close(graph.weight, graph.transposed.symmetrised().weight)
    assert graph.steps == ("symmetrised",)
    assert graph.with_loops().normalised().steps == ("symmetrised", "loops", "sym")
    assert graph.normalised("row").with_loops().steps == ("symmetrised", "row", "loops")


def test_mistakes_are_sentences():
    bag = tissue(10)
    with pytest.raises(InputError, match="radius is 9; it must be from 1 to 8"):
        of.grid_edges(bag, 9)
    with pytest.raises(InputError, match="weight is 'gauss'; did you mean gaussian"):
        joined(bag, of.grid_edges(bag), "gauss")
    with pytest.raises(BagError, match="bag A: no coordinates, which delaunay_edges reads"):
        of.delaunay_edges(Bag.single(torch.zeros(3, 2), "A"))
