"""Progress as a person sees it on a terminal, and as Cloud Logging gets it."""

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import termios
import threading

from checkpoint import single
from weights.progress import Progress

MIB = 1024 * 1024


def counted(stream: io.StringIO) -> list[dict]:
    return [line for line in map(json.loads, stream.getvalue().splitlines()) if "eta" in line]


def on_a_terminal(program, **changes: str) -> tuple[int, str]:
    """Run the program with a pseudo-terminal of 80 columns as its standard output."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = program.start(stdout=slave, TERM="xterm", **changes)
    os.close(slave)
    seen = bytearray()
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # how Linux tells that the other side is closed
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    _, err = process.communicate(timeout=60)
    assert err == ""
    return process.returncode, seen.decode()


def test_a_terminal_gets_a_bar_that_reaches_its_end_and_lines_without_json(hub, program):
    hub.blobs = single(elements=6_000_000)
    code, seen = on_a_terminal(program)
    assert code == 0
    assert "{" not in seen
    assert "\r" in seen
    assert "100%|" in seen
    assert "MB/s" in seen or "GB/s" in seen
    assert "acme/tiny is staged in gs://models/" in seen


def test_a_warning_does_not_tear_the_bar(hub, program):
    hub.blobs = single(elements=6_000_000)
    hub.storm_on = "model.safetensors"
    begun = []

    def storm() -> None:
        # Two of these are for the header, before there is a bar.
        if hub.asked["model.safetensors"] > 2 and not begun:
            begun.append(True)
            hub.storm = 2

    hub.watch = storm
    code, seen = on_a_terminal(program)
    assert code == 0
    shown = [part for line in seen.split("\n") for part in line.split("\r")]
    warnings = [part for part in shown if "answered 503" in part]
    assert len(warnings) == 2
    assert all(part.startswith("127.0.0.1 answered 503") and "%|" not in part for part in warnings)


def test_lines_of_the_count_are_rate_limited_and_the_last_one_is_always_written():
    stream = io.StringIO()
    progress = Progress(stream, pause=3600)
    progress.expect(100)
    for _ in range(100):
        progress.add(1)
    (line,) = counted(stream)
    assert (line["bytes"], line["total"], line["eta"], line["severity"]) == (100, 100, 0, "INFO")


def test_rate_and_time_left_follow_from_what_was_moved():
    stream = io.StringIO()
    progress = Progress(stream, pause=0)
    progress.expect(4 * MIB)
    progress.drop(2 * MIB)
    progress.add(MIB)
    (line,) = counted(stream)
    assert (line["bytes"], line["total"]) == (MIB, 2 * MIB)
    assert line["rate"] > 0
    assert line["eta"] == round(MIB / line["rate"])


def test_lines_from_several_threads_are_whole():
    stream = io.StringIO()
    progress = Progress(stream)
    threads = [
        threading.Thread(target=lambda n=n: [progress.warn(f"{n}", n=n) for _ in range(200)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 800
    assert {line["severity"] for line in lines} == {"WARNING"}


def test_a_job_does_not_import_what_only_a_terminal_needs(program):
    script = "import sys; from weights.cli import main; main(sys.argv[1:]); print('tqdm' in sys.modules)"
    process = program.start(command=("-c", script), stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "False"
