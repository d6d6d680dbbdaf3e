"""What the environment says; the arguments are in the contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from weights.errors import Failure

HUB = "https://huggingface.co"
STORAGE = "https://storage.googleapis.com"
RETRY_SECONDS = 300.0
PERMISSION_SECONDS = 300.0


@dataclass(frozen=True)
class Settings:
    """Addresses, credentials and patience.

    Attributes:
        hub: The Hub's address, without a trailing slash.
        token: Hub token, or none. Never printed: it is left out of ``repr``.
        storage: Cloud Storage's address, without a trailing slash.
        emulated: Whether ``storage`` was given, so that missing credentials are accepted.
        retry_seconds: How long one request is repeated while it fails for a reason that may pass.
        permission_seconds: How long a 403 from Cloud Storage is repeated: grants take minutes to arrive.
    """

    hub: str
    token: str | None = field(repr=False)
    storage: str
    emulated: bool
    retry_seconds: float
    permission_seconds: float


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
        token=_token(environment.get("HF_TOKEN", "").strip()),
        storage=_address("STORAGE_EMULATOR_HOST", emulator or STORAGE),
        emulated=bool(emulator),
        retry_seconds=_seconds(environment, "WEIGHTS_RETRY_SECONDS", RETRY_SECONDS),
        permission_seconds=_seconds(environment, "WEIGHTS_PERMISSION_SECONDS", PERMISSION_SECONDS),
    )


def _address(name: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Failure("usage", f"{name} is {value!r}; it has to be an address such as https://host")
    return value.rstrip("/")


def _token(value: str) -> str | None:
    # A broken token would otherwise show up in an HTTP library's complaint about the header it is in.
    if not all("!" <= character <= "~" for character in value):
        raise Failure(
            "usage", "HF_TOKEN holds a character that no Hub token has, such as a space or line break"
        )
    return value or None


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise Failure("usage", f"{name} is {text!r}; it has to be a number of seconds from 0 to 86400")
    return value
