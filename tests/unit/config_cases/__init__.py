"""Configurations with one fault each, by theme, and what has to be said of the fault."""
