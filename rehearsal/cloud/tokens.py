"""Access and identity tokens of the rehearsed cloud, and the credentials file of who deploys into it.

Tokens are JWTs signed with a key of the folder, so they survive a restart without being stored. To a client
an access token is opaque, as Google's are.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt
from google.auth.exceptions import GoogleAuthError

from rehearsal.world import DEPLOYER

ISSUER = "https://accounts.google.com"
LIFETIME_SECONDS = 3600
PRINCIPAL = "principal://"
"""How a member begins that is no account: https://cloud.google.com/iam/docs/principal-identifiers"""
_ACCESS_PREFIX = "ya29.rehearsed."
_ACCESS_AUDIENCE = "access"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token stands for."""

    member: str
    """`user:…` or `serviceAccount:…`."""
    audience: str | None
    """Audience of an identity token; None for an access token."""


def member_of(account: str) -> str:
    """The IAM member of an e-mail address; pods without one are a member by themselves, `principal://…`."""
    deployer = DEPLOYER.partition(":")[2]
    if account.startswith(PRINCIPAL):
        return account
    return DEPLOYER if account == deployer else f"serviceAccount:{account}"


class Tokens:
    """Issues tokens and says whose a token is.

    Args:
        folder: the world's folder; its signing key and `adc.json` are read, the key is made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        pem = _signing_key(folder / "cloud.key")
        self._signer: Any = crypt.RSASigner.from_string(pem)  # type: ignore[no-untyped-call]
        self._public = _public(pem)

    def access(self, member: str) -> dict[str, Any]:
        """An access token in the format of OAuth's token endpoint."""
        token = _ACCESS_PREFIX + self._sign(member, _ACCESS_AUDIENCE)
        return {"access_token": token, "expires_in": LIFETIME_SECONDS, "token_type": "Bearer"}

    def expiry(self) -> str:
        """When an access token that is issued now ends, RFC 3339."""
        return datetime.fromtimestamp(time.time() + LIFETIME_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def identity(self, member: str, audience: str) -> str:
        """An identity token for an audience."""
        return self._sign(member, audience)

    def caller(self, token: str) -> Caller | None:
        """Whose token this is; None when it is not ours or has expired."""
        if token.startswith(_ACCESS_PREFIX):
            claims = _verified(token.removeprefix(_ACCESS_PREFIX), self._public)
            right = claims is not None and claims.get("aud") == _ACCESS_AUDIENCE
            return Caller(member_of(claims["email"]), None) if claims and right else None
        claims = _verified(token, self._public)
        if claims is not None and claims.get("aud") != _ACCESS_AUDIENCE:
            return Caller(member_of(claims["email"]), claims["aud"])
        # Google's clients may sign a token themselves instead of asking the token endpoint for one.
        # https://google.aip.dev/auth/4111
        return self.assertion_caller(token)[0]

    def assertion_caller(self, assertion: str) -> tuple[Caller | None, Mapping[str, Any]]:
        """Who signed an assertion with the key of `adc.json`, and its claims."""
        try:
            adc = json.loads((self._folder / "adc.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None, {}
        claims = _verified(assertion, _public(adc["private_key"].encode()))
        if claims is None or claims.get("iss") != adc["client_email"]:
            return None, {}
        return Caller(member_of(adc["client_email"]), None), claims

    def _sign(self, member: str, audience: str) -> str:
        email = member if member.startswith(PRINCIPAL) else member.partition(":")[2]
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": email,
            "email": email,
            "email_verified": True,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
        }
        signed: bytes = jwt.encode(self._signer, claims)  # type: ignore[no-untyped-call]
        return signed.decode()


def write_credentials(folder: Path, project: str, port: int) -> Path:
    """Write `adc.json`: application-default credentials of the deployer, which point at the cloud process.

    The key is made once and kept; only the address changes when the port does.
    """
    path = folder / "adc.json"
    try:
        key = json.loads(path.read_text(encoding="utf-8"))["private_key"]
    except FileNotFoundError:
        key = _new_key()
    content = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "rehearsal",
        "private_key": key,
        "client_email": DEPLOYER.partition(":")[2],
        "client_id": "0",
        "token_uri": f"http://127.0.0.1:{port}/token",
    }
    write_private(path, json.dumps(content, indent=2))
    return path


def local_secret(folder: Path) -> str:
    """The secret that our own processes show to the cloud process; made when missing."""
    path = folder / "cloud.secret"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8")


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read, at once and never half."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def _verified(token: str, public: bytes) -> Mapping[str, Any] | None:
    try:
        claims: Mapping[str, Any] = jwt.decode(  # type: ignore[no-untyped-call]
            token, certs=[public], clock_skew_in_seconds=10
        )
    except (GoogleAuthError, ValueError):
        return None
    return claims


def _signing_key(path: Path) -> bytes:
    if not path.exists():
        write_private(path, _new_key())
    return path.read_bytes()


def _new_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, password=None)
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
