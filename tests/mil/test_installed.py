"""The check of what is installed before a run."""

from importlib.metadata import PackageNotFoundError

import pytest

from mil import installed
from mil.problems import InputError

LOCK = """\
numpy==2.4.6 ; python_full_version < '3.0'
numpy==2.5.5 ; python_full_version >= '3.0'
opencv-python-headless==5.0
torch==2.15.0
"""


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """The check of a project that needs numpy, torch and OpenCV, where some are installed."""

    def check(**versions):
        def version(name):
            if name not in versions:
                raise PackageNotFoundError(name)
            return versions[name]

        needed = '["numpy", "torch>=2", "OpenCV_python-headless"]'
        (tmp_path / "pyproject.toml").write_text(f"[project]\ndependencies = {needed}\n")
        (tmp_path / "requirements.lock").write_text(LOCK)
        monkeypatch.setattr(installed, "version", version)
        return installed.check_installed(tmp_path)

    return check


def test_nothing_is_said_where_all_is_as_tested(checked):
    assert checked(numpy="2.5.5", torch="2.15.0", **{"opencv-python-headless": "5.0"}) == ""


def test_a_build_of_the_same_version_is_the_same(checked):
    assert checked(numpy="2.5.5", torch="2.15.0+cu126", **{"opencv-python-headless": "5.0"}) == ""


def test_other_versions_are_named(checked):
    told = checked(numpy="2.4.6", torch="2.15.0", **{"opencv-python-headless": "5.0.1"})
    assert "numpy 2.4.6 (tested: 2.5.5), opencv-python-headless 5.0.1 (tested: 5.0)" in told
    assert "torch" not in told


def test_missing_packages_stop_and_the_mend_is_told(checked, tmp_path):
    with pytest.raises(InputError) as error:
        checked(numpy="2.4.6")
    told = str(error.value)
    assert told.startswith("This Python lacks torch, opencv-python-headless,")
    assert f"pip install -r {tmp_path / 'requirements.lock'}`" in told
    assert "--use-conda" in told


def test_versions_are_those_of_where_jobs_run(tmp_path, monkeypatch):
    def version(name):
        if name == "numpy":
            return "2.4.0"
        raise PackageNotFoundError(name)

    (tmp_path / "requirements.lock").write_text(LOCK)
    monkeypatch.setattr(installed, "version", version)
    assert installed.versions_of_jobs(tmp_path, here=True) == {"numpy": "2.4.0"}
    assert installed.versions_of_jobs(tmp_path, here=False) == {
        "torch": "2.15.0",
        "numpy": "2.5.5",
        "opencv-python-headless": "5.0",
    }
