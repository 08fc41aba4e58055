"""The live page: what settings lead to, while they are changed by hand.

`view` computes what is shown, `words` and `figures` show it, `page` is the page and `serve` its server.
"""

from idjax.diagnosis.explore.open_page import explore

__all__ = ["explore"]
