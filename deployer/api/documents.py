"""JSON that comes in from outside."""

from __future__ import annotations

import json
from typing import Any

from flask.json.provider import DefaultJSONProvider


class Documents(DefaultJSONProvider):
    """Flask's JSON. A document that is nested too deep, or whose texts no store takes, is as broken as any other."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Raises ValueError. Lone surrogates (RFC 8259, 8.2) are no Unicode: they cannot be encoded as UTF-8."""
        try:
            document = super().loads(s, **kwargs)
            json.dumps(document, ensure_ascii=False).encode()
        except RecursionError as error:
            raise ValueError("The document is nested too deep.") from error
        return document
