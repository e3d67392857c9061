"""docs/data-sets.md is executed as it stands."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/data-sets.md"


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    found = {}
    for block in blocks:
        exec(block, found)
    assert found["output"].logits.shape == (2, 3)
    assert len(found["bags"]) == 20


def test_its_names_exist():
    import mil.data
    import mil.datasets
    import mil.froc
    import mil.instance_metrics

    known = {*mil.data.__all__, *mil.datasets.__all__, *dir(mil.froc), *dir(mil.instance_metrics)}
    table = re.findall(r"^\|[^|]*\|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    calls = set(re.findall(r"(\w+)\(", " ".join(table))) - {"DataLoader"}
    assert len(calls) > 10
    assert calls <= known
