"""Secret Manager with one version of one secret."""

import base64

from server import Fake, Handler

VERSION = "projects/acme/secrets/hub-token/versions/latest"


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name http.server calls
        fake: FakeSecrets = self.server.fake  # type: ignore[attr-defined]
        fake.record(self)
        with fake.lock:
            status = fake.statuses.pop(0) if fake.statuses else 200
        if self.headers.get("Authorization") != f"Bearer {fake.token}":
            return self.answer(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
        if status != 200:
            return self.answer(status, {"error": {"code": status, "message": "said by the fake"}})
        if self.path != f"/v1/{VERSION}:access":
            return self.answer(404, {"error": {"code": 404, "message": "not found"}})
        data = base64.b64encode(fake.payload).decode()
        return self.answer(200, {"name": VERSION, "payload": {"data": data}})


class FakeSecrets(Fake):
    """Answers with the `statuses` first, then with the payload to whoever shows the access token."""

    handler = _Handler

    def __init__(self, token: str, payload: bytes) -> None:
        super().__init__()
        self.token = token
        self.payload = payload
        self.statuses: list[int] = []

    def environment(self) -> dict[str, str]:
        """What makes the program find it."""
        return {"HF_TOKEN_SECRET": VERSION, "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"{self.url}/"}
