"""Unpacks an archive and loads its handler with TorchServe's own loader.

Arguments: the archive, an empty folder, the folder with the handler's module, token numbers as JSON. Prints
what the handler got and answered.
"""

import json
import sys
import zipfile
from pathlib import Path

import ts
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory


def load(archive: str, folder: str, modules: str, ids: str) -> dict:
    """Do as TorchServe does: the frontend unpacks, the worker imports the handler by its name."""
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(folder)
    sys.path.insert(0, modules)
    model = json.loads((Path(folder) / "MAR-INF" / "MANIFEST.json").read_text())["model"]
    metrics = MetricsCacheYamlImpl(str(Path(ts.__file__).parent / "configs" / "metrics.yaml"))
    metrics.initialize_cache()
    loader = ModelLoaderFactory.get_model_loader()
    service = loader.load(model["modelName"], folder, model["handler"], None, 1, metrics_cache=metrics)
    handle = service._entry_point  # what a request is handed to
    return {
        "module": type(handle.__self__).__module__,
        "name": service.context.model_name,
        "config": service.context.model_yaml_config,
        "answer": handle([{"data": json.loads(ids)}], service.context),
    }


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(load(*sys.argv[1:])))
