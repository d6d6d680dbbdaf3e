"""The original's way: the whole snapshot to disk, the whole model into memory, halved, pickled.

Run with the serving image's Python; uploading the result is `plain.py upload`.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers
from huggingface_hub import snapshot_download

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--repo", required=True)
parser.add_argument("--revision", required=True)
parser.add_argument("--folder", type=Path, required=True, help="receives the snapshot and model.pt")
options = parser.parse_args()

snapshot = Path(
    snapshot_download(options.repo, revision=options.revision, local_dir=options.folder / "snapshot")
)
architecture = json.loads((snapshot / "config.json").read_text())["architectures"][0]
model = getattr(transformers, architecture).from_pretrained(snapshot, dtype=torch.float32).half()
torch.save(model.state_dict(), options.folder / "model.pt")
