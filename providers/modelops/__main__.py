"""The plugin's process: `python -m providers.modelops ENGINE`."""

from providers.base.server import main
from providers.modelops.provider import NAME, VERSION, ModelopsProvider

if __name__ == "__main__":
    main(ModelopsProvider, NAME, VERSION)
