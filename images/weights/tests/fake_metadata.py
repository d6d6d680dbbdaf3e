"""The metadata server of a Google machine, which gives access tokens to what runs there."""

from server import Fake, Handler


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name http.server calls
        fake: FakeMetadata = self.server.fake  # type: ignore[attr-defined]
        fake.record(self)
        with fake.lock:
            failing = "/token" in self.path and fake.failures > 0
            fake.failures -= failing
        if failing:
            return self.answer(503)
        google = {"Metadata_Flavor": "Google", "Content_Type": "application/json"}
        if "/token" in self.path:
            with fake.lock:
                token = fake.tokens.pop(0) if len(fake.tokens) > 1 else fake.tokens[0]
            answer = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
            return self.answer(200, answer, **google)
        if "/service-accounts/" in self.path:
            return self.answer(200, {"email": "job@acme.iam.gserviceaccount.com", "scopes": []}, **google)
        return self.answer(200 if self.path == "/" else 404, b"acme", **google)


class FakeMetadata(Fake):
    """Gives the `tokens` one after the other, and the last one from then on; `failures` requests get none."""

    handler = _Handler

    def __init__(self, *tokens: str) -> None:
        super().__init__()
        self.tokens = list(tokens)
        self.failures = 0

    def environment(self) -> dict[str, str]:
        """What makes Google's library find it."""
        place = self.url.removeprefix("http://")
        return {"NO_GCE_CHECK": "false", "GCE_METADATA_HOST": place, "GCE_METADATA_IP": place}
