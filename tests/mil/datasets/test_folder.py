"""Bags in folders, written and read; public sets by their layout."""

import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_cohort import write_cohort

from mil.bag_folder import BagFolder
from mil.bags import Bag, BagError
from mil.data import feature_edges, joined
from mil.datasets import (
    FolderBags,
    StoredGraphs,
    WorkflowBags,
    camelyon16,
    clam,
    panda,
    rsna,
    single_concept,
    tad,
    trident,
    write_bags,
)

RANDOM = np.random.RandomState(0)


def some_bags(count=4):
    bags = []
    for i in range(count):
        n = 3 + i
        bags.append(
            Bag.single(
                torch.from_numpy(RANDOM.standard_normal((n, 5)).astype(np.float32)),
                f"bag{i}",
                coords=torch.from_numpy(RANDOM.randint(0, 99, (n, 2))),
                label=torch.tensor([i % 2]),
                instance_label=torch.tensor([i % 2] + [0] * (n - 1)),
            )
        )
    return bags


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_there_and_back_is_the_same(tmp_path, suffix):
    bags = some_bags()
    write_bags(bags, tmp_path, suffix=suffix)
    found = FolderBags.below(tmp_path)
    assert found.names == ("bag0", "bag1", "bag2", "bag3")
    assert found.labels.tolist() == [0, 1, 0, 1]
    for one, other in zip(bags, found, strict=True):
        for name in ("features", "coords", "label", "instance_label"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert other.ids == one.ids
    stored = found.files["coords"].read("bag2")
    assert stored.tolist() == bags[2].coords.flip(1).tolist()  # row, column


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc tells what is mapped")
@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_float32_features_stay_in_their_file(tmp_path, suffix):
    write_bags(some_bags(), tmp_path, suffix=suffix)
    found = FolderBags.below(tmp_path)
    maps = {line for line in open("/proc/self/maps") if "bag1" in line}
    bag = found[1]
    mapped = {line for line in open("/proc/self/maps") if f"features/bag1{suffix}" in line}
    assert mapped
    assert not maps
    before = bag.features.clone()
    bag.features.zero_()  # a private map: the file stays as it is
    assert torch.equal(found[1].features, before)


def test_other_forms_of_the_arrays(tmp_path):
    for name in ("features", "labels", "inst_labels", "coords"):
        (tmp_path / name).mkdir()
    x = RANDOM.standard_normal((1, 4, 3)).astype(np.float16)
    with h5py.File(tmp_path / "features" / "a.h5", "w") as file:
        file.create_dataset("features", data=x, chunks=True, compression="gzip")
    np.save(tmp_path / "labels" / "a.npy", np.array([1.0]))
    np.save(tmp_path / "inst_labels" / "a.npy", np.array([[0], [1], [-1], [0]]))
    np.save(tmp_path / "coords" / "a.npy", np.arange(4)[:, None])
    bag = FolderBags.below(tmp_path)[0]
    assert bag.features.dtype == torch.float32
    assert torch.equal(bag.features, torch.from_numpy(x[0]).float())
    assert bag.label.tolist() == [1]
    assert bag.instance_label.tolist() == [0, 1, -1, 0]
    assert bag.coords.tolist() == [[0, 0], [1, 0], [2, 0], [3, 0]]


def written(root, label, instances):
    for name in ("features", "labels", "inst_labels"):
        (root / name).mkdir(exist_ok=True)
    np.save(root / "features" / "a.npy", np.zeros((3, 2), np.float32))
    if label is not None:
        np.save(root / "labels" / "a.npy", label)
    else:
        (root / "labels").rmdir()
    if instances is not None:
        np.save(root / "inst_labels" / "a.npy", np.array(instances))
    else:
        (root / "inst_labels").rmdir()
    return FolderBags.below(root)


@pytest.mark.parametrize(
    ("label", "instances", "expected"),
    [
        (0, None, [0, 0, 0]),
        (1, None, [-1, -1, -1]),
        (1, [0, 1, 0], [0, 1, 0]),
        (1, [0, -1, 0], [0, -1, 0]),  # the one unknown may be the positive one
        (None, [0, 1, -1], [0, 1, -1]),
    ],
)
def test_a_bag_is_positive_if_one_of_its_instances_is(tmp_path, label, instances, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bag = written(tmp_path, label, instances)[0]
    assert bag.instance_label.tolist() == expected
    assert bag.label.item() == (1 if label is None else label)


@pytest.mark.parametrize(("label", "instances"), [(0, [0, 1, -1]), (1, [0, 0, 0])])
def test_labels_that_contradict_each_other_are_unknown(tmp_path, label, instances):
    bags = written(tmp_path, label, instances)
    with pytest.warns(UserWarning, match=f"bag a: its label is {label}, but the largest"):
        assert bags[0].instance_label.tolist() == [-1, -1, -1]


def test_mistakes_are_told_at_once(tmp_path):
    write_bags(some_bags(), tmp_path)
    (tmp_path / "labels" / "bag1.npy").unlink()
    with pytest.raises(BagError, match=r"labels: no file of bag bag1 \(bag1.npy"):
        FolderBags.below(tmp_path)
    np.save(tmp_path / "labels" / "bag1.npy", 3)
    with pytest.raises(BagError, match="bag bag1: its label is 3; it must be 0 or 1"):
        _ = FolderBags.below(tmp_path).labels
    assert FolderBags.below(tmp_path, binary=False).labels.tolist() == [0, 3, 0, 1]
    np.save(tmp_path / "inst_labels" / "bag0.npy", np.zeros(9))
    with pytest.raises(BagError, match="bag bag0: 9 rows of inst_labels for 3 of features"):
        FolderBags.below(tmp_path, binary=False)[0]
    (tmp_path / "features" / "bag2.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(BagError, match=r"bag2\.npy: holds no features that can be read"):
        FolderBags.below(tmp_path, binary=False)[2]
    with pytest.raises(BagError, match=r"no such folder\. It should hold features"):
        FolderBags.below(tmp_path / "nowhere")
    with pytest.raises(BagError, match="bag 0: 0 names"):
        write_bags([Bag.single(torch.zeros(2, 2))], tmp_path)


def test_the_cache_is_bounded(tmp_path):
    bags = single_concept(6, background=(4, 4))
    write_bags(bags, tmp_path)
    size = max(bag.features.nbytes for bag in bags)
    found = FolderBags.below(tmp_path, binary=False, cache=2 * size)
    first = found[0]
    assert found[0] is first
    for index in range(1, 6):
        found[index]
        assert sum(bag.features.nbytes for bag in found._cached.values()) <= 2 * size
    assert found[0] is not first
    none = FolderBags.below(tmp_path, binary=False)
    assert none[0] is not none[0]


@pytest.mark.parametrize("published", [camelyon16, panda])
def test_patches_of_slides_as_published(tmp_path, published):
    bags, folder = some_bags(), tmp_path / "patches_512"
    write_bags(bags, tmp_path / "plain")
    (tmp_path / "plain" / "inst_labels").rename(tmp_path / "plain" / "patch_labels")
    (tmp_path / "plain").rename(folder)
    (folder / "features").rename(folder / "features_UNI")
    (folder / "features").mkdir()
    (folder / "features_UNI").rename(folder / "features" / "features_UNI")
    splits = {"bag_name": ["bag2", "bag0", "bag3"], "split": ["test", "train", "train"]}
    pd.DataFrame(splits).to_csv(tmp_path / "splits.csv", index=False)
    train, test = published(tmp_path), published(tmp_path, split="test")
    assert train.names == ("bag0", "bag3")
    assert test.names == ("bag2",)
    assert torch.equal(test[0].features, bags[2].features)
    assert torch.equal(train[1].instance_label, bags[3].instance_label)
    with pytest.raises(BagError, match="no bag of split 'validation'; there are test, train"):
        published(tmp_path, split="validation")


def test_scans_and_videos_are_in_order(tmp_path):
    write_bags(some_bags(), tmp_path)
    splits = {"bag_name": ["bag2", "bag1"], "split": ["train", "train"]}
    pd.DataFrame(splits).to_csv(tmp_path / "splits.csv", index=False)
    (tmp_path / "inst_labels").rename(tmp_path / "frame_labels")
    video = tad(tmp_path)[1]
    assert video.coords.tolist() == [[i, 0] for i in range(5)]
    assert video.label.tolist() == [0]
    (tmp_path / "frame_labels").rename(tmp_path / "slice_labels")
    (tmp_path / "features").rename(tmp_path / "features_resnet50")
    (tmp_path / "features").mkdir()
    (tmp_path / "features_resnet50").rename(tmp_path / "features" / "features_resnet50")
    assert rsna(tmp_path)[1].coords.tolist() == video.coords.tolist()


def slides_of(folder, count=3):
    folder.mkdir(parents=True)
    arrays = {}
    for i in range(count):
        features = RANDOM.standard_normal((4, 6)).astype(np.float32)
        coords = np.stack([np.arange(4) * 512, np.arange(4) * 256], 1)
        with h5py.File(folder / f"S{i}.h5", "w") as file:
            file["features"], file["coords"] = features, coords
        arrays[f"S{i}"] = features, coords
    return arrays


def label_table(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_tridents_output(tmp_path):
    arrays = slides_of(tmp_path / "20x_256px_0px_overlap" / "features_uni")
    table = label_table(
        tmp_path / "labels.csv", slide=["S0.svs", "S2.svs", "S1.svs"], kind=["a", "b", "c"]
    )
    given = {"labels": table, "name": "slide", "label": "kind"}
    bags = trident(tmp_path, "uni", **given, classes=["a", "c", "b"])
    assert bags.labels.tolist() == [0, 1, 2]
    assert bags[2].coords.tolist() == arrays["S2"][1].tolist()  # x, y
    assert torch.equal(bags[0].features, torch.from_numpy(arrays["S0"][0]))
    assert trident(tmp_path, "uni")[0].label is None
    with pytest.raises(BagError, match=r"line 3, bag S2.svs: kind is 'b'; it must be one of a, c"):
        trident(tmp_path, "uni", **given, classes=["a", "c"])
    with pytest.raises(BagError, match="no column 'slide_id'; did you mean slide"):
        trident(tmp_path, "uni", labels=table)
    with pytest.raises(BagError, match="features_conch is in none of it"):
        trident(tmp_path, "conch")
    slides_of(tmp_path / "10x_256px_0px_overlap" / "features_uni")
    with pytest.raises(BagError, match="say which"):
        trident(tmp_path, "uni")
    few = label_table(tmp_path / "few.csv", slide_id=["S0"], label=[1])
    with pytest.raises(BagError, match="no row for 2 of 3 bags: S1, S2"):
        trident(tmp_path, "uni", labels=few, patching="10x_256px_0px_overlap")


def test_trident_features_without_coordinates_take_those_of_the_patches(tmp_path):
    folder = tmp_path / "20x_256px_0px_overlap"
    arrays = slides_of(folder / "features_uni", 1)
    with h5py.File(folder / "features_uni" / "S0.h5", "a") as file:
        del file["coords"]
    (folder / "patches").mkdir()
    with h5py.File(folder / "patches" / "S0_patches.h5", "w") as file:
        file["coords"] = arrays["S0"][1]
    assert trident(tmp_path, "uni")[0].coords.tolist() == arrays["S0"][1].tolist()


def test_clams_output(tmp_path):
    arrays = slides_of(tmp_path / "h5_files")
    listing = {"slide_id": ["S0.svs", "S1.svs", "S2.svs", "S3.svs"], "status": "processed"}
    pd.DataFrame(listing).to_csv(tmp_path / "process_list_autogen.csv", index=False)
    table = label_table(tmp_path / "labels.csv", slide_id=["S0", "S1", "S2"], label=[0, 1, 1])
    with pytest.warns(UserWarning, match="1 slides of it have no features: S3"):
        bags = clam(tmp_path, labels=table)
    assert bags.labels.tolist() == [0, 1, 1]
    assert bags[0].instance_label.tolist() == [0] * 4
    assert bags[1].coords.tolist() == arrays["S1"][1].tolist()

    (tmp_path / "h5_files").rename(tmp_path / "old")
    (tmp_path / "pt_files").mkdir()
    for name, (features, _) in arrays.items():
        torch.save(torch.from_numpy(features), tmp_path / "pt_files" / f"{name}.pt")
    (tmp_path / "process_list_autogen.csv").unlink()
    tensors = clam(tmp_path, labels=table)
    assert torch.equal(tensors[2].features, torch.from_numpy(arrays["S2"][0]))
    assert tensors[2].coords is None


def test_the_workflows_features_are_not_copied(tmp_path):
    root = write_cohort(tmp_path, patients=4, patches=16, width=6)
    patients = list(BagFolder(root / "cohort.csv", root))
    labels = dict(zip(patients[:3], [0, 2, 1], strict=True))
    bags = WorkflowBags(root / "cohort.csv", root, labels, needs=["coords"])
    assert bags.names == tuple(patients[:3])
    assert bags.labels.tolist() == [0, 2, 1]
    bag = bags[1]
    assert bag.label.tolist() == [2]
    assert bag.coords.shape == (len(bag.features), 2)
    assert len(WorkflowBags(root / "cohort.csv", root)) == 4
    with pytest.raises(BagError, match="labels of none of its patients"):
        WorkflowBags(root / "cohort.csv", root, {"nobody": 1})


def test_graphs_are_made_once(tmp_path):
    made = []

    def make(bag):
        made.append(bag.ids[0])
        return joined(bag, feature_edges(bag, 2), "cosine")

    write_bags(some_bags(), tmp_path / "bags")
    bags = StoredGraphs(FolderBags.below(tmp_path / "bags"), make, tmp_path / "graphs")
    first, second = bags[3], bags[3]
    assert made == ["bag3"]
    assert torch.equal(first.edge_index, second.edge_index)
    assert torch.equal(first.edge_weight, second.edge_weight)
    np.save(tmp_path / "bags" / "features" / "bag3.npy", np.ones((6, 5), np.float32))
    assert not torch.equal(bags[3].edge_weight, first.edge_weight)
    assert made == ["bag3", "bag3"]
    assert bags.labels.tolist() == [0, 1, 0, 1]
