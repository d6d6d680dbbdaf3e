"""What would not work of a server's flags, paths and probes."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.config_errors import Problem, show
from stacks.plan.gke.facts import JETSTREAM
from stacks.plan.gke.server import QUANTIZE_TYPE, flag
from stacks.plan.staging import JETSTREAM_INT8
from stacks.plan.types_gke import GkeTpuPlan


def check_server(plan: GkeTpuPlan) -> list[Problem]:
    """Checks a server against what is staged for it."""
    return [*_server(plan), *_converter(plan)]


def problem(plan: GkeTpuPlan, what: str, value: object, reason: str, remedy: str) -> Problem:
    """Writes what is wrong with one part of a deployment's plan."""
    shown = None if value is None else show(value)
    return Problem(f"llm:deployments.{plan.deployment} {what}", shown, reason, remedy)


def _server(plan: GkeTpuPlan) -> Iterator[Problem]:
    """The server loads what is staged, in the form that it is told of."""
    pod = plan.object("deployment").manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    args = tuple(container["args"])
    folder = f"{plan.server.mount_path}/{plan.loaded.prefix.rstrip('/')}"
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    if plan.server.mount_path not in mounted:
        yield problem(
            plan, "server", plan.server.mount_path, "is read and not mounted", "mount the weights there"
        )
    names = ("checkpoint_path", "tokenizer_path") if plan.engine == JETSTREAM else ("model",)
    for name in names:
        value = flag(args, name)
        if value is None or not f"{value}/".startswith(f"{folder}/"):
            yield problem(
                plan,
                "server",
                value,
                f"is not where --{name} finds what is staged",
                f"should lie in {folder}",
            )
    if plan.engine == JETSTREAM:
        yield from _quantised(plan, args)
    probe = container["startupProbe"]
    if probe["periodSeconds"] * probe["failureThreshold"] < plan.server.load_seconds:
        yield problem(
            plan,
            "server",
            probe["failureThreshold"],
            f"tries of {probe['periodSeconds']} s end before the weights are loaded "
            f"({plan.server.load_seconds} s): the pod would be restarted for ever",
            f"allow {plan.server.startup_seconds} s",
        )


def _quantised(plan: GkeTpuPlan, args: tuple[str, ...]) -> Iterator[Problem]:
    """A checkpoint in eight bits has scales that a server without the flag does not load."""
    staged = plan.loaded.format == JETSTREAM_INT8
    told = flag(args, "quantize_weights") == "True"
    if staged != told:
        yield problem(
            plan,
            "server",
            f"--quantize_weights={told}",
            f"does not go with weights staged as {plan.loaded.format}",
            f"--quantize_weights={staged}",
        )
    if told and flag(args, "quantize_type") != QUANTIZE_TYPE:
        yield problem(
            plan, "server", flag(args, "quantize_type"), "is not how the weights are quantised", QUANTIZE_TYPE
        )


def _converter(plan: GkeTpuPlan) -> Iterator[Problem]:
    """Google's converter reads what is staged, and writes what the server loads, in that form."""
    if plan.converter is None:
        return
    container = plan.object("converter-job").manifest["spec"]["template"]["spec"]["containers"][0]
    given = dict(each.partition("=")[::2] for each in container["args"])
    right = {
        "-i": f"{plan.staged.uri}/",
        "-o": f"gs://{plan.staged.bucket}/{plan.converter.prefix}",
        "-q": str(plan.converter.format == JETSTREAM_INT8),
    }
    for name, value in right.items():
        if given.get(name) != value:
            yield problem(
                plan,
                "converter-job",
                given.get(name),
                f"is not the {name} that staging and server go by",
                f"should be {value}",
            )
