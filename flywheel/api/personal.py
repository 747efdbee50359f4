"""What people wrote, and who they are, in answers: marked, and left out for who may only look.

A field of an answer that holds a text of somebody is a `Text`; a test finds those that are not.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_type_hints

import msgspec


class View(msgspec.Struct, kw_only=True):
    """An answer, or a part of one."""


class _Personal:
    """Marks a field with what people wrote, or with who they are."""


PERSONAL = _Personal()
Text = Annotated[str, PERSONAL]
Texts = Annotated[list[str], PERSONAL]
"""What somebody wrote."""
Raters = Annotated[dict[str, Any], PERSONAL]
"""What is known of raters, by name."""


def figures_of(view: Any) -> Any:
    """The same answer with every field marked `PERSONAL` empty, however deep inside.

    For who may look at figures, and not read what people wrote.

    Args:
        view: a Struct, a list of them, or anything else, which stays as it is.
    """
    if isinstance(view, list):
        return [figures_of(each) for each in view]
    if not isinstance(view, msgspec.Struct):
        return view
    hints = get_type_hints(type(view), include_extras=True)
    fields = {name: getattr(view, name) for name in view.__struct_fields__}
    return type(view)(
        **{
            name: type(value)() if value and is_personal(hints[name]) else figures_of(value)
            for name, value in fields.items()
        }
    )


def is_personal(hint: Any) -> bool:
    """Whether a field's type is marked `PERSONAL`, or what is in it."""
    if PERSONAL in getattr(hint, "__metadata__", ()):
        return True
    return any(map(is_personal, get_args(hint)))
