"""HTTP as both sides use it: sessions, what is worth another attempt, and for how long."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event
from tenacity.wait import wait_random_exponential

from weights.errors import DeniedError, Failure, TransientError

T = TypeVar("T")

TIMEOUT = (10.0, 60.0)  # seconds to connect; seconds without a byte
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_backoff = wait_random_exponential(multiplier=0.5, max=30)


def new_session(connections: int) -> requests.Session:
    """Make a session.

    Args:
        connections: Threads that will use it at once.
    """
    session = requests.Session()
    # Compressed answers have no byte ranges that mean anything for the file.
    session.headers["Accept-Encoding"] = "identity"
    # With no `auth` of its own requests looks into ~/.netrc, and what it finds replaces the given header.
    session.auth = _leave_alone
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _leave_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL: whom a credential sent there would reach."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


@contextmanager
def network_errors(url: str) -> Iterator[None]:
    """Turn what the HTTP library raises into ``TransientError``, without the URL's path and query.

    A signed address is a credential, and the library quotes addresses in its messages.
    """
    host = urlsplit(url).hostname
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(f"connection to {host} failed ({type(error).__name__})") from None


def read_into(response: requests.Response, into: memoryview) -> int:
    """Read the body of an answer until ``into`` is full or the connection ends or breaks.

    Returns:
        How many bytes were read, at least one.

    Raises:
        TransientError: Not one byte came.
    """
    filled = 0
    # The standard library's answer inside fills the buffer straight from the socket, where urllib3's
    # ``readinto`` reads into bytes of its own and copies them. ``requests`` itself relies on this attribute.
    body = getattr(response.raw, "_original_response", None) or response.raw
    try:
        with network_errors(response.url):
            while filled < len(into):
                count = body.readinto(into[filled:])
                if not count:
                    raise TransientError(f"connection to {urlsplit(response.url).hostname} ended too soon")
                filled += count
    except TransientError:
        if not filled:
            raise
        return filled
    if response.raw.closed:  # all of the body was read: the connection may serve the next request
        response.raw.release_conn()
    return filled


def retry_after(response: requests.Response) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


class Patience:
    """Repeats an attempt that failed for a reason that may pass, within a budget per request.

    Args:
        retry_seconds: Budget for what is transient.
        permission_seconds: Budget for 401 and 403 of Cloud Storage.
        notify: Told about each wait, in one line.
    """

    def __init__(
        self, retry_seconds: float, permission_seconds: float, notify: Callable[[str], None]
    ) -> None:
        self._retry_seconds = retry_seconds
        self._permission_seconds = permission_seconds
        self._notify = notify
        self._stopped = threading.Event()

    def give_up(self) -> None:
        """End every wait, in every thread, and wait no more."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait, unless everything is given up."""
        self._stopped.wait(seconds)

    def run(self, attempt: Callable[[], T]) -> T:
        """Call ``attempt`` until it succeeds.

        Raises:
            Failure: ``permission`` or ``unavailable``, when the budget is spent.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=self._wait,
            stop=self._spent,
            sleep=sleep_using_event(self._stopped),
            before_sleep=self._say,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except DeniedError as error:
            raise Failure("permission", f"{error} (tried for {self._permission_seconds:g} s)") from None
        except TransientError as error:
            raise Failure("unavailable", f"{error} (tried for {self._retry_seconds:g} s)") from None

    def _wait(self, state: RetryCallState) -> float:
        error = _error(state)
        asked = error.retry_after if isinstance(error, TransientError) else None
        return max(_backoff(state), asked or 0.0)

    def _spent(self, state: RetryCallState) -> bool:
        denied = isinstance(_error(state), DeniedError)
        budget = self._permission_seconds if denied else self._retry_seconds
        return self._stopped.is_set() or (state.seconds_since_start or 0.0) + state.upcoming_sleep > budget

    def _say(self, state: RetryCallState) -> None:
        self._notify(f"{_error(state)}; next attempt in {state.upcoming_sleep:.1f} s")


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
