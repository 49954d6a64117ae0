"""The live draft: the block as it takes shape, and who decided each of its words."""

from david_client.view.live import View

__all__ = ["View"]
