"""streamvision: a real-time video analytics daemon.

The flow is the folder listing: capture -> batch -> engine -> track -> rules -> sinks.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("streamvision")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
