"""What to type where an extra is not installed."""

from __future__ import annotations

import sys


def install_command(extra: str) -> str:
    """Give the command that installs an extra beside the zcolor that is running.

    The `pip` that a shell finds is often that of another Python, so the running one is named.

    Parameters
    ----------
    extra
        One of `options.extras_require` in setup.cfg, such as "web".

    Examples
    --------
    >>> install_command("web").replace(sys.executable, "python")
    '"python" -m pip install "zcolor[web]"'
    """
    return f'"{sys.executable}" -m pip install "zcolor[{extra}]"'
