"""A pod's port as a port of this machine, as long as it is needed; what `kubectl port-forward` does.

Each connection that is accepted here becomes a connection of the Kubernetes API, which the API server passes
on to the pod's node (kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1). Frames are those
of `v4.channel.k8s.io`: the first byte is the channel, 0 for data and 1 for errors, and the first frame of
each channel only repeats the port (k8s.io/kubelet, pkg/cri/streaming/portforward/websocket.go).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final

from providers.base.errors import ProviderError, one_line
from providers.modelops.kubernetes_access import Cluster

if TYPE_CHECKING:
    from websocket import WebSocket

DATA: Final = 0
ERROR: Final = 1
_CHUNK = 65536
_PING_SECONDS = 30.0
"""An answer may take minutes without a byte; load balancers forget connections that are idle for long."""


class PortForward:
    """Passes connections to a port of a pod on, from its `url`, which other programs here may use too.

    Args:
        cluster: where the pod is.
        namespace: the pod's.
        pod: its name.
        port: of the pod.
    """

    def __init__(self, cluster: Cluster, namespace: str, pod: str, port: int) -> None:
        self._cluster = cluster
        self._path = f"/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
        self._what = f"reaching port {port} of pod {pod}"
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.trouble = ""
        """Why a connection could not be passed on, the last time that one could not."""

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> PortForward:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            connections = list(self._open)
        # Closing alone would not wake the thread that waits in accept.
        for each in (self._listener, *connections):
            _shut(each)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, local: socket.socket) -> None:
        try:
            remote = self._cluster.connect(self._what, self._path, [("ports", str(self._port))])
            self.trouble = ""
            try:
                self._pass_on(local, remote)
            finally:
                remote.shutdown()  # type: ignore[no-untyped-call]
        except ProviderError as error:
            self.trouble = str(error)
        finally:
            with self._lock:
                self._open.discard(local)
            _shut(local)
            local.close()

    def _pass_on(self, local: socket.socket, remote: WebSocket) -> None:
        """Copies bytes both ways until either side ends."""
        from websocket import WebSocketException

        greeted: set[int] = set()
        wire = remote.sock
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(local, selectors.EVENT_READ)
                selector.register(wire, selectors.EVENT_READ)  # type: ignore[arg-type]
                while True:
                    # What TLS has already decrypted no selector sees.
                    pending = getattr(wire, "pending", int)()
                    ready = [key.fileobj for key, _ in selector.select(0 if pending else _PING_SECONDS)]
                    if not ready and not pending:
                        remote.ping()
                    if (pending or wire in ready) and not self._received(local, remote, greeted):
                        return
                    if local in ready and not _sent(local, remote):
                        return
        except (WebSocketException, OSError) as error:
            # Both ends may write at once: why the other one left is then still to be read.
            if not self._closed and not self._told(local, remote, greeted):
                self.trouble = f"{self._what}: the connection broke off ({one_line(error)})"

    def _told(self, local: socket.socket, remote: WebSocket, greeted: set[int]) -> bool:
        """Reads what is left of a connection that cannot be written to; True where it says why."""
        from websocket import WebSocketException

        self.trouble = ""
        with contextlib.suppress(WebSocketException, OSError):
            while self._received(local, remote, greeted):
                pass
        return bool(self.trouble)

    def _received(self, local: socket.socket, remote: WebSocket, greeted: set[int]) -> bool:
        """Passes one frame on; False at the end of the connection."""
        from websocket import ABNF

        kind, frame = remote.recv_data_frame(True)
        if kind == ABNF.OPCODE_CLOSE:
            return False
        if kind != ABNF.OPCODE_BINARY or not frame.data:
            return True
        channel, data = frame.data[0], frame.data[1:]
        if channel not in greeted:
            greeted.add(channel)
        elif channel == ERROR:
            self.trouble = f"{self._what}: {one_line(data.decode(errors='replace'))}"
            return False
        else:
            return _written(local, data)
        return True


def _written(local: socket.socket, data: bytes) -> bool:
    try:
        local.sendall(data)
    except OSError:
        # Who stops listening needs no explanation.
        return False
    return True


def _sent(local: socket.socket, remote: WebSocket) -> bool:
    try:
        data = local.recv(_CHUNK)
    except OSError:
        return False
    if data:
        remote.send_binary(bytes((DATA,)) + data)
    return bool(data)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
