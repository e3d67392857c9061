"""Whether this Python has the packages that jobs need, in the versions that were tested."""

import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from mil.problems import InputError, listed

DECIDING = (
    "torch",
    "timm",
    "numpy",
    "scipy",
    "pandas",
    "h5py",
    "openslide-python",
    "openslide-bin",
    "opencv-python-headless",
    "matplotlib",
)
"""Packages that decide results or how they look."""


def check_installed(project: str | Path) -> str:
    """Return a sentence about packages in other versions than the lock's; nothing if none is.

    A version with a suffix, e.g. ``2.15.0+cu126`` of PyTorch's own index, is the version itself.

    Parameters
    ----------
    project : folder of ``pyproject.toml``, which names the packages, and ``requirements.lock``.

    Raises
    ------
    InputError : if packages are missing.
    """
    project = Path(project)
    names = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = locked_versions(project / "requirements.lock")
    missing, others = [], []
    for name in (canonicalize_name(Requirement(line).name) for line in names):
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if Version(found).public != locked[name]:
            others.append(f"{name} {found} (tested: {locked[name]})")
    if missing:
        lock = project / "requirements.lock"
        raise InputError(
            [
                f"This Python lacks {listed(missing)}, which jobs need. Install what was tested, "
                f"`python -m pip install -r {lock}`, or let jobs have environments of their own: "
                "`snakemake --use-conda` (docs/environments.md)."
            ]
        )
    if not others:
        return ""
    return (
        f"Other versions than those of requirements.lock are installed: {listed(others)}. Results "
        "may differ from those that were tested."
    )


def versions_of_jobs(project: str | Path, *, here: bool) -> dict[str, str]:
    """Return the version of each package that decides results, where jobs run.

    Parameters
    ----------
    project : folder of ``requirements.lock``.
    here : jobs run in this Python, and what is installed counts. Otherwise they run in the
        environments of ``envs/`` or in an image, which have the lock's versions.
    """
    if not here:
        locked = locked_versions(Path(project) / "requirements.lock")
        return {name: locked[name] for name in DECIDING if name in locked}
    found = {}
    for name in DECIDING:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def locked_versions(lock: str | Path) -> dict[str, str]:
    """Return the version of each package that a lock file has for this Python."""
    wanted = [Requirement(line) for line in Path(lock).read_text().splitlines() if line]
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in wanted
        if requirement.marker is None or requirement.marker.evaluate()
    }
