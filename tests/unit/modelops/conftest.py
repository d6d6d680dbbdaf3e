"""The provider of ours, and a small loopback Google that it asks."""

import threading

import pytest
from google.auth.credentials import AnonymousCredentials

from providers.modelops import client, polling
from providers.modelops.client import Google
from providers.modelops.provider import ModelopsProvider
from tests.unit.modelops.fake_google import FakeGoogle, serving


@pytest.fixture
def google():
    return FakeGoogle()


@pytest.fixture
def provider(google, monkeypatch):
    monkeypatch.setattr(polling, "FIRST_PAUSE_SECONDS", 0.01)
    # Retries wait for nothing here; that they are bounded is a matter of their number.
    monkeypatch.setattr(client.Google, "_sleep", lambda self, seconds: None)
    with serving(google) as address:
        environment = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"{address}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{address}/",
            "STORAGE_EMULATOR_HOST": address,
        }
        yield ModelopsProvider(google=Google(threading.Event(), environment, AnonymousCredentials()))
