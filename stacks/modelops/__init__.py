"""Typed resources of our own provider `modelops`, used as those of a generated Pulumi SDK are."""

from stacks.modelops.staged_model import StagedModel

__all__ = ["StagedModel"]
