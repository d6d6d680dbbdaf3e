"""Every call that one `up` of a stack of every type makes, as it is recorded by a rehearsed cloud.

`test_every_call.py` checks this list against a clean `up`, so that a new call cannot be forgotten.
"""

from __future__ import annotations

CREATES = (
    *(
        ("gcp:projects/service:Service", f"*/services/{api}.googleapis.com")
        for api in (
            "artifactregistry",
            "cloudresourcemanager",
            "iam",
            "iamcredentials",
            "logging",
            "monitoring",
            "run",
            "secretmanager",
            "serviceusage",
            "storage",
        )
    ),
    ("gcp:artifactregistry/repository:Repository", "*/repositories/test-images"),
    ("gcp:serviceaccount/account:Account", "*/test-assistant-serve@*"),
    ("gcp:serviceaccount/account:Account", "*/test-assistant-weights@*"),
    ("gcp:secretmanager/secret:Secret", "*/secrets/test-hub-token"),
    ("gcp:secretmanager/secretVersion:SecretVersion", "*/secrets/test-hub-token"),
    ("gcp:secretmanager/secretIamMember:SecretIamMember", "*/roles/secretmanager.secretAccessor/*"),
    ("gcp:storage/bucket:Bucket", "*/buckets/llm-test-test-models"),
    ("gcp:storage/bucketIAMMember:BucketIAMMember", "*/roles/storage.objectUser/*"),
    ("gcp:storage/bucketIAMMember:BucketIAMMember", "*/roles/storage.objectViewer/*"),
    ("docker-build:index:Image", "*/weights:test"),
    ("docker-build:index:Image", "*/serve:test"),
    ("gcp:cloudrunv2/job:Job", "*/jobs/test-assistant-weights"),
    ("gcp:cloudrunv2/service:Service", "*/services/test-assistant"),
)
"""Type and target of each resource that is created; the target is a shell pattern."""

REQUESTS = (
    ("run.googleapis.com", "run.projects.locations.jobs.get"),
    ("run.googleapis.com", "run.projects.locations.jobs.executions.list"),
    ("run.googleapis.com", "run.projects.locations.jobs.run"),
    ("run.googleapis.com", "run.projects.locations.jobs.executions.get"),
    ("storage.googleapis.com", "storage.objects.list"),
    ("storage.googleapis.com", "storage.objects.insert"),
    ("storage.googleapis.com", "storage.objects.get"),
)
"""API and method of each request of our own provider and of the staging job."""
