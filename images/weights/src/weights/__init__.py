"""Stages and converts a checkpoint into a bucket or folder: streaming, verified, in bounded memory."""

__version__ = "0.1.0"
