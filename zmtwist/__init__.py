"""zmtwist: the Twisted control plane for zm-next workers in ZoneMinder."""

from zmtwist._version import __version__

__all__ = ["__version__"]
