"""What jsonargparse says of a bad argument, said shorter and with what would be right."""

from __future__ import annotations

import re

_KEY = re.compile(
    r'Parser key "([\w.]+)": (?:- Expected a path but (?:\S+ )?either not accessible or invalid )?(?:- )?'
)
_UNION = re.compile(r"^Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] Errors: (.*)")
_VALUE = r"(.*?)(?: - Expected an? .*| Given value type: .*)?$"
_OF_CLASS = r"(?:^|- )--([\w.]+)(.*?)(?: - --.*| - Expected an? .*| - Not a valid .*| Given value type: .*)?$"
"""What the parser of the class that an option names has said already."""
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "dict": "a mapping such as {name: value}",
    "Mapping": "a mapping such as {name: value}",
    "Budget": "limits such as {parameters: 5000, flops: 2e6}",
}
"""What a person calls plain values."""
_LISTS = ("list", "Sequence", "Iterable", "set")


def plain_message(line: str) -> str:
    """The message, as `--option takes …, got …` where it is about a value of a wrong type.

    Args:
        line: jsonargparse's message, in one line.
    """
    keys = [match[1] for match in _KEY.finditer(line)]
    if not keys:
        return line
    rest = line[[*_KEY.finditer(line)][-1].end() :]
    names = [key for i, key in enumerate(keys) if key not in keys[:i]]
    option = "--" + ".".join(
        name for i, name in enumerate(names) if not any(n.startswith(f"{name}.") for n in names[i:])
    )
    if refused := re.search(r"Importing '([\w.]+)' is not allowed", rest):
        return f"{option}: {refused[1]} is nothing that a setting may name"
    if "Expected an import path or a subclass spec, but got None" in rest:
        return f"{option} takes the name of a class, such as package.Class, got null"
    if inner := re.search(_OF_CLASS, rest):
        return f"{option}.{inner[1]}{inner[2]}"
    if required := re.search(
        r"the following arguments are required: (.*?)(?: - Expected| Given value| Does not|$)", line
    ):
        needed = re.split(r",\s*", required[1])
        return f"{option} needs {', '.join(needed)}: give {' '.join(f'{option}.{name} …' for name in needed)}"
    if callable_ := re.search(
        r"expects a function or a callable class: (.*?)\.?(?:\.? Got value: .*| - Expected .*)?$", rest
    ):
        wrong = re.match(r"Expected '([\w.]+)' to be a subclass of <class '([\w.]+)'>", callable_[1])
        return f"{option}: {wrong[1]} is no {wrong[2]}" if wrong else f"{option}: {callable_[1]}"
    union = _UNION.match(rest)
    wanted = _types(union[1]) if union else []
    if any(name in type_ for type_ in wanted for name in _WORDS):  # plain values are meant, no class
        wanted = [type_ for type_ in wanted if "[" in type_ or any(name in type_ for name in (*_WORDS, "NoneType"))]
    elif "Not a valid subclass of" in rest or "Expected a dot import path string" in rest:
        given = re.search(r"Given value: (.*)|Got value: (\S*)", rest)
        name = (given[1] or given[2] or "") if given else ""
        return f"{option} takes the name of a class, such as package.Class, got {name!r}"
    if unloaded := re.match(r"Unable to load config ['\"](.*?)['\"]", rest):
        return f"{option} takes a file or a mapping, got {unloaded[1]!r}"
    if union:
        value = re.search(r"Given value: " + _VALUE, union[2])
    elif single := re.match(r"Expected an? (.*?)(?:\. Got value: (.*)|$)", rest):
        value = re.search(r"Got value: " + _VALUE, rest)
        wanted = [single[1]]
    else:
        return line
    got = value[1].strip() if value else ""
    words = list(dict.fromkeys(_word(type_, got) for type_ in wanted))
    return f"{option} takes {' or '.join(words)}, got {got or repr('')}"


def _types(text: str) -> list[str]:
    """The types of a union, which commas part outside of brackets."""
    found, depth, start = [], 0, 0
    for i, sign in enumerate(text):
        depth += (sign in "[<(") - (sign in "])>")
        if sign == "," and depth == 0:
            found.append(text[start:i].strip())
            start = i + 1
    return [*found, text[start:].strip()]


def _word(type_: str, got: str) -> str:
    """What a person calls a type."""
    name = re.sub(r"^<class '(.*)'>$", r"\1", type_)
    if choices := re.match(r"typing\.Literal\[(.*)\]", name):
        return f"one of {choices[1].replace(chr(39), '')}"
    name = re.sub(r"^(?:[\w]+\.)+(?=\w+(?:\[|$))", "", name)
    outer = name.partition("[")[0]
    if outer in _LISTS:
        if "tuple" in name:
            return "a list of lists, such as [[1, 2], [3, 4]]"
        numbers = "int" in name or "float" in name
        one = got if re.fullmatch(r"[\d.]+" if numbers else r"[\w.+-]+", got) else "1, 2" if numbers else "a, b"
        return f"a list, such as [{one}]"
    if outer == "tuple":
        return f"a list of {name.count(',') + 1}"
    if count := re.match(r"tuple with (\d+) elements", name):
        return f"a list of {count[1]}"
    return "null" if outer == "NoneType" else _WORDS.get(outer, name)
