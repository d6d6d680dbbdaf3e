"""Requests and responses: between generated message classes and those of `providers.base.provider`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2, status_pb2

from providers.base import provider as api
from providers.base.diff import Change, Kind
from providers.base.errors import InitializationFailed, one_line
from providers.base.paths import format_path
from providers.base.values import decode_properties, encode_properties

PropertyDiff = provider_pb2.PropertyDiff

_KINDS = {
    Kind.ADD: (PropertyDiff.ADD, PropertyDiff.ADD_REPLACE),
    Kind.DELETE: (PropertyDiff.DELETE, PropertyDiff.DELETE_REPLACE),
    Kind.UPDATE: (PropertyDiff.UPDATE, PropertyDiff.UPDATE_REPLACE),
}


def type_of(request: Any) -> str:
    """The resource's type token; engines before the field existed give it in the URN only."""
    return str(request.type or request.urn.split("::")[2].split("$")[-1])


def name_of(request: Any) -> str:
    """The resource's logical name."""
    return str(request.name or request.urn.split("::", 3)[3])


def check_request(request: provider_pb2.CheckRequest) -> api.CheckRequest:
    """A check, of a resource or of the provider's configuration."""
    return api.CheckRequest(
        urn=request.urn,
        type=type_of(request),
        name=name_of(request),
        olds=decode_properties(request.olds),
        news=decode_properties(request.news),
        random_seed=request.randomSeed,
    )


def check_response(response: api.CheckResponse) -> provider_pb2.CheckResponse:
    """The answer to a check."""
    return provider_pb2.CheckResponse(
        inputs=encode_properties(response.inputs), failures=_failures(response.failures)
    )


def invoke_response(response: api.InvokeResponse) -> provider_pb2.InvokeResponse:
    """The answer to a function's call."""
    answer = provider_pb2.InvokeResponse(failures=_failures(response.failures))
    # The field is called `return`, which Python's syntax keeps for itself.
    getattr(answer, "return").CopyFrom(encode_properties(response.result))
    return answer


def _failures(failures: Sequence[api.CheckFailure]) -> list[provider_pb2.CheckFailure]:
    """Failures with the path inside the reason.

    The engine looks up `property` as a plain name and prints its value, which for a nested path is `<nil>`.
    """
    return [
        provider_pb2.CheckFailure(property="", reason=f"{f.path}: {f.reason}" if f.path else f.reason)
        for f in failures
    ]


def diff_request(request: provider_pb2.DiffRequest) -> api.DiffRequest:
    """A diff, of a resource or of the provider's configuration."""
    return api.DiffRequest(
        urn=request.urn,
        type=type_of(request),
        id=request.id,
        old_inputs=decode_properties(request.old_inputs),
        old_outputs=decode_properties(request.olds),
        news=decode_properties(request.news),
        ignore_changes=list(request.ignoreChanges),
    )


def diff_response(response: api.DiffResponse) -> provider_pb2.DiffResponse:
    """The answer to a diff, with an entry for each property: without them the engine shows no changes."""
    if response.changes is None:
        return provider_pb2.DiffResponse()
    every = [*response.changes, *response.output_changes]
    replaces = set(response.replaces)
    detailed = {path: _entry(change, path in replaces, True) for path, change in _by_path(response.changes)}
    detailed |= {
        path: _entry(change, path in replaces, False) for path, change in _by_path(response.output_changes)
    }
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if every else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=sorted({str(change.path[0]) for change in every if change.path}),
        replaces=list(response.replaces),
        deleteBeforeReplace=response.delete_before_replace,
        detailedDiff=detailed,
        hasDetailedDiff=True,
    )


def _by_path(changes: Sequence[Change]) -> list[tuple[str, Change]]:
    return [(format_path(change.path), change) for change in changes]


def _entry(change: Change, replaces: bool, of_inputs: bool) -> PropertyDiff:
    return PropertyDiff(kind=_KINDS[change.kind][replaces], inputDiff=of_inputs)


def failure_details(failure: InitializationFailed) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata in which gRPC carries an error's details."""
    details = provider_pb2.ErrorResourceInitFailed(
        id=failure.id,
        properties=encode_properties(failure.outputs),
        reasons=[one_line(reason) for reason in failure.reasons],
        inputs=None if failure.inputs is None else encode_properties(failure.inputs),
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=one_line(failure))
    status.details.add().Pack(details)
    return (("grpc-status-details-bin", status.SerializeToString()),)
