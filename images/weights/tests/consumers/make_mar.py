"""Packs an archive with torch-model-archiver and prints its manifest.

Arguments: name, folder with the handler's module, configuration file, empty folder for the archive.
"""

import sys
import zipfile
from pathlib import Path

from model_archiver.model_archiver import generate_model_archive
from model_archiver.model_archiver_config import ModelArchiverConfig

if __name__ == "__main__":
    name, modules, config, folder = sys.argv[1:]
    handler = str(Path(modules) / "weights_handler.py")
    generate_model_archive(
        ModelArchiverConfig(
            model_name=name, handler=handler, version="1.0", config_file=config, export_path=folder
        )
    )
    with zipfile.ZipFile(Path(folder) / f"{name}.mar") as archive:
        sys.stdout.write(archive.read("MAR-INF/MANIFEST.json").decode())
