"""Reads a result stream into the objects of OCP's own library, and prints it again: nothing may be lost or unknown.

The library (`ocptv`, on PyPI) writes such streams and reads none, but it declares every object of the specification with its
fields and types, and checks them.  Beside that, the specification's order: numbers without a gap, the run around everything,
steps that begin once and end once.  Prints how many lines there were, or fails with the line.
"""

import dataclasses
import datetime
import enum
import json
import sys
import typing

from ocptv.output import emit, objects


class Reader:
    def __init__(self):
        self.hardware = {}

    def object(self, kind, found):
        """An object of this kind, from what JSON has for it; unknown and missing fields are errors."""
        values, seen = {}, set()
        for field in dataclasses.fields(kind):
            options = options_of(field.type)
            optional = type(None) in options or typing.get_origin(field.type) is list
            name = field.metadata.get("spec_field")
            if name is None:
                named = [one for one in options if getattr(one, "SPEC_OBJECT", None) in found]
                if len(named) != 1:
                    assert optional and not named, f"{kind.__name__} is one of {options}, found {list(found)}"
                    values[field.name] = None
                    continue
                name = named[0].SPEC_OBJECT
                values[field.name] = self.value(named[0], found[name])
            elif name in found:
                values[field.name] = self.value(field.type, found[name])
            else:
                assert optional, f"{kind.__name__} has no {name}"
                values[field.name] = [] if typing.get_origin(field.type) is list else None
                continue
            seen.add(name)
        unknown = set(found) - seen
        assert not unknown, f"{kind.__name__} has unknown {unknown}"
        made = kind(**values)
        if kind is objects.HardwareInfo:
            self.hardware[made.id] = made
        return made

    def value(self, hint, found):
        options = [one for one in options_of(hint) if one is not type(None)]
        if len(options) == 1:
            (hint,) = options
            if typing.get_origin(hint) is list:
                (item,) = typing.get_args(hint)
                return [self.value(item, one) for one in found]
            # A reference by id, to what the run's start declared.
            if hint is objects.HardwareInfo and isinstance(found, str):
                return self.hardware[found]
            if isinstance(hint, type) and issubclass(hint, enum.Enum):
                return hint(found)
            if hint is float and isinstance(found, str):
                return moment(found)
            if dataclasses.is_dataclass(hint):
                return self.object(hint, found)
        return found


def options_of(hint):
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def without_empty(found):
    """The library writes empty lists where the specification lets them be left out, and times with other digits."""
    if isinstance(found, dict):
        kept = {name: without_empty(one) for name, one in found.items() if one != []}
        if isinstance(kept.get("timestamp"), str):
            kept["timestamp"] = moment(kept["timestamp"])
        return kept
    return [without_empty(one) for one in found] if isinstance(found, list) else found


class Order:
    """What the specification says of lines beside each other."""

    def __init__(self):
        self.begun, self.ended, self.over = set(), set(), False

    def line(self, number, found):
        assert found["sequenceNumber"] == number, f"number {found['sequenceNumber']}"
        assert not self.over, "a line after testRunEnd"
        assert ("schemaVersion" in found) == (number == 0), "schemaVersion is the first line"
        run, step = found.get("testRunArtifact"), found.get("testStepArtifact")
        assert ("testRunStart" in (run or {})) == (number == 1), "testRunStart is the second line"
        self.over = "testRunEnd" in (run or {})
        if self.over:
            assert self.begun == self.ended, f"steps {self.begun - self.ended} were not ended"
        if step:
            name = step["testStepId"]
            assert ("testStepStart" in step) == (name not in self.begun), f"step {name} begins once, first"
            assert name not in self.ended, f"step {name} was ended"
            self.begun.add(name)
            if "testStepEnd" in step:
                self.ended.add(name)


def main():
    reader, order, number = Reader(), Order(), -1
    with open(sys.argv[1], encoding="utf-8") as stream:
        for number, line in enumerate(stream):
            found = json.loads(line)
            try:
                order.line(number, found)
                printed = emit.ArtifactEmitter._serialize(reader.object(objects.Root, found))
                assert without_empty(json.loads(printed)) == without_empty(found), f"printed again: {printed}"
            except Exception as error:
                sys.exit(f"line {number + 1}: {error}\n{line}")
    assert order.over, "no testRunEnd"
    print(number + 1)


main()
