"""HTTP that sends a request once: whether it may be sent again is for who knows what it does to say."""

from __future__ import annotations

import http.client
from typing import Any

import httplib2


class _Once:
    """A connection that is not tried again.

    httplib2 sends any request anew, a POST too, over which the connection was closed without an answer
    (`Http._conn_request`, on BadStatusLine). Of other connection errors it makes no second attempt.
    """

    def getresponse(self) -> Any:
        """The answer; raises ConnectionError where there is none."""
        try:
            return super().getresponse()  # type: ignore[misc]
        except http.client.BadStatusLine as error:
            raise ConnectionResetError(str(error)) from error


class _Plain(_Once, httplib2.HTTPConnectionWithTimeout):
    pass


class _Secure(_Once, httplib2.HTTPSConnectionWithTimeout):
    pass


class Http(httplib2.Http):
    """httplib2's client, but that no request is sent twice."""

    def request(self, uri: str, *args: Any, **more: Any) -> Any:
        """As httplib2's."""
        once = _Secure if uri.startswith("https:") else _Plain
        more["connection_type"] = more.get("connection_type") or once
        return super().request(uri, *args, **more)  # type: ignore[no-untyped-call]
