"""Values that are odd wherever they stand: secrets in the wrong place, long text, other scripts and types."""

from __future__ import annotations

from functools import reduce
from typing import Any

from tests.unit.config_cases.builders import ASSISTANT, Case, deployments, inline, top
from tests.unit.config_sources import TINY, good

SECURE = {"secure": "v1:x"}
DEEP: list[Any] = reduce(lambda inner, _: [inner], range(60), [])

CASES: dict[str, Case] = {
    # `secure:` where the value would be read as an object, and land in the state in plain text.
    "secure instead of the deployments": (
        deployments(SECURE),
        "llm:deployments",
        "(hidden)",
        "holds, a secret",
        "llm:hubToken",
    ),
    "secure instead of a deployment": (
        deployments({"assistant": SECURE}),
        "llm:deployments",
        "(hidden)",
        "holds, a secret",
        "remove secure:",
    ),
    "secure as an inline model's repository": (
        inline(repository=SECURE),
        "llm:deployments",
        "(hidden)",
        "holds, a secret",
        "remove secure:",
    ),
    "secure in a list of members": (
        good(access={"invokers": ["allUsers", SECURE]}),
        "llm:deployments",
        "(hidden)",
        "holds, a secret",
        "remove secure:",
    ),
    "secure with other keys beside it": (
        good(access={"secure": "v1:x", "ingress": "all"}),
        f"{ASSISTANT}.access.secure",
        '"v1:x"',
        "not a known key",
        "valid here: ingress, invokers",
    ),
    "secure that is no text": (
        good(revision={"secure": 5}),
        f"{ASSISTANT}.revision",
        "5",
        "not text",
        "write text",
    ),
    "secure region": (top(gcp_region=SECURE), "gcp:region", "(hidden)", "must not be secret", "plain text"),
    "secure zone": (top(gcp_zone=SECURE), "gcp:zone", "(hidden)", "must not be secret", "plain text"),
    "secure environment": (
        top(llm_environment=SECURE),
        "llm:environment",
        "(hidden)",
        "must not be secret",
        "config set llm:environment",
    ),
    "secure name of a secret": (
        top(llm_hubTokenSecret=SECURE),
        "llm:hubTokenSecret",
        "(hidden)",
        "must not be secret",
        "plain text",
    ),
    "secure label": (
        top(llm_labels={"team": SECURE}),
        "llm:labels",
        "(hidden)",
        "a secret",
        "remove secure:",
    ),
    "secure image": (
        top(llm_images={"serve": {"base": SECURE}}),
        "llm:images",
        "(hidden)",
        "a secret",
        "remove secure:",
    ),
    # Text that is too long, on several lines, or in another script.
    "very long text": (
        good(model="x" * 5000),
        f"{ASSISTANT}.model",
        f'"{"x" * 59}…"',
        "not in the catalog",
        "valid here",
    ),
    "very long key": (
        good(**{"k" * 5000: 1}),
        f"{ASSISTANT}.{'k' * 59}…",
        "1",
        "not a known key",
        "valid here",
    ),
    "very long list": (
        good(scaling=[0] * 5000),
        f"{ASSISTANT}.scaling",
        "[0, 0, ",
        "mapping",
        "mapping of keys",
    ),
    "text on two lines": (
        good(model="gpt2\nflan"),
        f"{ASSISTANT}.model",
        r'"gpt2\nflan"',
        "not in the catalog",
        "did you mean gpt2",
    ),
    "key on two lines": (good(**{"a\nb": 1}), rf"{ASSISTANT}.a\nb", "1", "not a known key", "valid here"),
    "text that steers a terminal": (
        good(model="\x9b31mgpt2"),
        f"{ASSISTANT}.model",
        r'"\x9b31mgpt2"',
        "not in the catalog",
        "did you mean gpt2",
    ),
    "deployment in another script": (
        deployments({"асистент": {"topology": "cloud-run", "model": "gpt2"}}),
        "llm:deployments.асистент",
        '"асистент"',
        "not a deployment's name",
        "lower-case letters",
    ),
    "digits of another script": (
        top(gcp_region="us-central١"),
        "gcp:region",
        "١",
        "not a region",
        "us-central1",
    ),
    "label in another script": (
        top(llm_labels={"team": "suche-ü"}),
        "llm:labels.team",
        '"suche-ü"',
        "not a label's value",
        "write suche-",
    ),
    "model with a trailing blank": (
        good(model="gpt2 "),
        f"{ASSISTANT}.model",
        '"gpt2 "',
        "not in the catalog",
        "did you mean gpt2?",
    ),
    "model in capitals": (
        good(model="Google/Flan-T5-Base"),
        f"{ASSISTANT}.model",
        '"Google/Flan-T5-Base"',
        "not in the catalog",
        "did you mean google/flan-t5-base?",
    ),
    "empty model": (good(model=""), f"{ASSISTANT}.model", '""', "not in the catalog", "valid here"),
    # What a shell or a template would have filled in.
    "variable of a shell as the project": (
        top(gcp_project="${GOOGLE_CLOUD_PROJECT}"),
        "gcp:project",
        "${GOOGLE_CLOUD_PROJECT}",
        "not a project ID",
        "6 to 30",
    ),
    "variable of a shell as the region": (
        top(gcp_region="$REGION"),
        "gcp:region",
        '"$REGION"',
        "not a region",
        "valid here",
    ),
    "template as the model": (
        good(model="{{ model }}"),
        f"{ASSISTANT}.model",
        "{{ model }}",
        "not in the catalog",
        "valid here",
    ),
    "variable as a number": (
        good(scaling={"max": "$MAX"}),
        f"{ASSISTANT}.scaling.max",
        '"$MAX"',
        "not a whole number",
        "write a whole number",
    ),
    # Another type than the key's.
    "flag as a project": (top(gcp_project=True), "gcp:project", '"true"', "not a project ID", "6 to 30"),
    "list as a region": (
        top(gcp_region=["us-central1"]),
        "gcp:region",
        "us-central1",
        "not text",
        "one value",
    ),
    "fraction as seconds": (
        good(timeoutSeconds=1.5),
        f"{ASSISTANT}.timeoutSeconds",
        "1.5",
        "not a whole number",
        "whole number",
    ),
    "flag as seconds": (
        good(timeoutSeconds=False),
        f"{ASSISTANT}.timeoutSeconds",
        "false",
        "not a whole number",
        "whole number",
    ),
    "null as a section": (
        good(scaling=None),
        f"{ASSISTANT}.scaling",
        None,
        "not a mapping",
        "mapping of keys",
    ),
    "null as a number": (
        good(scaling={"max": None}),
        f"{ASSISTANT}.scaling.max",
        None,
        "not a whole number",
        "whole number",
    ),
    "flag in quotes": (
        inline(gated="true"),
        f"{ASSISTANT}.model.gated",
        '"true"',
        "not true or false",
        "true or",
    ),
    "word for a flag": (
        inline(gated="yes"),
        f"{ASSISTANT}.model.gated",
        '"yes"',
        "not true or false",
        "true or",
    ),
    "text as a list of sources": (
        inline(sources="config.json"),
        f"{ASSISTANT}.model.sources",
        '"config.json"',
        "not a list",
        "write a list",
    ),
    "list as the architecture": (
        inline(architecture=[1]),
        f"{ASSISTANT}.model.architecture",
        "[1]",
        "not a mapping",
        "mapping of keys",
    ),
    "huge number": (
        good(timeoutSeconds=10**15),
        f"{ASSISTANT}.timeoutSeconds",
        "1000000",
        "above 3600",
        "at most 3600",
    ),
    "nested deeply": (good(scaling=DEEP), f"{ASSISTANT}.scaling", "[[[[", "not a mapping", "mapping of keys"),
    "deployments written as text that is no JSON": (
        deployments("{assistant: gpt2}"),
        "llm:deployments",
        "{assistant: gpt2}",
        "not a mapping",
        "names to deployments",
    ),
    "inline model in a list": (
        good(model=[TINY]),
        f"{ASSISTANT}.model",
        '[{"',
        "not text",
        "write text",
    ),
}
