import subprocess
import sys

import pytest

from wsi import digest

FILES = {
    "__init__.py": "",
    "stage.py": """\
'''A stage.'''

from parcel.helper import double


def run(x):
    return double(x)
""",
    "helper.py": """\
'''Help.'''


def double(x):
    '''Twice x.'''
    return 2 * x  # twice
""",
    "relative.py": "from . import helper\nfrom .inner.deep import y\n",
    "inner/__init__.py": "",
    "inner/deep.py": "y = 1\n",
    "lazy.py": "def run():\n    import parcel.helper\n",
    "circular.py": "import parcel.circle\n",
    "circle.py": "import parcel.circular\n",
    "other.py": "z = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on disk; returns a function that edits a file and digests again."""
    for name, text in FILES.items():
        path = tmp_path / "parcel" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(digest, "PACKAGES", ("parcel",))

    def clear():
        digest._parsed.cache_clear()
        digest._source.cache_clear()

    def digest_after(module, name=None, old="", new=""):
        if name:
            path = tmp_path / "parcel" / name
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        clear()
        return digest.code_digest(module)

    yield digest_after
    clear()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("helper.py", "Twice x.", "x, twice."),  # docstring of a function
        ("helper.py", "'''Help.'''", "'''Help with\n\nnumbers.'''"),  # of a module, more lines
        ("helper.py", "  # twice", ""),
        ("stage.py", "\n\n\n", "\n\n\n\n# a thought\n\n"),
        ("other.py", "z = 1", "z = 2"),  # not imported
    ],
)
def test_prose_and_strangers_do_not_change_the_digest(package, name, old, new):
    before = package("parcel.stage")
    assert package("parcel.stage", name, old, new) == before


@pytest.mark.parametrize(
    ("module", "name", "old", "new"),
    [
        ("parcel.stage", "stage.py", "double(x)\n", "double(x) + 1\n"),
        ("parcel.stage", "helper.py", "2 * x", "3 * x"),  # imported by name
        ("parcel.relative", "helper.py", "2 * x", "3 * x"),  # from . import
        ("parcel.relative", "inner/deep.py", "y = 1", "y = 2"),
        ("parcel.lazy", "helper.py", "2 * x", "3 * x"),  # imported inside a function
        ("parcel.circular", "circle.py", "import", "x = 1\nimport"),
    ],
)
def test_code_of_the_stage_or_of_what_it_imports_changes_the_digest(
    package, module, name, old, new
):
    before = package(module)
    assert package(module, name, old, new) != before


def test_a_string_that_is_used_is_code(package):
    before = package("parcel.other", "other.py", "z = 1", 'z = "a"')
    assert package("parcel.other", "other.py", '"a"', '"b"') != before


def test_a_module_that_does_not_exist_is_an_error(package):
    with pytest.raises(ModuleNotFoundError, match=r"parcel\.stages is no module of parcel"):
        package("parcel.stages")


def test_the_digest_is_the_same_in_another_process_and_imports_nothing_heavy():
    program = (
        "import sys; from wsi.digest import code_digest; print(code_digest('wsi.extract', "
        "'mil.training')); assert not {'torch', 'cv2'} & set(sys.modules), 'heavy imports'"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert found == {digest.code_digest("wsi.extract", "mil.training")}


def test_an_encoder_counts_for_extraction_and_not_for_tissue(monkeypatch):
    """What the stages of this project import."""
    seen = []
    parsed = digest._parsed

    def watched(module):
        seen.append(module)
        return parsed(module)

    monkeypatch.setattr(digest, "_parsed", watched)
    digest.code_digest("wsi.tissue")
    assert {"wsi.reader", "wsi.scale", "wsi.storage"} <= set(seen)
    assert "wsi.encoders" not in seen
    seen.clear()
    digest.code_digest("wsi.extract")
    assert {"wsi.encoders", "wsi.resnet", "wsi.reader"} <= set(seen)


def test_a_release_alone_changes_nothing(package):
    first = package("parcel.stage", "helper.py", "def double", "__version__ = '1'\n\ndef double")
    assert package("parcel.stage", "helper.py", "'1'", "'2'") == first
