"""A handler for TorchServe: loads the model class that the archive names, from the weights beside it."""

import os
from pathlib import Path

import torch
import transformers


class Handler:
    """What TorchServe calls."""

    def initialize(self, context) -> None:
        """Load the weights, once."""
        settings = context.model_yaml_config["handler"]
        folder = Path(os.environ["MODEL_PATH"])
        missing = [name for name in settings["weights"] if not (folder / name).exists()]
        assert not missing, missing
        family = getattr(transformers, settings["architecture"])
        self.model = family.from_pretrained(folder, dtype=getattr(torch, settings["dtype"])).eval()

    def handle(self, data, _context) -> list:
        """For each row the most likely next token and the type that it was computed in."""
        answers = []
        for row in data:
            ids = torch.tensor([row["data"]])
            with torch.no_grad():
                logits = self.model(input_ids=ids).logits[0, -1]
            answers.append([int(logits.argmax()), str(logits.dtype)])
        return answers
