"""Work in a process of its own, which may crash or hang without taking anything with it."""

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

# Processes fork from a server that has imported what they need and holds no thread and no slide.
CONTEXT = multiprocessing.get_context("forkserver")
GRACE = 10  # seconds that a killed process has to go


class LostError(Exception):
    """The work has no result: its process crashed, hung or raised; the message says which."""


def run_apart(function: Callable, *arguments: object, seconds: float, **settings: object):
    """Call a function in a new process and return what it returns.

    Parameters
    ----------
    function : importable by its name.
    arguments, settings : of the function; they and the result travel between processes.
    seconds : most it may take.

    Raises
    ------
    LostError
        The process was killed, took too long (it is killed then), or the function raised; the
        cause is then the text of its traceback.
    """
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(
        target=_answer, args=(sender, function, arguments, settings), daemon=True
    )
    process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    try:
        if not receiver.poll(seconds):
            raise LostError(f"gave no answer within {seconds:g} s")
        result, error, details = receiver.recv()
    except (EOFError, ConnectionResetError):
        process.join(GRACE)
        raise LostError(_ending(process.exitcode)) from None
    finally:
        process.kill()
        process.join(GRACE)
        receiver.close()
    if error:
        raise LostError(error) from RuntimeError(details)
    return result


def _answer(sender: Connection, function: Callable, arguments: tuple, settings: dict) -> None:
    try:
        answer = function(*arguments, **settings), "", ""
    except Exception as error:
        answer = None, f"raised {type(error).__name__}: {error}", traceback.format_exc()
    sender.send(answer)


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"was killed by {signal.Signals(-exitcode).name}"
    return f"ended with exit code {exitcode}"
