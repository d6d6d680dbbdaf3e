"""Which software runs a model: the one that was asked for where it can, else the best that is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from stacks.config_errors import suggest
from stacks.plan.hardware import Engine, engines
from stacks.plan.report import Report
from stacks.plan.spec import ModelSpec

Device = Literal["cpu", "gpu", "tpu"]

TRANSFORMERS: Final = "transformers"
CTRANSLATE2: Final = "ctranslate2"
VLLM: Final = "vllm"
TORCHSERVE: Final = "torchserve"


def choose_engine(
    model: ModelSpec,
    topology: str,
    wanted: str | None,
    device: Device,
    path: str,
    report: Report,
    dtype: str | None = None,
) -> str | None:
    """Chooses the engine of a deployment.

    Args:
        model: what it has to run.
        topology: where.
        wanted: an engine's name as the configuration gives it; None leaves the choice here.
        device: what the topology computes with.
        path: path of the deployment in the stack file.
        report: receives what is wrong, and warnings where a fact is unconfirmed.
        dtype: element type that the configuration asks for; None where any will do.

    Returns:
        the engine's name; None where there is none, which is reported.
    """
    need = _Need(model, topology, device, dtype)
    engine = _best(need, path, report) if wanted is None else _wanted(wanted, need, path, report)
    if engine is None:
        return None
    if dtype is not None and dtype not in engine.dtypes:
        reason = f"is not what {engine.name} computes with"
        report.problem(f"{path}.dtype", dtype, reason, _other_dtype(dtype, engine, need))
        return None
    _warn(engine, need, path, report)
    return engine.name


@dataclass(frozen=True, slots=True)
class _Need:
    """What an engine has to do."""

    model: ModelSpec
    topology: str
    device: Device
    dtype: str | None

    def refusal(self, engine: Engine) -> str | None:
        """Says why an engine cannot do it; an unconfirmed doubt about the model is no reason."""
        model = self.model
        if engine.confirmed and model.family not in engine.families:
            return f"takes models of family {_listed(engine.families)}; {_described(model)}"
        if engine.confirmed and model.architecture.kind not in engine.kinds:
            return f"takes models of kind {_listed(engine.kinds)}; {_described(model)}"
        if self.topology not in engine.topologies:
            return f"does not run on {self.topology}"
        if self.device not in engine.devices:
            return f"does not run on a {self.device.upper()}"
        return None if engine.built else "is not built yet in this version"

    def best(self) -> Engine | None:
        """Finds the best engine that can do it: one for the element type, maintained, surely running it.

        Of several that are as good, it is the first in the table.
        """
        able = [engine for engine in engines().values() if self.refusal(engine) is None]
        order = list(engines())
        return min(able, key=lambda engine: (*self._faults(engine), order.index(engine.name)), default=None)

    def _faults(self, engine: Engine) -> tuple[bool, bool, bool]:
        wrong_type = self.dtype is not None and self.dtype not in engine.dtypes
        return wrong_type, not engine.maintained, not engine.takes(self.model)


def _wanted(name: str, need: _Need, path: str, report: Report) -> Engine | None:
    engine = engines().get(name)
    if engine is None:
        report.problem(f"{path}.engine", name, "is not a known engine", suggest(name, engines()))
        return None
    refusal = need.refusal(engine)
    if refusal is None:
        return engine
    best = need.best()
    remedy = f"write engine: {best.name}, or leave it out" if best else _elsewhere(need.model)
    report.problem(f"{path}.engine", name, refusal, remedy)
    return None


def _best(need: _Need, path: str, report: Report) -> Engine | None:
    best = need.best()
    if best is None:
        report.problem(
            f"{path}.model",
            need.model.repository,
            f"has no engine built in this version that runs kind {need.model.architecture.kind} "
            f"on {need.topology} with a {need.device.upper()}",
            _elsewhere(need.model),
        )
    return best


def _other_dtype(dtype: str, engine: Engine, need: _Need) -> str:
    """Says which element types the engine computes with, and which engine with this one."""
    able = [one for one in engines().values() if one.built and dtype in one.dtypes]
    here = [one.name for one in able if need.refusal(one) is None]
    usual = f"write {' or '.join(engine.dtypes)}, or leave it out"
    if here:
        return f"{usual}; {dtype} needs engine: {here[0]}"
    places = [
        f"{one.name}, for kind {_listed(one.kinds)} on a {' or '.join(one.devices).upper()}" for one in able
    ]
    return f"{usual}; {dtype} is for {'; '.join(places)}" if places else usual


def _warn(engine: Engine, need: _Need, path: str, report: Report) -> None:
    model = need.model
    if need.device in engine.untried:
        report.warn(f"{path}.engine: this project has not run {engine.name} on a {need.device.upper()} yet")
    if not engine.takes(model):
        report.warn(
            f"{path}.engine: {engine.name} may not run {model.repository}, kind {model.architecture.kind} "
            "(unconfirmed)"
        )
    if not engine.maintained:
        report.warn(f"{path}.engine: {engine.name} is no longer maintained ({engine.note})")


def _elsewhere(model: ModelSpec) -> str:
    """Says which engines run a model, wherever that is."""
    able = [engine for engine in engines().values() if engine.takes(model)]
    if not able:
        return "choose another model (llmstack models lists them)"
    places = [f"{engine.name} on {_listed(engine.topologies)}" for engine in able]
    return f"known to run it: {'; '.join(places)}"


def _described(model: ModelSpec) -> str:
    return f"{model.repository} is of family {model.family}, kind {model.architecture.kind}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
