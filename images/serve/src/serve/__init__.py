"""HTTP server for one staged language model."""

__version__ = "0.1.0"
