"""Errors as Google's REST APIs word them."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

# google/rpc/code.proto, as far as the REST face uses it: name -> HTTP status.
STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

# Cloud Storage answers in the older error format and names a reason instead of a status.
# https://cloud.google.com/storage/docs/json_api/v1/status-codes
STORAGE_REASONS = {
    400: "invalid",
    401: "required",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    501: "notImplemented",
    503: "backendError",
}


class ApiError(Exception):
    """A request that Google would refuse.

    Args:
        status: name from google/rpc/code.proto.
        message: one line for a person.
        code: HTTP code, where it is not the status's usual one.
    """

    def __init__(self, status: str, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = STATUSES[status] if code is None else code
        self.message = message

    def response(self, *, storage: bool = False) -> JSONResponse:
        """The error as JSON, in the format of Cloud Storage or of all newer APIs."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if storage:
            reason = STORAGE_REASONS.get(self.code, "backendError")
            error["errors"] = [{"message": self.message, "domain": "global", "reason": reason}]
        else:
            error["status"] = self.status
        challenge = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'}
        headers = challenge if self.code == STATUSES["UNAUTHENTICATED"] else None
        return JSONResponse({"error": error}, status_code=self.code, headers=headers)


def denied(permission: str, resource: str, member: str | None) -> ApiError:
    """Google's refusal: 401 without a caller, else 403 that names the permission and the resource."""
    if member is None:
        return ApiError(
            "UNAUTHENTICATED",
            "Request is missing required authentication credential. Expected OAuth 2 access token, "
            f"login cookie or other valid authentication credential ('{permission}' on '{resource}').",
        )
    who = member.partition(":")[2] or member
    if resource.startswith("storage.googleapis.com/"):
        return ApiError(
            "PERMISSION_DENIED",
            f"{who} does not have {permission} access to the Google Cloud Storage resource '{resource}'. "
            f"Permission '{permission}' denied on resource (or it may not exist).",
        )
    return ApiError(
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource '{resource}' for {who} (or it may not exist).",
    )
