"""zcolor colours black-and-white photographs.

>>> import zcolor
>>> "colorize" in dir(zcolor)
True

The names below are loaded when they are first asked for (PEP 562), so that ``import zcolor`` costs
nothing: the first use of one of them loads torch, not the import.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zcolor.colorizer import Colorizer
    from zcolor.distribution import ColorDistribution
    from zcolor.mean_color import mean_chroma
    from zcolor.one_call import colorize
    from zcolor.quantizer import AbGrid
    from zcolor.registry import list_models, load_model

__version__ = "0.1.0"

__all__ = [
    "AbGrid",
    "ColorDistribution",
    "Colorizer",
    "__version__",
    "colorize",
    "list_models",
    "load_model",
    "mean_chroma",
]

_HOME_OF = {
    "AbGrid": "zcolor.quantizer",
    "ColorDistribution": "zcolor.distribution",
    "Colorizer": "zcolor.colorizer",
    "colorize": "zcolor.one_call",
    "list_models": "zcolor.registry",
    "load_model": "zcolor.registry",
    "mean_chroma": "zcolor.mean_color",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module at its first use."""
    if name not in _HOME_OF:
        raise AttributeError(
            f"module 'zcolor' has no attribute {name!r}; it offers {', '.join(__all__)}"
        )
    value: object = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not, beside what the module already holds."""
    return sorted({*globals(), *__all__})
