"""What the environment says; the arguments are in the contract."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from weights.errors import Failure
from weights.transport import origin

HUB = "https://huggingface.co"
STORAGE = "https://storage.googleapis.com"
SECRET_MANAGER = "https://secretmanager.googleapis.com"  # noqa: S105 - an address
RETRY_SECONDS = 300.0
PERMISSION_SECONDS = 300.0
# gcloud's own name of the variable.
_SECRET_MANAGER = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"  # noqa: S105 - the name of a variable
_VERSION = re.compile(r"projects/[^/\s]+/secrets/[A-Za-z0-9_-]+/versions/(latest|\d+)", re.ASCII)


@dataclass(frozen=True)
class Settings:
    """Addresses, credentials and patience.

    Attributes:
        hub: The Hub's address, without a trailing slash.
        token: Hub token, or none. Never printed: it is left out of ``repr``.
        storage: Cloud Storage's address, without a trailing slash.
        emulated: Whether ``storage`` was given, so that missing credentials are accepted.
        retry_seconds: How long one request is repeated while it fails for a reason that may pass.
        permission_seconds: How long a 403 from Google is repeated: grants take minutes to arrive.
        token_secret: Version of the secret that holds the Hub token, for a job that no platform gives it to.
        secret_manager: Secret Manager's address, without a trailing slash.
    """

    hub: str
    token: str | None = field(repr=False)
    storage: str
    emulated: bool
    retry_seconds: float
    permission_seconds: float
    token_secret: str | None = None
    secret_manager: str = SECRET_MANAGER


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        environment: Usually ``os.environ``.

    Raises:
        Failure: ``usage``, if a variable cannot be what it says.
    """
    emulator = environment.get("STORAGE_EMULATOR_HOST", "").strip()
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"  # Google's Go client takes host:port, so people write it so
    return Settings(
        hub=_address("HF_ENDPOINT", environment.get("HF_ENDPOINT", "").strip() or HUB),
        token=check_token(environment.get("HF_TOKEN", "").strip(), "HF_TOKEN", "usage"),
        storage=_address("STORAGE_EMULATOR_HOST", emulator or STORAGE),
        emulated=bool(emulator),
        retry_seconds=_seconds(environment, "WEIGHTS_RETRY_SECONDS", RETRY_SECONDS),
        permission_seconds=_seconds(environment, "WEIGHTS_PERMISSION_SECONDS", PERMISSION_SECONDS),
        token_secret=_version(environment.get("HF_TOKEN_SECRET", "").strip()),
        secret_manager=_address(
            _SECRET_MANAGER, environment.get(_SECRET_MANAGER, "").strip() or SECRET_MANAGER
        ),
    )


def check_token(value: str, where: str, kind: str) -> str | None:
    """The Hub token, or none where the text is empty.

    Args:
        value: The text.
        where: What holds it, for the message; the text itself is not repeated.
        kind: Outcome of a broken one.

    Raises:
        Failure: It cannot be a token; an HTTP library would show it in its complaint about the header.
    """
    if not all("!" <= character <= "~" for character in value):
        raise Failure(kind, f"{where} holds a character that no Hub token has, such as a space or line break")
    return value or None


def _version(value: str) -> str | None:
    if value and not _VERSION.fullmatch(value):
        raise Failure(
            "usage",
            f"HF_TOKEN_SECRET is {value!r}; it has to be projects/PROJECT/secrets/SECRET/versions/VERSION",
        )
    return value or None


def _address(name: str, value: str) -> str:
    try:
        scheme, host, _ = origin(value)
    except ValueError:  # of a port that is none, or half an IPv6 address
        scheme = host = ""
    if scheme not in ("http", "https") or not host:
        raise Failure("usage", f"{name} is {value!r}; it has to be an address such as https://host")
    return value.rstrip("/")


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise Failure("usage", f"{name} is {text!r}; it has to be a number of seconds from 0 to 86400")
    return value
