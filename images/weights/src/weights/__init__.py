"""Stages a checkpoint from the Hugging Face Hub into a bucket: streaming, verified, in bounded memory."""

__version__ = "0.1.0"
