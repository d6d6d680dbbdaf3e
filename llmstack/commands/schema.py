"""`llmstack schema`: the JSON Schema of a stack file, for editors."""

from __future__ import annotations

from llmstack.output import print_json
from stacks.config_schema import stack_file_schema


def schema() -> None:
    """The JSON Schema of a stack file, for editors: docs/schema/stack.schema.json."""
    print_json(stack_file_schema())
