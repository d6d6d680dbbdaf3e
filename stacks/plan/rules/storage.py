"""Mounts, the bucket's settings, and what clean-up keeps of the images."""

from __future__ import annotations

from stacks.plan.report import Report
from stacks.plan.rules.facts import check_text, google_names
from stacks.plan.rules.workloads import path_of
from stacks.plan.types import StackPlan

_ENVIRONMENT = "llm:environment"
"""The environment decides how long deleted objects are kept."""


def mounts(plan: StackPlan, report: Report) -> None:
    """Where the bucket is mounted, and with which options."""
    for each in plan.on_cloud_run.values():
        path = path_of(each)
        check_text(report, "mountPath", path, each.volume.mount_path, "is no path to mount at")
        for option in each.volume.mount_options:
            check_text(report, "mountOption", path, option, "is no mount option")


def soft_delete(plan: StackPlan, report: Report) -> None:
    """How long the bucket keeps deleted objects: not at all, or within Google's range."""
    seconds = plan.foundation.bucket.soft_delete_seconds
    limits = google_names().limits
    least, most = limits["softDeleteMin"].value, limits["softDeleteMax"].value
    if seconds != 0 and not least <= seconds <= most:
        report.problem(
            _ENVIRONMENT,
            seconds,
            "is no time to keep deleted objects",
            f"0, or from {least} to {most} seconds",
        )


def abandoned_uploads(plan: StackPlan, report: Report) -> None:
    """After how many days an upload that nobody finished goes."""
    days = plan.foundation.bucket.abort_uploads_after_days
    if days < 0:
        report.problem("", days, "is no age of an upload", "write days, at least 0")


def clean_up(plan: StackPlan, report: Report) -> None:
    """What the clean-up policies of the image repository say: a duration, and a number of versions."""
    repository = plan.foundation.repository
    if repository.delete_untagged_after_seconds <= 0:
        report.problem(
            "", repository.delete_untagged_after_seconds, "is no age of an image", "write seconds, at least 1"
        )
    if repository.keep_recent < 1:
        report.problem("", repository.keep_recent, "keeps no version of an image", "keep at least 1")


RULES = (mounts, soft_delete, abandoned_uploads, clean_up)
