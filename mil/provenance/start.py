"""How a run was started: what only the process that was started knows."""

import getpass
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from wsi.storage import write_json


def describe_start(
    path: str | Path,
    command: str,
    project: str | Path,
    snakemake: str,
    packages: Mapping[str, str],
) -> None:
    """Write ``command, started, user, snakemake, packages``; of a checkout ``commit, changed``.

    Parameters
    ----------
    path : output, JSON.
    command : as it was typed.
    project : folder of the workflow.
    snakemake : its version.
    packages : versions of other packages, where jobs run.
    """
    commit = _git(project, "rev-parse", "HEAD")
    content = {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "user": _user(),
        "snakemake": snakemake,
        "packages": dict(packages),
    }
    if commit:
        changed = bool(_git(project, "status", "--porcelain"))
        content |= {"commit": commit.strip(), "changed": changed}
    write_json(path, content)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _git(project: str | Path, *command: str) -> str:
    """Return what git prints; nothing where it is missing, or the folder is no checkout."""
    try:
        told = subprocess.run(
            ["git", "-C", str(project), *command], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout if told.returncode == 0 else ""
