"""The words every other room shares. Importing this package imports neither torch nor numpy-heavy parts.

Dimension letters, one list for the whole project:
    b batch       t query length   s key length    d model width   h heads      dh head width
    f ffn width   v vocabulary     m targets       e experts       p patches    c classes
As indices, q and k are one query's and one key's position.
"""

from modeledge.core.batch import IGNORE, PER_TOKEN, Batch
from modeledge.core.config import Config, PartConfig, Slot, part
from modeledge.core.errors import (
    DataError,
    InputError,
    ModeledgeError,
    RecipeError,
    RunError,
    TooLittle,
    nearest,
    unknown,
)
from modeledge.core.facts import Facts
from modeledge.core.find import Part, add_plugin, build, find, kinds
from modeledge.core.output import Output, Sum
from modeledge.core.rng import Draws, RowRandom, Shuffle, keyed, seed_of

__all__ = [
    "Draws",
    "IGNORE",
    "PER_TOKEN",
    "Batch",
    "Config",
    "DataError",
    "Facts",
    "InputError",
    "ModeledgeError",
    "Output",
    "Part",
    "PartConfig",
    "RecipeError",
    "RowRandom",
    "RunError",
    "Shuffle",
    "Slot",
    "Sum",
    "TooLittle",
    "add_plugin",
    "build",
    "find",
    "keyed",
    "kinds",
    "nearest",
    "part",
    "seed_of",
    "unknown",
]
