"""Serving against the original's way, TorchServe and static batches."""
