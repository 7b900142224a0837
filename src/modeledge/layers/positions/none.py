"""No positions: a set of tokens, or an architecture that tells the order otherwise."""

from modeledge.core import PartConfig
from modeledge.layers.positions import Positions


class Unplaced(Positions):
    class Config(PartConfig):
        """Nothing to set."""
