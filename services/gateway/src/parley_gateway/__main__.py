"""``python -m parley_gateway``."""

from parley_gateway.app import build
from parley_gateway.config import GatewaySettings
from parley_runtime.lifecycle import main

if __name__ == "__main__":
    main("gateway", GatewaySettings, build)
