"""The inputs of a PipelineRun, and their form in Google's API.

Limits: the discovery document aiplatform.v1, PipelineJob and `pipelineJobs.create`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, model_validator

from providers.base.values import Properties
from providers.modelops.vertexai.inputs import Account, Folder, RunInputs, Text, refuse
from providers.modelops.vertexai.names import digest

REGISTRY: Final = "https://"
BUCKET: Final = "gs://"
BILLING_LABEL: Final = "vertex-ai-pipelines-run-billing-id"
"""Label that Vertex AI gives to every run: discovery document aiplatform.v1, PipelineJob.labels."""


def _template(value: Any) -> Any:
    if isinstance(value, dict) and "root" in specification(value) and "pipelineInfo" in specification(value):
        return value
    if isinstance(value, str) and value.startswith((REGISTRY, BUCKET)):
        return value
    raise refuse(
        "",
        "is neither a compiled pipeline (with `root` and `pipelineInfo`) nor its address: "
        "https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/TEMPLATE/TAG or gs://BUCKET/OBJECT",
    )


class PipelineRunInputs(RunInputs):
    """Validated, known inputs of a PipelineRun."""

    run_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,126}$")]
    template: Annotated[Any, AfterValidator(_template)]
    parameters: dict[Text, Any] = Field(default_factory=dict)
    pipeline_root: Folder
    service_account: Account | None = None
    wait: bool = False

    @model_validator(mode="after")
    def _no_billing_label(self) -> PipelineRunInputs:
        if BILLING_LABEL in self.labels:
            raise refuse("labels", "{name} is set by Vertex AI itself", name=BILLING_LABEL)
        return self

    @property
    def name(self) -> str:
        """Full name of the run."""
        return f"{self.parent}/pipelineJobs/{self.run_id}"

    @property
    def content(self) -> str:
        """Digest of what is run, with what, where and for whom."""
        return digest(
            [self.display_name, self.template, self.parameters, self.pipeline_root, self.service_account]
        )

    def request(self, template: Any) -> dict[str, Any]:
        """The PipelineJob of a request, without labels.

        Args:
            template: the compiled pipeline, or an address in a registry, which Vertex AI itself reads.
        """
        source = (
            {"templateUri": template}
            if isinstance(template, str)
            else {"pipelineSpec": specification(template)}
        )
        return {
            "displayName": self.display_name,
            **source,
            "runtimeConfig": {
                "gcsOutputDirectory": self.pipeline_root,
                "parameterValues": self.parameters,
            },
            **({"serviceAccount": self.service_account} if self.service_account else {}),
        }


def specification(template: dict[str, Any]) -> dict[str, Any]:
    """The pipeline's specification: compilers write it alone, or inside the job that would run it."""
    inner = template.get("pipelineSpec")
    return inner if isinstance(inner, dict) else template


def shown(body: dict[str, Any]) -> Properties:
    """The inputs that a PipelineJob was made of, as an import needs them."""
    runtime = body.get("runtimeConfig", {})
    found: Properties = {
        "template": body.get("templateUri") or body.get("pipelineSpec", {}),
        "parameters": runtime.get("parameterValues", {}),
        "pipelineRoot": runtime.get("gcsOutputDirectory", ""),
    }
    return found | ({"serviceAccount": body["serviceAccount"]} if body.get("serviceAccount") else {})
