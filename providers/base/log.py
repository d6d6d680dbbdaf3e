"""Messages and status lines in the engine's log.

A plugin's standard output belongs to the engine (it carries the port, then nothing), so whatever a person
should read goes through the engine's own service. Methods may be called from any thread and never wait.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

_PATIENCE_SECONDS = 5


class EngineLog:
    """The log of the engine at an address, or of nobody where there is none (a plugin started by hand)."""

    def __init__(self, address: str = "") -> None:
        # One thread keeps the messages in order and the callers from waiting.
        self._sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-log")
        self._channel: grpc.Channel | None = None
        self._engine: engine_pb2_grpc.EngineStub | None = None
        self.connect(address)

    def connect(self, address: str) -> None:
        """Sends what follows to the engine at `host:port`; an empty address changes nothing."""
        if address:
            self._channel = grpc.insecure_channel(address)  # type: ignore[no-untyped-call]
            self._engine = engine_pb2_grpc.EngineStub(self._channel)

    def status(self, urn: str, message: str) -> None:
        """Shows a passing line beside the resource while it is worked on; an empty one clears it."""
        self._send(engine_pb2.INFO, urn, message, ephemeral=True)

    def info(self, urn: str, message: str) -> None:
        """Prints a message that stays."""
        self._send(engine_pb2.INFO, urn, message)

    def warning(self, urn: str, message: str) -> None:
        """Prints a warning that stays."""
        self._send(engine_pb2.WARNING, urn, message)

    def debug(self, urn: str, message: str) -> None:
        """Records a message that only `pulumi --debug` shows."""
        self._send(engine_pb2.DEBUG, urn, message)

    def flush(self) -> None:
        """Waits until everything said so far is sent."""
        self._sender.submit(lambda: None).result()

    def _send(
        self, severity: engine_pb2.LogSeverity.ValueType, urn: str, message: str, ephemeral: bool = False
    ) -> None:
        engine = self._engine
        if engine is None:
            return
        request = engine_pb2.LogRequest(
            severity=severity, urn=urn, message=message, streamId=0, ephemeral=ephemeral
        )
        self._sender.submit(_deliver, engine, request)


def _deliver(engine: engine_pb2_grpc.EngineStub, request: engine_pb2.LogRequest) -> None:
    try:
        engine.Log(request, timeout=_PATIENCE_SECONDS)
    except grpc.RpcError:
        # The engine is gone or busy; a message is not worth an operation's failure.
        return
