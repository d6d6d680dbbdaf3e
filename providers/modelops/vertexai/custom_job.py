"""`modelops:vertex:CustomJob`: containers that Vertex AI runs to completion on machines of its own.

Its id is the full name, `projects/P/locations/L/customJobs/NUMBER`. Google gives the number; an interrupted
deployment finds its job again by the label of its URN and of what it runs.
"""

from __future__ import annotations

from providers.base.values import Properties
from providers.modelops.vertexai.custom_jobs import Body, CustomJobs, Run, has_label, run_of
from providers.modelops.vertexai.job_inputs import CustomJobInputs, JobSpec
from providers.modelops.vertexai.names import OWN_LABELS, SPEC_LABEL, URN_LABEL, mark, place_of
from providers.modelops.vertexai.runs import RunResource, is_lost


class CustomJob(RunResource[CustomJobInputs]):
    """Runs, watches, stops and deletes a custom job."""

    inputs_type = CustomJobInputs
    title = "CustomJob"
    # The API cannot change a custom job: it has no method for that.
    replace_on = ("project", "location", "displayName", "jobSpec", "labels")
    kind = "custom job"
    collection = "customJobs"
    cancelled_on_interrupt = True

    def normal(self, news: Properties) -> Properties:
        """See `VertexResource.normal`: Vertex AI always shows the number of machines, so it is there."""
        spec = news.get("jobSpec")
        pools = spec.get("workerPoolSpecs") if isinstance(spec, dict) else None
        if not isinstance(spec, dict) or not isinstance(pools, list):
            return news
        counted = [{"replicaCount": 1, **pool} if isinstance(pool, dict) else pool for pool in pools]
        return {**news, "jobSpec": {**spec, "workerPoolSpecs": counted}}

    def begin(self, inputs: CustomJobInputs, urn: str) -> Body:
        """See `RunResource.begin`."""
        marks = {URN_LABEL: mark(urn), SPEC_LABEL: inputs.content}
        body = {
            "displayName": inputs.display_name,
            "labels": {**inputs.labels, **marks},
            "jobSpec": inputs.job_spec.request(),
        }

        def wanted(job: Body) -> bool:
            labels = job.get("labels", {})
            return not is_lost(run_of(job)) and all(labels.get(key) == value for key, value in marks.items())

        return CustomJobs(self.api).found_or_created(
            f"custom job {inputs.display_name} in {inputs.parent}",
            inputs.parent,
            body,
            has_label(URN_LABEL, mark(urn)),
            wanted,
        )

    def run(self, body: Body) -> Run:
        """See `RunResource.run`."""
        return run_of(body)

    def orphans(self, id: str, inputs: CustomJobInputs, urn: str) -> list[str]:
        """See `RunResource.orphans`: those with the URN's label."""
        what = f"custom jobs {inputs.display_name}"
        every = CustomJobs(self.api).listed(what, inputs.parent, has_label(URN_LABEL, mark(urn)))
        numbers = [
            str(job["name"]).rpartition("/")[2]
            for job in every
            # They are deleted: the filter alone is not enough.
            if job.get("labels", {}).get(URN_LABEL) == mark(urn)
        ]
        return [f"{inputs.parent}/customJobs/{number}" for number in numbers if not id.endswith(f"/{number}")]

    def observed(self, name: str, body: Body, known: Properties) -> Properties:
        """See `RunResource.observed`. What runs cannot have changed under the same number."""
        project, location = place_of(name)
        labels = {key: value for key, value in body.get("labels", {}).items() if key not in OWN_LABELS}
        return {
            "project": project,
            "location": location,
            "displayName": body.get("displayName", ""),
            "jobSpec": known.get("jobSpec") or JobSpec.shown(body.get("jobSpec", {})),
            "labels": labels,
            "wait": known.get("wait", True),
        }
