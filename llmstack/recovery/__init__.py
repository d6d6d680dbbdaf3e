"""Finds what exists at Google but is not in a stack's state, and brings it under its component."""
