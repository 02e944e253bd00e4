"""HTML and SVG as trees of elements, so that no name of a class or file can break a page."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

Content = Element | str | None


def element(tag: str, *content: Content | Iterable[Content], **attributes: object) -> Element:
    """An element with its content in order; texts are escaped when the tree is written.

    Args:
        tag: its name.
        content: elements and texts, or several of them; None is left out.
        attributes: by name, `_` for `-`, and one at the end is dropped (`class_`).
    """
    names = {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()}
    made = Element(tag, names)
    last: Element | None = None
    for part in _flat(content):
        if isinstance(part, Element):
            made.append(part)
            last = part
        elif last is None:
            made.text = (made.text or "") + part
        else:
            last.tail = (last.tail or "") + part
    return made


def _flat(content: Iterable[Content | Iterable[Content]]) -> Iterable[Element | str]:
    for part in content:
        if isinstance(part, Element | str):
            yield part
        elif part is not None:
            yield from _flat(part)


def document(root: Element) -> str:
    """A whole HTML document."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"
