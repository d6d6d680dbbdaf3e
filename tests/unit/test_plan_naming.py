"""Physical names keep Google's rules whatever the stack and the deployment are called."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from stacks.plan import naming

STACKS = st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True)
DEPLOYMENTS = st.from_regex(naming.DEPLOYMENT_NAME, fullmatch=True)
PROJECTS = st.from_regex(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True).filter(
    lambda name: "google" not in name
)

RUN = re.compile(r"[a-z](?:[-a-z0-9]{0,47}[a-z0-9])?")
ACCOUNT = re.compile(r"[a-z](?:[-a-z0-9]{4,28}[a-z0-9])")
BUCKET = re.compile(r"[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]")
REPOSITORY = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@given(STACKS, DEPLOYMENTS)
def test_services_jobs_and_accounts_have_legal_names(stack: str, deployment: str) -> None:
    assert RUN.fullmatch(naming.service_name(stack, deployment))
    assert RUN.fullmatch(naming.job_name(stack, deployment))
    for role in ("serve", "weights"):
        assert ACCOUNT.fullmatch(naming.account_id(stack, deployment, role))


@given(PROJECTS, STACKS)
def test_buckets_repositories_secrets_and_tags_have_legal_names(project: str, stack: str) -> None:
    bucket = naming.bucket_name(project, stack)
    assert BUCKET.fullmatch(bucket)
    assert "google" not in bucket
    assert REPOSITORY.fullmatch(naming.repository_id(stack))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", naming.secret_id(stack))
    assert TAG.fullmatch(naming.image_tag(stack))


@given(st.text(max_size=100))
def test_labels_of_any_text_are_legal(text: str) -> None:
    assert naming.LABEL_VALUE.fullmatch(naming.label(text))
    assert naming.LABEL_KEY.fullmatch(naming.label_key(text))


def test_a_stack_with_a_hyphen_shares_no_name_with_a_deployment_of_another() -> None:
    for one in (naming.service_name, naming.job_name, lambda *given: naming.account_id(*given, "serve")):
        assert one("dev-eu", "a") != one("dev", "eu-a")
    assert naming.service_name("dev", "eu-a") == "dev-eu-a"


@given(STACKS, DEPLOYMENTS, DEPLOYMENTS)
def test_two_deployments_of_a_stack_never_share_a_service_job_or_account(
    stack: str, one: str, other: str
) -> None:
    def accounts(deployment: str) -> set[str]:
        return {naming.account_id(stack, deployment, role) for role in ("serve", "weights")}

    if one != other:
        assert naming.service_name(stack, one) != naming.service_name(stack, other)
        assert naming.job_name(stack, one) != naming.job_name(stack, other)
        assert not accounts(one) & accounts(other)


def test_names_that_need_no_change_stay_readable() -> None:
    assert naming.service_name("dev", "assistant") == "dev-assistant"
    assert naming.job_name("dev", "assistant") == "dev-assistant-weights"
    assert naming.account_id("dev", "assistant", "serve") == "dev-assistant-serve"
    assert naming.bucket_name("acme-ml-dev", "dev") == "acme-ml-dev-dev-models"
    assert naming.repository_id("dev") == "dev-images"
    assert naming.secret_id("dev") == "dev-hub-token"


def test_names_that_differ_only_after_the_cut_stay_different() -> None:
    one = naming.account_id("a-long-stack-name", "a-deployment-with-a-name-one", "serve")
    other = naming.account_id("a-long-stack-name", "a-deployment-with-a-name-two", "serve")
    assert one[:22] == other[:22]
    assert one != other


def test_stacks_that_differ_only_in_case_get_different_names() -> None:
    assert naming.service_name("Dev", "chat") != naming.service_name("dev", "chat")


def test_a_stack_called_google_gets_a_bucket_without_that_word() -> None:
    assert "google" not in naming.bucket_name("acme-ml-dev", "my-google-stack")


def test_a_model_folder_keeps_owner_and_name_apart() -> None:
    assert naming.model_folder("google/flan-t5-small") == "google--flan-t5-small"
    assert naming.model_folder("gpt2") == "gpt2"
