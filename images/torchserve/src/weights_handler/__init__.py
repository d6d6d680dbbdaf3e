"""TorchServe's handler for staged models; an archive of the format `mar` names this module.

TorchServe takes the one class that a handler's module defines, so there is one here. Errors of a request are
the request's own: TorchServe's `json` envelope reads a whole batch at once, and one body that it cannot read
would fail every request of the batch with 503. So there is no envelope, and the handler reads and writes its
shape, `{"instances": […]}` and `{"predictions": […]}`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weights_handler import requests, settings
from weights_handler.errors import Exit, RequestError, StartupError

if TYPE_CHECKING:
    from weights_handler.model import Job, TextModel

JSON = "application/json"


class Handler:
    """What TorchServe calls: `initialize` once in each worker, then `handle` for each batch of requests."""

    def initialize(self, context: Any) -> None:
        """Loads the model that the archive describes from the folder `MODEL_PATH`.

        Args:
            context: TorchServe's; its `model_yaml_config["handler"]` is written by the format `mar`.

        Raises:
            StartupError: the environment or the archive's description is wrong, or weights are missing.
            ValueError: the model cannot be served; see `TextModel`.
        """
        # Here, since the start imports this package, too, and has no use for torch.
        import torch

        from weights_handler.model import Limits, TextModel

        self._settings = settings.from_environment(os.environ)
        torch.set_num_threads(self._settings.threads)
        described = _described(context)
        folder = self._settings.model_path
        if missing := [name for name in described["weights"] if not (folder / name).is_file()]:
            raise StartupError(
                Exit.MODEL_FILES, f"{folder} has no {', '.join(missing)}; stage the model again"
            )
        self._model: TextModel = TextModel(
            folder,
            described["architecture"],
            self._settings.dtype or described["dtype"],
            context.system_properties.get("gpu_id") if torch.cuda.is_available() else None,
            self._settings.prompt_format,
            Limits(self._settings.max_input_tokens, self._settings.max_new_tokens, self._settings.batch_size),
        )

    def handle(self, rows: Sequence[dict[str, Any]], context: Any) -> list[bytes]:
        """Answers a batch: a body for each request, with its status set in the context."""
        return self.postprocess(self.inference(self.preprocess(rows)), context)

    def preprocess(self, rows: Sequence[dict[str, Any]]) -> list[list[Job] | RequestError]:
        """Reads each request; what is wrong with one stands in its place."""
        return [self._read(row) for row in rows]

    def inference(self, read: Sequence[list[Job] | RequestError]) -> list[list[str] | RequestError]:
        """Answers the prompts of all requests together, and deals the answers out again."""
        jobs = [job for each in read if not isinstance(each, RequestError) for job in each]
        answers = iter(self._model.answer(jobs))
        return [
            each if isinstance(each, RequestError) else _together([next(answers) for _ in each])
            for each in read
        ]

    def postprocess(self, answered: Sequence[list[str] | RequestError], context: Any) -> list[bytes]:
        """Writes the body of each response, and sets its status."""
        bodies = []
        for number, each in enumerate(answered):
            context.set_response_content_type(number, JSON)
            if isinstance(each, RequestError):
                status, body = each.status, dict[str, object](each.body())
            else:
                status, body = 200, {"predictions": each}
            context.set_response_status(code=status, idx=number)
            bodies.append(json.dumps(body, ensure_ascii=False).encode())
        return bodies

    def _read(self, row: dict[str, Any]) -> list[Job] | RequestError:
        try:
            parsed = requests.parse(row.get("body"), self._settings.max_instances)
            return [self._model.job(prompt, parsed.sampling) for prompt in parsed.prompts]
        except RequestError as error:
            return error


def _described(context: Any) -> dict[str, Any]:
    """The archive's description of the model."""
    described = (context.model_yaml_config or {}).get("handler")
    needed = ("architecture", "dtype", "weights")
    if not isinstance(described, dict) or any(key not in described for key in needed):
        raise StartupError(
            Exit.MODEL_FILES,
            "the archive's model-config.yaml has no handler with architecture, dtype and weights; stage the "
            "model in the format mar",
        )
    return described


def _together(answers: Sequence[str | RequestError]) -> list[str] | RequestError:
    """The predictions of one request, or its first error: a prediction has no place for one."""
    failed = next((answer for answer in answers if isinstance(answer, RequestError)), None)
    return failed or [answer for answer in answers if isinstance(answer, str)]
