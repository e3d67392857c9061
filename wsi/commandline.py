"""`python -m wsi STAGE key=value ...`: every job of the workflow, repeatable by hand."""

import errno
import importlib
import json
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# What may pass when tried again: a network disk that dropped, a stale handle, a slow server.
TRANSIENT = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO}
TRY_AGAIN = 75  # sysexits' EX_TEMPFAIL: the same command may succeed later or with more memory
LONGEST_COMMAND = 60_000  # characters; Linux refuses a single argument over 128 KiB

log = logging.getLogger(__name__)


class TryAgainError(Exception):
    """What failed may succeed when the job is tried again."""


def encode(settings: Mapping[str, object]) -> list[str]:
    """Return settings as ``key=value`` arguments: JSON, or plain text where that is unambiguous."""
    return [f"{key}={_encode_value(value)}" for key, value in settings.items()]


def _encode_value(value: object) -> str:
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def decode(arguments: Sequence[str]) -> dict[str, object]:
    """Return the settings that :func:`encode` wrote; ``@file.json`` stands for that file's."""
    settings: dict[str, object] = {}
    for argument in arguments:
        if argument.startswith("@"):
            settings |= json.loads(Path(argument[1:]).read_text())
            continue
        key, separator, value = argument.partition("=")
        if not separator:
            raise SystemExit(f"argument {argument!r}: expected key=value or @file.json.")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


def command_of(package: str, stage: str, settings: Mapping[str, object], spill: Path) -> list[str]:
    """Return the arguments of ``python`` that run a stage; long settings go to the file `spill`."""
    arguments = encode(settings)
    if sum(map(len, arguments)) > LONGEST_COMMAND:
        spill.write_text(json.dumps(dict(settings), indent=1) + "\n")
        arguments = [f"@{spill}"]
    return ["-m", package, stage, *arguments]


def main(package: str, stages: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run one stage and return the exit code.

    Parameters
    ----------
    package : ``wsi`` or ``mil``, for the messages.
    stages : name of each stage and the module that holds it (imported only when asked for).
    arguments : the name of the stage, then its settings.
    """
    if not arguments or arguments[0] not in stages:
        known = "\n  ".join(sorted(stages))
        print(
            f"usage: python -m {package} STAGE key=value ...\nstages:\n  {known}", file=sys.stderr
        )
        return 2
    stage, settings = arguments[0], decode(arguments[1:])
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s {stage}: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    logging.captureWarnings(True)
    try:
        getattr(importlib.import_module(stages[stage]), stage)(**settings)
    except MemoryError:
        log.exception("out of memory")
        return TRY_AGAIN
    except TryAgainError as error:
        log.exception("%s", error)
        return TRY_AGAIN
    except OSError as error:
        log.exception("%s", error)
        return TRY_AGAIN if error.errno in TRANSIENT else 1
    except ValueError as error:  # wrong tables or settings: the sentence is what the user needs
        log.error("%s", error, exc_info=not getattr(error, "is_sentence", False))
        return 1
    except Exception as error:
        log.exception("%s", error)
        return TRY_AGAIN if type(error).__name__ == "OutOfMemoryError" else 1
    return 0


def quoted(command: Sequence[str]) -> str:
    """Return a command as a line that a shell understands."""
    return shlex.join(["python", *command])
