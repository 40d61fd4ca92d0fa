"""Deployer's two entries: the command line (``python app.py …``) and a WSGI application (``app:app``)."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Built when a WSGI server asks for it, so that the command line need not load the web part.
    if name == "app":
        from deployer import config_file
        from deployer.application import create_app
        from deployer.installation import Installation

        return create_app(Installation.open(config_file.load()))
    raise AttributeError(name)


if __name__ == "__main__":
    from deployer.cli.main import main

    main()
