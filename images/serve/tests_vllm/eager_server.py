"""The server as the image starts it, but with an eager engine: compiling takes minutes on a CPU."""

from __future__ import annotations

from functools import partial

from serve.engines import vllm_engine
from serve.server import main

if __name__ == "__main__":
    # vLLM's processes import this file again, under another name.
    vllm_engine.VllmEngine = partial(vllm_engine.VllmEngine, eager=True)  # type: ignore[misc, assignment]
    main()
