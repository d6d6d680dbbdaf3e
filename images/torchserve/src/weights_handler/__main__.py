"""`python -m weights_handler` starts TorchServe with the model in `MODEL_PATH`."""

from weights_handler.start import main

main()
