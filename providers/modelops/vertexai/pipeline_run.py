"""`modelops:vertex:PipelineRun`: one run of a compiled pipeline.

It is submitted, and not waited for unless that is asked; a refresh reports how it stands. Its id is the full
name, `projects/P/locations/L/pipelineJobs/RUN_ID`, by which an interrupted deployment finds it again.
"""

from __future__ import annotations

from typing import Any

import yaml

from providers.base.errors import ProviderError, one_line
from providers.base.values import Properties
from providers.modelops.client import Google
from providers.modelops.vertexai.custom_jobs import Body, Run
from providers.modelops.vertexai.names import OWN_LABELS, SPEC_LABEL, URN_LABEL, mark, place_of
from providers.modelops.vertexai.pipeline_inputs import BILLING_LABEL, BUCKET, PipelineRunInputs, shown
from providers.modelops.vertexai.runs import RunResource


class PipelineRun(RunResource[PipelineRunInputs]):
    """Submits, watches, stops and deletes a pipeline run."""

    inputs_type = PipelineRunInputs
    title = "PipelineRun"
    # The API cannot change a pipeline run: it has no method for that.
    replace_on = (
        "project",
        "location",
        "runId",
        "displayName",
        "template",
        "parameters",
        "pipelineRoot",
        "serviceAccount",
        "labels",
    )
    kind = "pipeline run"
    collection = "pipelineJobs"
    cancelled_on_interrupt = False

    def begin(self, inputs: PipelineRunInputs, urn: str) -> Body:
        """See `RunResource.begin`."""
        marks = {URN_LABEL: mark(urn), SPEC_LABEL: inputs.content}
        what = f"pipeline run {inputs.name}"
        body = {
            **inputs.request(_resolved(self.google, inputs.template)),
            "labels": {**inputs.labels, **marks},
        }

        def attempt() -> Body:
            there = self.api.found(f"looking for {what}", "pipelineJobs.get", repeat=False, name=inputs.name)
            if there is not None:
                if any(there.get("labels", {}).get(key) != value for key, value in marks.items()):
                    raise ProviderError(
                        f"{what} exists already and is another one: choose another runId, or delete it"
                    )
                return there
            created: Body = self.api.call(
                f"submitting {what}",
                "pipelineJobs.create",
                repeat=False,
                account=inputs.service_account,
                parent=inputs.parent,
                body=body,
                pipelineJobId=inputs.run_id,
            )
            return created

        return self.api.attempts(attempt)

    def run(self, body: Body) -> Run:
        """See `RunResource.run`."""
        state = str(body.get("state", "")).removeprefix("PIPELINE_STATE_")
        project, location = place_of(body["name"])
        # https://cloud.google.com/vertex-ai/docs/pipelines/visualize-pipeline
        page = f"vertex-ai/locations/{location}/pipelines/runs/{body['name'].rpartition('/')[2]}"
        return Run(
            name=body["name"],
            state=state,
            message=one_line((body.get("error") or {}).get("message", "")) or state.lower(),
            log_uri=f"https://console.cloud.google.com/{page}?project={project}",
        )

    def observed(self, name: str, body: Body, known: Properties) -> Properties:
        """See `RunResource.observed`. What runs cannot have changed under the same id."""
        project, location = place_of(name)
        theirs = OWN_LABELS | {BILLING_LABEL}
        labels = {key: value for key, value in body.get("labels", {}).items() if key not in theirs}
        fixed = ("template", "parameters", "pipelineRoot", "serviceAccount")
        kept = {key: known[key] for key in fixed if known.get(key) is not None}
        return {
            "project": project,
            "location": location,
            "runId": name.rpartition("/")[2],
            "displayName": body.get("displayName", ""),
            **(kept if "template" in kept else shown(body)),
            "labels": labels,
            "wait": known.get("wait", False),
        }


def _resolved(google: Google, template: Any) -> Any:
    """The template as a request has it: one in a bucket is read here, for Vertex AI reads registries only.

    Source: the discovery document aiplatform.v1, PipelineJob.templateUri.
    """
    if not isinstance(template, str) or not template.startswith(BUCKET):
        return template
    bucket, _, name = template.removeprefix(BUCKET).partition("/")
    raw = google.call(
        f"reading {template}",
        f"roles/storage.objectViewer on bucket {bucket}",
        lambda: google.service("storage").objects().get_media(bucket=bucket, object=name),
    )
    try:
        # Compilers write YAML or JSON; YAML includes JSON.
        compiled = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ProviderError(f"{template} is no compiled pipeline: {one_line(error)}") from error
    if not isinstance(compiled, dict):
        raise ProviderError(f"{template} is no compiled pipeline: it holds no mapping")
    return compiled
