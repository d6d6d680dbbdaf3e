"""How long prompts and answers may be, and how many requests a container holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacks.plan.report import Report
from stacks.plan.spec import ModelSpec

if TYPE_CHECKING:
    from stacks.config_models import CloudRunDeployment
    from stacks.config_shared import TokenSettings

DEFAULT_NEW_TOKENS = 256
DEFAULT_INPUT_TOKENS = 4096
DEFAULT_QUEUE = 8


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """Limits of one request, in tokens."""

    max_input: int
    max_new: int


def default_tokens(model: ModelSpec) -> TokenLimits:
    """Gives the limits that a model has when nobody says otherwise.

    A decoder's prompt and answer share its context; an encoder-decoder's do not.
    """
    if model.family == "encoder-decoder":
        return TokenLimits(min(model.context, DEFAULT_INPUT_TOKENS), min(model.context, DEFAULT_NEW_TOKENS))
    new = min(max(model.context // 4, 1), DEFAULT_NEW_TOKENS)
    return TokenLimits(max(min(model.context - new, DEFAULT_INPUT_TOKENS), 1), new)


def token_limits(model: ModelSpec, wanted: TokenSettings, path: str, report: Report) -> TokenLimits:
    """Decides the limits of one deployment, and reports those that the model cannot keep.

    Args:
        model: what is served.
        wanted: the deployment's `limits`.
        path: path of the deployment in the stack file.
        report: receives what is wrong.
    """
    usual = default_tokens(model)
    chosen = TokenLimits(wanted.max_input_tokens or usual.max_input, wanted.max_new_tokens or usual.max_new)
    shared = model.family == "decoder"
    room_for_input = model.context - (chosen.max_new if shared else 0)
    if chosen.max_new > model.context - (1 if shared else 0):
        report.problem(
            f"{path}.limits.maxNewTokens",
            chosen.max_new,
            f"does not fit {model.repository}'s context of {model.context} tokens",
            f"write at most {usual.max_new}",
        )
    elif wanted.max_input_tokens and chosen.max_input > room_for_input:
        beside = f" beside {chosen.max_new} new tokens" if shared else ""
        report.problem(
            f"{path}.limits.maxInputTokens",
            chosen.max_input,
            f"does not fit {model.repository}'s context of {model.context} tokens{beside}",
            f"write at most {room_for_input}",
        )
    return TokenLimits(min(chosen.max_input, max(room_for_input, 1)), chosen.max_new)


def queue_and_concurrency(deployment: CloudRunDeployment, path: str, report: Report) -> tuple[int, int]:
    """Decides how many requests a container holds and how many Cloud Run sends it at once.

    The two are equal by default: Cloud Run then starts another instance instead of meeting a 429.
    """
    concurrency = deployment.scaling.concurrency
    queue = deployment.limits.queue or concurrency or DEFAULT_QUEUE
    if concurrency is not None and concurrency > queue:
        report.problem(
            f"{path}.scaling.concurrency",
            concurrency,
            f"is above limits.queue ({queue}), so Cloud Run would send requests that are answered 429",
            f"write at most {queue}, or raise limits.queue to {concurrency}",
        )
    return queue, concurrency or queue
