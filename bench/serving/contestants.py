"""Who takes part: how each is started, asked and read, and the settings among which it gets its best."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.serving.load import Form
from bench.serving.servers import Server, free_ports

ROOT = Path(__file__).parents[2]
SERVE_PYTHON = ROOT / "images/serve/.venv/bin/python"
WEIGHTS_PYTHON = ROOT / "images/weights/.venv/bin/python"
TORCHSERVE_PYTHON = ROOT / "images/torchserve/.venv/bin/python"
FLASK_PYTHON = Path(__file__).parent / ".venv/bin/python"
NEW_TOKENS = 32
MODEL_NAME = "small-t5"
QUEUE = 256
"""More than any number of clients here: nobody is refused."""

Settings = Mapping[str, str]


def text_form(path: str) -> Form:
    """Text in, text out, as the original."""
    return Form(path, "text/plain", str.encode, bytes.decode)


def _instances(new_tokens: int) -> Form:
    def body(prompt: str) -> bytes:
        return json.dumps({"instances": [prompt], "parameters": {"max_new_tokens": new_tokens}}).encode()

    return Form(
        f"/predictions/{MODEL_NAME}",
        "application/json",
        body,
        lambda content: str(json.loads(content)["predictions"][0]),
    )


@dataclass(frozen=True)
class Contestant:
    """One way to serve the model.

    Attributes:
        name: In the report.
        meaning: One line for the report.
        staged: The folder of the model that it reads: a format and element type.
        start: Makes the server, from the model's folder, a scratch folder and the settings.
        form: How it is asked.
        candidates: Its settings, the first if none are tried.
        tried_at: Numbers of clients at which the candidates are tried. More than one: it may use another
            setting for one client than for many.
        exact: Whether its answers have to be those of plain `generate`.
    """

    name: str
    meaning: str
    staged: str
    start: Callable[[Path, Path, Settings], Server]
    form: Form
    candidates: tuple[Settings, ...]
    tried_at: tuple[int, ...] = (32,)
    exact: bool = True
    needs: tuple[Path, ...] = field(default=(SERVE_PYTHON,))


def _flask(model: Path, scratch: Path, settings: Settings) -> Server:
    port = free_ports(1)
    library = next((FLASK_PYTHON.parents[1] / "lib").glob("python3*/site-packages"))
    environment = {
        **_base(scratch, settings["THREADS"]),
        **settings,
        # torch and transformers are the serving image's; only Flask is added.
        "PYTHONPATH": str(library),
        "MODEL_PATH": str(model),
        "MAX_NEW_TOKENS": str(NEW_TOKENS),
        "PORT": str(port),
    }
    program = str(Path(__file__).parent / "flask_server.py")
    return Server([str(SERVE_PYTHON), program], environment, port, "/", scratch / "log", scratch)


def _torchserve(model: Path, scratch: Path, settings: Settings) -> Server:
    port = free_ports(5)
    base = _base(scratch, settings["THREADS"])
    environment = {
        **base,
        **settings,
        "PATH": f"{TORCHSERVE_PYTHON.parent}:{base['PATH']}",
        "PYTHONPATH": str(ROOT / "images/torchserve/src"),
        "MODEL_PATH": str(model),
        "MAX_NEW_TOKENS": str(NEW_TOKENS),
        "MAX_QUEUE": str(QUEUE),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOOPBACK_PORT": str(port + 1),
    }
    command = [str(TORCHSERVE_PYTHON), "-m", "weights_handler"]
    return Server(command, environment, port, "/ping", scratch / "log", scratch)


def ours(model: Path, scratch: Path, settings: Settings) -> Server:
    """The serving image's server, as its contract says."""
    port = free_ports(1)
    environment = {
        **_base(scratch, settings["THREADS"]),
        "MAX_INPUT_TOKENS": "128",
        "MAX_NEW_TOKENS": str(NEW_TOKENS),
        "MAX_QUEUE": str(QUEUE),
        **settings,
        "PYTHONPATH": str(ROOT / "images/serve/src"),
        "MODEL_PATH": str(model),
        "MODEL_NAME": MODEL_NAME,
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    command = [str(SERVE_PYTHON), "-m", "serve"]
    return Server(command, environment, port, "/ready", scratch / "log", scratch)


def _base(scratch: Path, threads: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": threads,
    } | {name: os.environ[name] for name in ("JAVA_HOME", "LANG") if name in os.environ}


def _threads(*numbers: int, **more: str) -> tuple[Settings, ...]:
    return tuple({"THREADS": str(number), **more} for number in numbers)


def _workers(workers: int, threads: int, batch: int, delay: int) -> Settings:
    return {
        "WORKERS": str(workers),
        "THREADS": str(threads),
        "BATCH_SIZE": str(batch),
        "BATCH_DELAY_MS": str(delay),
    }


def _our(engine: str, dtype: str, name: str, exact: bool) -> Contestant:
    staged = f"ctranslate2-{dtype}" if engine == "ctranslate2" else "safetensors-float32"
    return Contestant(
        name,
        f"images/serve with ENGINE={engine}, DTYPE={dtype}",
        staged,
        ours,
        text_form("/predict"),
        _threads(2, 1, ENGINE=engine, DTYPE=dtype),
        exact=exact,
    )


FLASK, TORCHSERVE, TORCHSERVE_BATCHES = "flask", "torchserve", "torchserve batching"
TRANSFORMERS, CTRANSLATE2, INT8 = "ours transformers", "ours ctranslate2", "ours ctranslate2 int8"
OURS_EXACT = (TRANSFORMERS, CTRANSLATE2)
TRANSFORMERS_BF16, CTRANSLATE2_BF16 = "ours transformers bfloat16", "ours ctranslate2 bfloat16"
BFLOAT16 = (TRANSFORMERS_BF16, CTRANSLATE2_BF16)

CONTESTANTS = (
    Contestant(
        FLASK,
        "the original's Flask development server, repaired: generate for each request",
        "safetensors-float32",
        _flask,
        text_form("/predict"),
        _threads(1, 2),
        tried_at=(1, 8),
        needs=(SERVE_PYTHON, FLASK_PYTHON),
    ),
    Contestant(
        TORCHSERVE,
        "TorchServe with batches of one, its default",
        "mar-float32",
        _torchserve,
        _instances(NEW_TOKENS),
        (_workers(1, 2, 1, 100), _workers(1, 1, 1, 100), _workers(2, 1, 1, 100)),
        tried_at=(1, 8),
        needs=(TORCHSERVE_PYTHON,),
    ),
    Contestant(
        TORCHSERVE_BATCHES,
        "TorchServe with its own batching",
        "mar-float32",
        _torchserve,
        _instances(NEW_TOKENS),
        (
            _workers(1, 2, 32, 50),
            _workers(1, 2, 32, 200),
            _workers(1, 2, 16, 50),
            _workers(1, 2, 8, 50),
            _workers(2, 1, 16, 50),
            _workers(2, 1, 8, 50),
        ),
        needs=(TORCHSERVE_PYTHON,),
    ),
    _our("transformers", "float32", TRANSFORMERS, exact=True),
    _our("ctranslate2", "float32", CTRANSLATE2, exact=True),
    _our("ctranslate2", "int8", INT8, exact=False),
    _our("transformers", "bfloat16", TRANSFORMERS_BF16, exact=False),
    _our("ctranslate2", "bfloat16", CTRANSLATE2_BF16, exact=False),
)


def missing(contestant: Contestant) -> str | None:
    """Why a contestant cannot take part on this machine; None if it can."""
    for program in contestant.needs:
        if not program.exists():
            return (
                f"{program.relative_to(ROOT)} is not installed: scripts/install-images, scripts/install-bench"
            )
    java = f"{os.environ['JAVA_HOME']}/bin/java" if os.environ.get("JAVA_HOME") else "java"
    if TORCHSERVE_PYTHON in contestant.needs and shutil.which(java) is None:
        return "there is no Java for TorchServe: install Java 17"
    return None
