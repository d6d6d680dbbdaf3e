"""A node's part in `kubectl port-forward`: bytes between a pod's port and whoever asks the API server.

The API server passes a WebSocket of `v4.channel.k8s.io` on to the node as it is: the first byte of a frame is
the channel, 0 for data and 1 for errors, and the first frame of each channel repeats the port, low byte first
(k8s.io/kubelet, pkg/cri/streaming/portforward/websocket.go).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websocket import ABNF, WebSocket, WebSocketException

from rehearsal.cluster.certificates import Pair

PROTOCOL: Final = "v4.channel.k8s.io"
DATA: Final = 0
ERROR: Final = 1
_CHUNK = 65536
_GOODBYE_SECONDS = 2.0
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of every WebSocket handshake: https://www.rfc-editor.org/rfc/rfc6455#section-1.3"""
_PATHS = (
    # What the API server asks a node for, and what a client asks the API server for.
    re.compile(r"/portForward/(?P<namespace>[^/]+)/(?P<pod>[^/]+)"),
    re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods/(?P<pod>[^/]+)/portforward"),
)

Reach = Callable[[str, str, int], socket.socket]
"""Connects to a port of a pod: namespace, pod, port. Raises OSError where it cannot."""


class PortForwards:
    """Listens on loopback for port-forwards.

    Args:
        reach: connects to pods.
        pair: the server's certificate; None for plain HTTP.
        handler: answers requests.
    """

    def __init__(
        self, reach: Reach, pair: Pair | None = None, handler: type[PortForwardHandler] | None = None
    ) -> None:
        bound = type("Bound", (handler or PortForwardHandler,), {"reach": staticmethod(reach)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            # Each connection's handshake happens in its own thread, with its first read.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from here on."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class PortForwardHandler(BaseHTTPRequestHandler):
    """Answers port-forwards, and nothing else."""

    reach: Reach
    """Connects to pods."""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Take a port-forward; anything else is not found."""
        split = urlsplit(self.path)
        found = next((match for each in _PATHS if (match := each.fullmatch(split.path))), None)
        query = parse_qs(split.query)
        ports = query.get("port") or query.get("ports") or []
        offered = [each.strip() for each in self.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if found is None or len(ports) != 1 or not ports[0].isdigit() or PROTOCOL not in offered:
            self.send_error(404)
            return
        self.close_connection = True
        self._upgrade()
        self._serve(found["namespace"], found["pod"], int(ports[0]))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _upgrade(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + _GUID
        digest = hashlib.sha1(key.encode()).digest()  # noqa: S324 - the protocol's
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        self.send_header("Sec-WebSocket-Protocol", PROTOCOL)
        self.end_headers()

    def _serve(self, namespace: str, pod: str, port: int) -> None:
        for channel in (DATA, ERROR):
            self._send(channel, port.to_bytes(2, "little"))
        try:
            with self.reach(namespace, pod, port) as pod_side:
                self._pass_on(pod_side)
        except OSError as error:
            said = f"error forwarding port {port} to pod {pod}: {error.strerror or error}"
            with contextlib.suppress(OSError):  # it may be the asker's own connection that is gone
                self._send(ERROR, said.encode())
        self._end()

    def _end(self) -> None:
        """Say goodbye and wait for the other side's: what it still sends would take our last words away."""
        with contextlib.suppress(OSError):
            self.connection.sendall(ABNF(1, 0, 0, 0, ABNF.OPCODE_CLOSE, 0, b"").format())
            self.connection.settimeout(_GOODBYE_SECONDS)
            while self.connection.recv(_CHUNK):
                pass

    def _pass_on(self, pod_side: socket.socket) -> None:
        client = WebSocket()
        client.sock, client.connected = self.connection, True
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            selector.register(pod_side, selectors.EVENT_READ)
            while True:
                # What TLS has already decrypted no selector sees.
                pending = getattr(self.connection, "pending", int)()
                ready = [key.fileobj for key, _ in selector.select(0 if pending else None)]
                if pending or self.connection in ready:
                    try:
                        kind, frame = client.recv_data_frame(True)
                    except WebSocketException:
                        return
                    if kind == ABNF.OPCODE_CLOSE:
                        return
                    if kind == ABNF.OPCODE_BINARY and frame.data[:1] == bytes((DATA,)):
                        pod_side.sendall(frame.data[1:])
                if pod_side in ready:
                    data = pod_side.recv(_CHUNK)
                    if not data:
                        return
                    self._send(DATA, data)

    def _send(self, channel: int, data: bytes) -> None:
        # A server's frames are not masked: https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        frame = ABNF(1, 0, 0, 0, ABNF.OPCODE_BINARY, 0, bytes((channel,)) + data)
        self.connection.sendall(frame.format())
