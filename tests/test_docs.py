"""The site of the documentation: it builds without a warning, and every model has its page."""

import subprocess
import sys
from pathlib import Path

import pytest

from mil.models import MODELS, model_names

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="Sphinx is not installed (extra docs)")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    built = subprocess.run(
        [*command, "-d", out / "trees", ROOT / "docs", out / "html"], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return out / "html"


def test_every_model_has_a_page_with_its_formula_and_options(site):
    for name in model_names():
        page = (site / "models" / f"{name}.html").read_text()
        assert MODELS.find(name).__name__ in page
        assert "arameters" in page
        assert "<strong>in_dim</strong>" in page


def test_every_page_is_reached(site):
    written = {path.stem for path in (ROOT / "docs").glob("*.md")}
    contents = (site / "index.html").read_text()
    for name in written - {"index"}:
        assert f'href="{name}.html"' in contents, name


def test_descriptions_move_below_their_names():
    from docstrings import described

    lines = ["Title : here", "", "Parameters", "----------", "a, b : widths : of", "c", "    deep"]
    assert described(lines) == [*lines[:4], "a, b", "    widths : of", "c", "    deep"]
