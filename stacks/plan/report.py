"""Where the plan's checks put what they find."""

from __future__ import annotations

from dataclasses import dataclass, field

from stacks.config_errors import Problem, mask, show


@dataclass(slots=True)
class Report:
    """Problems, which stop a plan, warnings, which do not, and notes, which tell of other ways."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, path: str, value: object, reason: str, remedy: str) -> None:
        """Records a problem; `value` None stands for no value."""
        shown = None if value is None else show(value)
        self.problems.append(Problem(path, shown, reason, remedy))

    def warn(self, text: str) -> None:
        """Records a warning, once, with anything like a Hub token masked."""
        text = mask(text)
        if text not in self.warnings:
            self.warnings.append(text)
