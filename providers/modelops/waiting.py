"""Waiting for an execution: status lines while it runs, one clear line when it fails."""

from __future__ import annotations

from dataclasses import dataclass

from providers.base.errors import ProviderError
from providers.base.provider import Provider
from providers.modelops.exit_codes import explain
from providers.modelops.polling import Watch, until_done
from providers.modelops.runners import Execution, Runner, Work


@dataclass(frozen=True, slots=True)
class Wait:
    """What is waited for."""

    runner: Runner
    work: Work
    bucket: str
    """Where the job writes, as a message names it."""
    urn: str
    """The resource beside which the status lines stand."""
    what: str
    """What is being made, to begin a message with."""
    timeout: float
    """The longest wait, in seconds. The execution itself goes on after it."""


async def wait_for(provider: Provider, wait: Wait, execution: Execution) -> None:
    """Returns when the execution has succeeded.

    Args:
        provider: gives threads, status lines and cancellation.
        wait: what is waited for, and how long.
        execution: as it was last seen.

    Raises:
        ProviderError: it failed, was cancelled, or did not end in time; the message says what to do.
    """
    watch = Watch(wait.urn, wait.what, f"execution {execution.short_name}", wait.timeout)
    name = execution.name
    execution = await until_done(provider, watch, execution, lambda: wait.runner.execution(name))
    if not execution.succeeded:
        raise ProviderError(await provider.blocking(_failure, wait, execution))


def _failure(wait: Wait, execution: Execution) -> str:
    try:
        code, said = wait.runner.exit_code(execution)
    except ProviderError:  # What is known of the failure counts more than why there is no more of it.
        code, said = None, ""
    meaning = explain(code, **_names(wait))
    causes = "; ".join(part.rstrip(".") for part in (execution.message or said, meaning) if part)
    reason = causes or f"{wait.runner.platform} gives no reason"
    log = f" Log: {execution.log_uri}." if execution.log_uri else ""
    text = f"{wait.what}: execution {execution.short_name} failed: {reason}"
    return f"{text}.{log} The next `pulumi up` stages anew."


def _names(wait: Wait) -> dict[str, str]:
    """Whom the job runs as and where it writes, as far as its definition tells."""
    definition = wait.work.definition
    try:
        account = definition.service_account if definition else wait.runner.job(wait.work.job).account
    except ProviderError:
        return {"bucket": wait.bucket}
    return {"bucket": wait.bucket, **({"account": account} if account else {})}
