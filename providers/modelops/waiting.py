"""Waiting for an execution: status lines while it runs, one clear line when it fails."""

from __future__ import annotations

import asyncio

from providers.base.errors import Cancelled, ProviderError
from providers.base.provider import Provider
from providers.modelops.exit_codes import explain
from providers.modelops.jobs import Execution, Jobs
from providers.modelops.staged_inputs import StagedInputs

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
PAUSE_GROWTH = 1.5


async def wait_for(
    provider: Provider, jobs: Jobs, execution: Execution, urn: str, what: str, timeout: float
) -> None:
    """Returns when the execution has succeeded.

    Args:
        provider: gives threads, status lines and cancellation.
        jobs: the Cloud Run client.
        execution: what to wait for.
        urn: the resource beside which the status lines stand.
        what: what is being made, to begin a message with.
        timeout: the longest wait, in seconds. The execution itself goes on after it.

    Raises:
        ProviderError: it failed, was cancelled, or did not end in time; the message says what to do.
    """
    clock = asyncio.get_running_loop().time
    begun, pause = clock(), FIRST_PAUSE_SECONDS
    while not execution.done:
        spent = clock() - begun
        if spent >= timeout:
            raise ProviderError(
                f"{what}: execution {execution.short_name} still runs after {duration(timeout)} and goes on; "
                "run `pulumi up` again to wait for it, or give the resource a longer custom timeout"
            )
        state = f": {execution.message}" if execution.message else ""
        provider.log.status(urn, f"{what}, {duration(spent)}{state}")
        try:
            await provider.pause(min(pause, timeout - spent))
        except Cancelled:
            raise Cancelled(
                f"{what}: no longer waiting; execution {execution.short_name} goes on, and the next "
                "`pulumi up` waits for it"
            ) from None
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
        execution = await provider.blocking(jobs.execution, execution.name)
    provider.log.status(urn, "")
    if not execution.succeeded:
        raise ProviderError(await provider.blocking(_failure, jobs, execution, what))


def duration(seconds: float) -> str:
    """A time span as a person says it: `45s`, `1m20s`, `2h05m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _failure(jobs: Jobs, execution: Execution, what: str) -> str:
    try:
        code, said = jobs.exit_code(execution)
    except ProviderError:  # What is known of the failure counts more than why there is no more of it.
        code, said = None, ""
    meaning = explain(code, **_names(jobs, execution))
    causes = "; ".join(part.rstrip(".") for part in (execution.message or said, meaning) if part)
    text = f"{what}: execution {execution.short_name} failed: {causes or 'Cloud Run gives no reason'}"
    log = f" Log: {execution.log_uri}." if execution.log_uri else ""
    return f"{text}.{log} The next `pulumi up` stages anew."


def _names(jobs: Jobs, execution: Execution) -> dict[str, str]:
    """Whom the job runs as and where it writes, as far as its definition tells."""
    try:
        job = jobs.get(execution.name.partition("/executions/")[0])
    except ProviderError:
        return {}
    inputs = StagedInputs.from_job(job)
    names = {"account": job.account, "bucket": f"bucket {inputs.place.bucket}" if inputs else ""}
    return {key: name for key, name in names.items() if name}
