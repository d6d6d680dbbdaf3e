"""Configurations with one fault each, by theme, and what has to be said of the fault."""

from __future__ import annotations

from tests.unit.config_cases import deployments, engines, machines, models, names, stack, text
from tests.unit.config_cases.builders import Case

THEMES = tuple(theme.CASES for theme in (stack, names, deployments, machines, models, engines, text))

CASES: dict[str, Case] = {name: case for cases in THEMES for name, case in cases.items()}
"""Every case by its name."""
