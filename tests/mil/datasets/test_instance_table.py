"""Classical sets as tables."""

from pathlib import Path

import pytest

from mil.bags import BagError
from mil.datasets import instance_table

REAL = Path(__file__).parents[4] / "shared/data/features"


def test_rows_of_a_bag_need_not_be_together(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text("1,b,0.5,2\n0,a,1,1\n1,b,3,4\n")
    bags = instance_table(path)
    assert bags.names == ("b", "a")
    assert bags.labels.tolist() == [1, 0]
    assert bags[0].features.tolist() == [[0.5, 2], [3, 4]]
    path.write_text("1,b,0.5,2\n0,b,1,1\n")
    with pytest.raises(BagError, match=r"small.csv: bag b has labels \[0.0, 1.0\]"):
        instance_table(path)
    path.write_text("1,b,0.5,2\n1,b,?,1\n")
    with pytest.raises(BagError, match=r"small.csv, line 2, column 3: '\?' is no number"):
        instance_table(path)


@pytest.mark.parametrize(
    ("name", "bags", "positive", "instances", "width"),
    [("musk1", 92, 47, 476, 166), ("elephant", 200, 100, 1391, 230)],
)
def test_the_published_sets(name, bags, positive, instances, width):
    path = REAL / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there: the classical sets are no part of the repository")
    found = instance_table(path)
    assert len(found) == bags
    assert int(found.labels.sum()) == positive
    assert sum(len(bag.features) for bag in found) == instances
    assert found[0].features.shape[1] == width
