"""Google's application default credentials, with no more scope than the API at hand needs."""

import warnings
from typing import Any

import google.auth
import google.auth.exceptions

from weights.errors import Failure

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
"""The only scope with which Secret Manager answers (its discovery document, ``versions.access``)."""


def find_credentials(optional: bool, scope: str = SCOPE) -> Any:
    """Find them where Google's libraries look: a file, gcloud's, or the platform's metadata server.

    Args:
        optional: Whether to do without, as before an emulator.
        scope: What their access tokens are good for.

    Raises:
        Failure: ``permission``, if there are none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a person's own credentials, which are right on a laptop
            credentials, _ = google.auth.default(scopes=[scope])
    except google.auth.exceptions.DefaultCredentialsError as error:
        if optional:
            return None
        raise Failure(
            "permission",
            f"no Google credentials ({error}); on a laptop run: gcloud auth application-default login",
        ) from None
    return credentials
