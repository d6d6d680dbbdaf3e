"""A connection of the Kubernetes API that goes both ways: a WebSocket of its streaming protocol.

The protocol: k8s.io/apimachinery, pkg/util/remotecommand/constants.go.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

if TYPE_CHECKING:
    from kubernetes.client import Configuration
    from websocket import WebSocket

PROTOCOL: Final = "v4.channel.k8s.io"
CONNECT_SECONDS = 30.0
_PORTS: Final = {"http": 80, "https": 443}


def open_stream(
    configuration: Configuration, url: str, headers: Mapping[str, str], direct: Sequence[str]
) -> WebSocket:
    """Opens a connection; once it is there, it waits without a limit.

    Args:
        configuration: the client's: whom it trusts, and its own certificate.
        url: of the API's resource, `https://…` or `http://…`.
        headers: the request's; only who is calling is sent.
        direct: hosts that no proxy of the environment is asked for.

    Raises:
        websocket.WebSocketException: the other side refused, or speaks something else.
        OSError: there is no connection.
    """
    from websocket import WebSocket

    split = urlsplit(url)
    address = urlunsplit(split._replace(scheme="wss" if split.scheme == "https" else "ws"))
    who = headers.get("authorization")
    options = _tls(configuration)
    stream = WebSocket(sslopt=options)
    stream.settimeout(CONNECT_SECONDS)
    stream.connect(  # type: ignore[no-untyped-call]
        address,
        header=[f"authorization: {who}"] if who else [],
        subprotocols=[PROTOCOL],
        # Without a socket of ours, the client asks the environment for a proxy.
        socket=_direct(split, options) if split.hostname in direct else None,
    )
    stream.settimeout(None)
    return stream


def _direct(split: SplitResult, options: Mapping[str, Any]) -> socket.socket:
    host = split.hostname or ""
    plain = socket.create_connection((host, split.port or _PORTS[split.scheme]), CONNECT_SECONDS)
    if split.scheme == "http":
        return plain
    context: ssl.SSLContext = options["context"]
    return context.wrap_socket(plain, server_hostname=options.get("server_hostname", host))


def _tls(configuration: Any) -> dict[str, Any]:
    # Where neither is given, whom this machine trusts: as the client's other requests do.
    context = ssl.create_default_context(
        cafile=configuration.ssl_ca_cert or None, cadata=configuration.ca_cert_data or None
    )
    if not configuration.verify_ssl:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    name = configuration.tls_server_name
    return {"context": context, **({"server_hostname": name} if name else {})}
