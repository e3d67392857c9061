"""Bags: packing, regions, and reading them from a cohort's files."""

import numpy as np
import pandas as pd
import pytest
import torch
from examples import example_bag
from synthetic_cohort import write_cohort
from torch.utils.data import DataLoader

from mil.bag_folder import BagFolder
from mil.bags import Bag, BagError, pack
from wsi.storage import Outcome, load_npz, read_features, save_npz


def test_packing_shifts_both_edge_sets_to_the_rows_of_their_bag():
    bags = [example_bag(16, seed=0, name="A"), example_bag(32, seed=1, name="B")]
    packed = pack(bags)
    assert packed.ids == ("A", "B")
    assert packed.offsets.tolist() == [0, 16, 48]
    assert len(packed) == 2
    assert packed.sizes == [16, 32]
    for name in ("edge_index", "edge_latent"):
        edges = getattr(packed, name)
        second = getattr(bags[1], name)
        assert torch.equal(edges[:, 32:], second + 16)
        assert torch.equal(
            packed.features[edges[0, 32:]], bags[1].features[second[0]]
        )  # same instances
    assert torch.equal(packed.cluster, torch.cat([bags[0].cluster, bags[1].cluster]))


def test_packing_packed_bags():
    bags = [example_bag(16, seed=i, name=str(i)) for i in range(3)]
    nested = pack([pack(bags[:2]), bags[2]])
    flat = pack(bags)
    assert nested.ids == flat.ids
    for name in ("features", "offsets", "coords", "edge_index", "edge_latent", "cluster"):
        assert torch.equal(getattr(nested, name), getattr(flat, name))


def test_bags_that_cannot_be():
    with pytest.raises(BagError, match="bag A: no instance"):
        Bag.single(torch.zeros(0, 4), "A")
    with pytest.raises(BagError, match="cluster has 3 rows for 4 feature rows"):
        Bag.single(torch.zeros(4, 2), cluster=torch.zeros(3))
    with pytest.raises(BagError, match="different feature widths"):
        pack([Bag.single(torch.zeros(4, 2)), Bag.single(torch.zeros(4, 3))])
    with pytest.raises(BagError, match="only some of the bags have coords"):
        pack([example_bag(4, 2), Bag.single(torch.zeros(4, 2))])
    with pytest.raises(BagError, match="no bag"):
        pack([])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_loader_pins_whole_bags():
    loader = DataLoader([example_bag(16, 4)], batch_size=None, pin_memory=True)
    assert next(iter(loader)).edge_index.is_pinned()


def test_all_tensors_of_a_bag_are_pinned(monkeypatch):
    """In memory that only a machine with a GPU has; what was computed of the bag is left out."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    bag = example_bag(16, 4, name="A")
    assert bag.sizes == [16]
    moved = bag.pin_memory()
    assert moved.ids == ("A",)
    tensors = {name: value for name, value in vars(bag).items() if torch.is_tensor(value)}
    assert len(tensors) == 6
    for name, value in tensors.items():
        assert torch.equal(getattr(moved, name), value)
        assert getattr(moved, name) is not value


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path, patients=8, patches=16, width=6, slides=2)


def test_a_patient_is_its_slides_in_table_order(cohort):
    table = pd.read_csv(cohort / "cohort.csv")
    table.iloc[::-1].to_csv(cohort / "cohort.csv", index=False)  # slide 1 now comes before slide 0
    bags = BagFolder(cohort / "cohort.csv", cohort)
    bag = bags.load(["P003", "P001"], ("graph", "cluster", "coords"))
    assert bag.ids == ("P003", "P001")
    assert bag.offsets.tolist() == [0, 32, 64]
    order = ["P003-1", "P003-0", "P001-1", "P001-0"]
    maps = [read_features(cohort / f"features/{name}.h5") for name in order]
    np.testing.assert_array_equal(bag.features, np.concatenate([m[0] for m in maps]))
    np.testing.assert_array_equal(bag.coords, np.concatenate([m[1] for m in maps]))
    for name in ("edge_index", "edge_latent"):
        edges = [load_npz(cohort / f"graphs/{slide}.npz")[0][name] for slide in order]
        shifted = [part + 16 * i for i, part in enumerate(edges)]
        np.testing.assert_array_equal(getattr(bag, name), np.concatenate(shifted, 1))
    # clusters were written with slide 0 first: 0/1 for it, 2/3 for slide 1
    assert bag.cluster[:16].min() >= 2
    assert bag.cluster[16:32].max() <= 1


def test_graphs_and_clusters_are_read_only_when_needed(cohort):
    for path in [*(cohort / "graphs").iterdir(), *(cohort / "clusters").iterdir()]:
        path.unlink()
    bags = BagFolder(cohort / "cohort.csv", cohort)
    bag = bags.load(["P000"])
    assert bag.edge_index is None
    assert bag.cluster is None
    with pytest.raises(FileNotFoundError):
        bags.load(["P000"], ("graph",))


def test_edges_among_features_that_were_left_out_are_not_there(cohort):
    path = cohort / "graphs/P001-0.npz"
    arrays, attributes = load_npz(path)
    arrays["edge_latent"] = np.empty((2, 0), np.int64)
    save_npz(path, Outcome("P001-0", "build_graph"), {**attributes, "latent": False}, **arrays)
    bags = BagFolder(cohort / "cohort.csv", cohort)
    assert bags.load(["P000"], ("graph",)).edge_latent is not None
    bag = bags.load(["P000", "P001"], ("graph",))
    assert bag.edge_index is not None
    assert bag.edge_latent is None


def test_a_bag_is_the_same_alone_and_among_others(cohort):
    bags = BagFolder(cohort / "cohort.csv", cohort)
    together = bags.load(["P000", "P001"], ("graph", "cluster", "coords"))
    packed = pack([bags.load([p], ("graph", "cluster", "coords")) for p in ("P000", "P001")])
    for name in ("features", "offsets", "coords", "edge_index", "edge_latent", "cluster"):
        assert torch.equal(getattr(together, name), getattr(packed, name))


def edit(cohort, **changes):
    table = pd.read_csv(cohort / "cohort.csv", dtype=str)
    for column, value in changes.items():
        table.loc[0, column] = value
    table.to_csv(cohort / "cohort.csv", index=False)
    return BagFolder(cohort / "cohort.csv", cohort)


def test_a_file_that_is_not_the_cohorts_is_refused(cohort):
    with pytest.raises(BagError, match=r"P000-0.npz: its content .* The file changed"):
        edit(cohort, graph_sha256="x").load(["P001", "P000"], ("graph",))
    with pytest.raises(BagError, match=r"P000.npz: its content"):
        edit(cohort, clusters_sha256="x").load(["P001", "P000"], ("cluster",))
    with pytest.raises(BagError, match=r"P000-0.h5: its content"):
        edit(cohort, features_sha256="0" * 64).load(["P000"])
    with pytest.raises(BagError, match=r"P000-0.h5: features \[16, 6\] and 16 coords"):
        edit(cohort, n_patches="15").load(["P000"])


def test_a_cohort_that_cannot_be_is_refused(cohort):
    with pytest.raises(BagError, match="slide P000-0 has no patch"):
        edit(cohort, n_patches="0")
    with pytest.raises(BagError, match="2 different widths"):
        edit(cohort, n_patches="16", width="7")
    bags = edit(cohort, width="6", n_patches="24")
    with pytest.raises(BagError, match="slide P000-0: 24 patches are no multiple of 16"):
        bags.check_regions(["P000", "P001"], "head 'adversarial'")


def test_a_multiple_of_sixteen_by_chance_is_no_region(cohort):
    edit(cohort, regions="true").check_regions(["P000", "P001"], "head 'adversarial'")
    bags = edit(cohort, regions="false")
    with pytest.raises(BagError, match="slide P000-0: every 16 rows of its imported features"):
        bags.check_regions(["P000", "P001"], "head 'adversarial'")
    bags.check_regions(["P001"], "head 'adversarial'")
