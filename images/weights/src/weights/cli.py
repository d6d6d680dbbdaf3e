"""The command line: ``python -m weights stage|convert|verify|ls …``, as the contract lists it."""

import argparse
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from weights import __version__
from weights.commands import Commands
from weights.contract import Command, contract
from weights.errors import Failure, Interrupted
from weights.formats import FORMATS
from weights.progress import Progress
from weights.settings import read_settings

_CODE_OF_A_BUG = 1

_PLACE = (
    r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/\s]+)+|(?!\w+://).+",
    "gs://BUCKET/PREFIX without a slash at its end, or a folder",
)
# What each argument may look like, and how to say so.
_FORMS = {
    "--repo": (r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", "OWNER/NAME or NAME"),
    "--revision": (r"[0-9a-f]{40}", "a commit, 40 hex digits; a branch may move"),
    "--source": _PLACE,
    "--target": _PLACE,
    "TARGET": _PLACE,
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
        _run(_parse(arguments))
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


def _run(options: argparse.Namespace) -> None:
    logging.disable(logging.WARNING)  # of libraries: stderr is for one line
    progress = Progress(sys.stdout)
    commands = Commands(read_settings(os.environ), progress)
    given = {name.lower(): value for name, value in vars(options).items() if name != "command"}
    call: dict[str, Callable[..., None]] = {
        contract().command: commands.stage,
        "convert": commands.convert,
        "import": commands.import_checkpoint,
        "verify": commands.verify,
        "ls": commands.list,
    }
    try:
        call[options.command](**given)
    except BaseException:
        commands.patience.give_up()
        raise
    finally:
        progress.finish()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    codes = ", ".join(f"{code} {name}" for name, code in contract().exit_codes.items())
    formats = "; ".join(
        f"{name} ({', '.join(each.dtypes)}): {each.meaning}" for name, each in FORMATS.items()
    )
    parser = _Parser(prog="weights", description=__doc__, epilog=f"Exit codes: {codes}.")
    parser.add_argument("--version", action="version", version=f"weights {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    stage = Command("stage a checkpoint of the Hub in a bucket or folder", contract().arguments)
    for name, command in {contract().command: stage, **contract().commands}.items():
        about = f"Formats: {formats}. " if "--format" in command.arguments else ""
        subparser = commands.add_parser(name, help=command.meaning, epilog=f"{about}Exit codes: {codes}.")
        for argument, meaning in command.arguments.items():
            if argument.startswith("--"):
                subparser.add_argument(argument, required=True, help=meaning)
            else:
                subparser.add_argument(argument, help=meaning)
    parsed = parser.parse_args(arguments)
    _check(vars(parsed))
    return parsed


def _check(given: dict[str, str]) -> None:
    """Refuse values of the wrong form."""
    for text in given.values():
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise Failure("usage", f"{text!r} is no text in UTF-8, as the manifest has to have it")
    for argument, (form, meaning) in _FORMS.items():
        value = given.get(argument.removeprefix("--"))
        if value is not None and not re.fullmatch(form, value, re.ASCII):
            raise Failure("usage", f"{argument} is {value!r}; it has to be {meaning}")
    if "format" not in given:
        return
    if given["format"] not in FORMATS:
        raise Failure("usage", f"--format is {given['format']!r}; it has to be one of {', '.join(FORMATS)}")
    dtypes = FORMATS[given["format"]].dtypes
    if given["dtype"] not in dtypes:
        raise Failure(
            "usage",
            f"--dtype is {given['dtype']!r}; for {given['format']} it has to be one of {', '.join(dtypes)}",
        )


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
