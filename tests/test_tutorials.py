"""The tutorials run as they are printed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FEATURES = ROOT / "../shared/data/features"
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_it_runs_and_says_what_it_says(tutorial, tmp_path, capsys):
    text = tutorial.read_text()
    if "musk1" in text and not FEATURES.exists():
        pytest.skip(f"{FEATURES} is not there: the tutorial reads musk1")
    scope = {"data": FEATURES, "folder": tmp_path}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, str(tutorial), "exec"), scope)
    printed = capsys.readouterr().out
    for said in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
        assert said in printed
