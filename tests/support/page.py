"""What stands on a page, read as a browser's parser reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.inside)

    @property
    def words(self) -> str:
        """The text with each run of white space as one space."""
        return " ".join(self.text.split())

    def walk(self) -> Iterator[Element]:
        for part in self.inside:
            if isinstance(part, Element):
                yield part
                yield from part.walk()

    def find_all(self, tag: str | None = None, **wanted: str) -> list[Element]:
        """The elements of a tag whose attributes have these values; ``class_`` is one of the classes."""
        return [one for one in self.walk() if one._is(tag, wanted)]

    def find(self, tag: str | None = None, **wanted: str) -> Element:
        (one,) = self.find_all(tag, **wanted)
        return one

    def _is(self, tag: str | None, wanted: dict[str, str]) -> bool:
        if tag is not None and self.tag != tag:
            return False
        for name, value in wanted.items():
            if name == "class_":
                if value not in self.attributes.get("class", "").split():
                    return False
            elif self.attributes.get(name.replace("_", "-")) != value:
                return False
        return True


class Page(Element):
    def __init__(self, html: str) -> None:
        super().__init__("#page", {})
        _Parser(self).feed(html)

    def value(self, name: str) -> str:
        """What a form's field of this name holds."""
        (one,) = self.values(name)
        return one

    def values(self, name: str) -> list[str]:
        fields = [
            one for one in self.walk() if one.tag in ("input", "textarea") and one.attributes.get("name") == name
        ]
        # HTML, 13.2.6.4.7: the newline right behind a textarea's tag is not part of its value.
        return [
            one.text.removeprefix("\n") if one.tag == "textarea" else one.attributes.get("value", "")
            for one in fields
        ]

    def error_at(self, name: str) -> str:
        """The words at a field that was refused."""
        refused = self.find(id=name)
        assert refused.attributes.get("aria-invalid") == "true"
        assert f"{name}-error" in refused.attributes["aria-describedby"].split()
        return self.find(id=f"{name}-error").words


class _Parser(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = [page]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].inside.append(made)
        if tag not in _VOID:
            self._open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].inside.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        for depth in range(len(self._open) - 1, 0, -1):
            if self._open[depth].tag == tag:
                del self._open[depth:]
                return

    def handle_data(self, data: str) -> None:
        self._open[-1].inside.append(data)
