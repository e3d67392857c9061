"""A stand-in for conda that solves and installs from a channel in a folder, and its channel.

Real: the solver and the installer (py-rattler), environments made from our files, activation, and
that an environment holds nothing but what its file names. Stand-ins: the channel has just `python`
and `pip`; its python is the one that runs the tests, whatever version it carries; and instead of
installing what a file takes from PyPI, the packages that the tests run with are linked. Anything
that Snakemake does not ask for today is an error, so that changes are noticed.
"""

import asyncio
import io
import json
import os
import subprocess
import sys
import tarfile
from hashlib import sha256
from importlib.metadata import distribution, requires
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

STAMP = 1_700_000_000  # every file of the channel is from then
CONDA = "#!/bin/sh\nexec '{python}' '{program}' '{channel}' \"$@\"\n"
ACTIVATE = 'export CONDA_PREFIX="$1"\nexport PATH="$1/bin:$PATH"\n'


def make_conda(folder: Path, python: str) -> Path:
    """Make a channel whose python says to have version `python`; return the folder for PATH."""
    channel, binaries = folder / "channel", folder / "bin"
    virtual = f"home = {Path(sys._base_executable).parent}\ninclude-system-site-packages = false\n"
    _add_package(
        channel, "python", python, {"pyvenv.cfg": virtual}, {"bin/python": sys._base_executable}
    )
    _add_package(channel, "pip", "26.0", {"share/pip": ""}, {}, depends=["python"])
    from rattler.index import index_fs

    asyncio.run(index_fs(channel))
    binaries.mkdir()
    for name, text in (
        ("conda", CONDA.format(python=sys.executable, program=__file__, channel=channel)),
        ("activate", ACTIVATE),
    ):
        (binaries / name).write_text(text)
        (binaries / name).chmod(0o755)
    return binaries


def link_packages(site: Path, names: list[str]) -> None:
    """Link the files of installed packages into a folder; one that is not here is an error."""
    for name in names:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(found.locate_file(top))


def from_pypi(environment: Path) -> list[str]:
    """Return the packages that an environment's file takes from PyPI on this machine.

    With them what they need on this Python alone, e.g. typing-extensions before 3.13.
    """
    dependencies = yaml.safe_load(environment.read_text())["dependencies"]
    wanted = map(Requirement, dependencies[-1]["pip"])
    names = [w.name for w in wanted if w.marker is None or w.marker.evaluate()]
    for name in names:  # which grows
        for needed in map(Requirement, requires(name) or ()):
            if "python_" in str(needed.marker) and needed.marker.evaluate({"extra": ""}):
                names += {canonicalize_name(needed.name)}.difference(names)
    return names


def _add_package(channel, name, version, files, links, depends=()):
    content = {path: text.encode() for path, text in files.items()}
    about = [
        {
            "_path": path,
            "path_type": "hardlink",
            "sha256": sha256(data).hexdigest(),
            "size_in_bytes": len(data),
        }
        for path, data in content.items()
    ] + [{"_path": path, "path_type": "softlink", "size_in_bytes": 0} for path in links]
    index = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "depends": list(depends),
        "subdir": "linux-64",
        "timestamp": STAMP * 1000,
    }
    content["info/index.json"] = json.dumps(index).encode()
    content["info/paths.json"] = json.dumps({"paths": about, "paths_version": 1}).encode()
    content["info/files"] = "\n".join([*files, *links]).encode()
    (channel / "linux-64").mkdir(parents=True, exist_ok=True)
    with tarfile.open(channel / "linux-64" / f"{name}-{version}-0.tar.bz2", "w:bz2") as archive:
        for path, data in content.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), STAMP
            archive.addfile(member, io.BytesIO(data))
        for path, target in links.items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname, member.mtime = tarfile.SYMTYPE, target, STAMP
            archive.addfile(member)


async def _create(channel: Path, file: Path, prefix: Path) -> None:
    """Do what ``conda env create --file file --prefix prefix`` does."""
    from rattler import Channel, install, solve

    wanted = yaml.safe_load(file.read_text())
    if wanted["channels"] != ["conda-forge", "nodefaults"]:
        raise SystemExit(f"channels are {wanted['channels']}: this is no channel of that name")
    specs = [spec for spec in wanted["dependencies"] if isinstance(spec, str)]
    records = await solve(
        [Channel(channel.resolve().as_uri())], specs, platforms=["linux-64", "noarch"]
    )
    await install(records, prefix, cache_dir=channel.parent / "cache", show_progress=False)
    site = subprocess.run(
        [prefix / "bin/python", "-c", "import site; print(site.getsitepackages()[0])"],
        check=True,
        capture_output=True,
        text=True,
    )
    site = Path(site.stdout.strip())
    if not site.is_relative_to(prefix):
        raise SystemExit(f"{prefix} is no environment of its own: it would use {site}")
    site.mkdir(parents=True, exist_ok=True)
    link_packages(site, from_pypi(file))


def main(channel: str, *arguments: str) -> None:
    """Answer what Snakemake asks conda for."""
    match arguments:
        case ("--version",):
            print("conda 24.7.1")
        case ("info", "--json"):
            print(json.dumps({"conda_prefix": str(Path(channel).parent), "platform": "linux-64"}))
        case ("config", "--get", "channel_priority", "--json"):
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ("env", "create", "--quiet", "--no-default-packages", "--file", file, "--prefix", at):
            asyncio.run(_create(Path(channel), Path(file), Path(at)))
        case ("clean", "-y", "--tarballs"):
            pass  # there are none beside the channel's
        case _:
            raise SystemExit(f"the tests' conda does not know: {' '.join(arguments)}")


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
