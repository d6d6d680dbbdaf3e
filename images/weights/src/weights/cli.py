"""The command line: ``python -m weights stage …``, as the contract lists it."""

import argparse
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from weights import __version__
from weights.contract import contract
from weights.errors import Failure, Interrupted
from weights.gcs import Bucket
from weights.hub import HubRepository
from weights.manifest import Request
from weights.progress import Progress
from weights.settings import read_settings
from weights.stage import Staging
from weights.transport import Patience

_CODE_OF_A_BUG = 1

# What each argument may look like, and how to say so.
_FORMS = {
    "--repo": (r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", "OWNER/NAME or NAME"),
    "--revision": (r"[0-9a-f]{40}", "a commit, 40 hex digits; a branch may move"),
    "--target": (
        r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/\s]+)+",
        "gs://BUCKET/PREFIX without a slash at its end",
    ),
    "--format": (r"safetensors", "safetensors"),
    "--dtype": (r"float32|float16|bfloat16", "float32, float16 or bfloat16"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Failure("usage", f"{message} (--help lists the arguments)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: As on the command line, without the program's name; by default those of this process.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        _stage(_parse(arguments))
    except Failure as failure:
        _complain(f"{failure.kind}: {failure}")
        return failure.exit_code
    except Interrupted:
        _complain(
            "interrupted: stopped before the model was complete; the next run goes on from the finished files"
        )
        return contract().exit_codes["interrupted"]
    except Exception as error:
        _complain(f"bug: {type(error).__name__} in {_place(error)}; please report it")
        return _CODE_OF_A_BUG
    return contract().exit_codes["ok"]


def _stage(options: argparse.Namespace) -> None:
    logging.disable(logging.WARNING)  # of libraries: stderr is for one line
    settings = read_settings(os.environ)
    progress = Progress(sys.stdout)
    patience = Patience(settings.retry_seconds, settings.permission_seconds, progress.warn)
    request = Request(options.repo, options.revision, options.format, options.dtype)
    source = partial(HubRepository, settings.hub, settings.token, options.repo, options.revision, patience)
    try:
        Staging(request, source, Bucket(options.target, settings, patience), progress).run()
    except BaseException:
        patience.give_up()
        raise


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    codes = ", ".join(f"{code} {name}" for name, code in contract().exit_codes.items())
    parser = _Parser(prog="weights", description=__doc__, epilog=f"Exit codes: {codes}.")
    parser.add_argument("--version", action="version", version=f"weights {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        contract().command, help="stage a checkpoint of the Hub in a bucket", epilog=f"Exit codes: {codes}."
    )
    for flag, meaning in contract().arguments.items():
        command.add_argument(flag, required=True, help=meaning)
    options = parser.parse_args(arguments)
    for flag, (form, meaning) in _FORMS.items():
        value = getattr(options, flag.removeprefix("--"))
        if not re.fullmatch(form, value, re.ASCII):
            raise Failure("usage", f"{flag} is {value!r}; it has to be {meaning}")
    return options


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # Once: what follows is the cleaning up, which another signal must not cut short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise Interrupted


def _place(error: Exception) -> str:
    """File and line of this package that an error passed last."""
    package = Path(__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if package in Path(frame.filename).parents
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _complain(line: str) -> None:
    sys.stderr.write(f"weights: {line}\n")
    sys.stderr.flush()
