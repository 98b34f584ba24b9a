"""Serve the page for the browser on this machine, and open it.

    python docs/examples/serve.py

It needs the extra `web`. Ctrl-C ends it. Nobody else can reach it: it listens at 127.0.0.1.
"""

from __future__ import annotations

import logging

from zcolor.apps.web import serve


def main() -> None:
    """Serve until Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # says the address
    serve(port=7860, open_browser=True)


if __name__ == "__main__":
    main()
