"""Engines: what runs a model. `base` is the interface; the HTTP side knows nothing else."""
