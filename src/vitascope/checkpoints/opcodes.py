"""The data in a pickle, read without unpickling it.

A pickle is a program for a small stack machine, two of whose opcodes fetch any object of any Python module and call it. Here
is the part of that machine which builds numbers, texts, tuples, lists and tables. What it fetches is a name and never an
object; a call goes to a function of ours that knows a handful of names; every other opcode ends the reading. So nothing
that a file says is ever run. The opcodes are those of Lib/pickletools.py.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Container
from dataclasses import dataclass

MOST_OPCODES = 1_000_000
"""A checkpoint takes some forty for each of its tensors, of which it has a thousand."""

_LONGEST_LINE = 200
_LARGEST_KEY = 2**31
_NEWEST = 5


class BadPickle(ValueError):
    """Why a pickle is not read: the end of a sentence that begins with the file's name."""


@dataclass(frozen=True)
class Global:
    """The name of something in a Python module; the thing itself is never looked up."""

    name: str


class Ordered(dict[object, object]):
    """What collections.OrderedDict() leaves: the one kind of object that may carry attributes, which are dropped."""


def data(
    text: bytes,
    *,
    names: Container[str],
    call: Callable[[str, tuple[object, ...]], object],
    outside: Callable[[object], object],
) -> object:
    """What a pickle describes.

    names: the globals that may be named. call: from such a name and its arguments, what a call of it stands for. outside: from
    a persistent id, what it stands for. Raises BadPickle, and nothing else unless these do; takes time and memory in proportion
    to the text.
    """
    return _Machine(text, names, call, outside).run()


class _Machine:
    def __init__(
        self,
        text: bytes,
        names: Container[str],
        call: Callable[[str, tuple[object, ...]], object],
        outside: Callable[[object], object],
    ) -> None:
        self.text, self.place = text, 0
        self.names, self.call, self.outside = names, call, outside
        self.stack: list[object] = []
        self.marks: list[int] = []
        """Heights of the stack at which something begins."""
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        for _ in range(MOST_OPCODES):
            code = self.take(1)
            if code == b".":
                return self.end()
            action = _ACTIONS.get(code)
            if action is None:
                raise BadPickle(f"its program uses the opcode {_spelled(code)}, which data needs not")
            action(self)
        raise BadPickle(f"its program is longer than {MOST_OPCODES:,} opcodes")

    def end(self) -> object:
        value = self.pop()
        if self.stack or self.marks or self.place != len(self.text):
            raise BadPickle("its program ends before its end")
        return value

    def take(self, count: int) -> bytes:
        taken = self.text[self.place : self.place + count]
        if len(taken) != count:
            raise BadPickle("its program breaks off")
        self.place += count
        return taken

    def number(self, form: struct.Struct) -> int:
        return form.unpack(self.take(form.size))[0]

    def line(self) -> str:
        end = self.text.find(b"\n", self.place, self.place + _LONGEST_LINE)
        if end < 0:
            raise BadPickle("its program breaks off within a name")
        return _text(self.take(end + 1 - self.place)[:-1])

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise BadPickle("its program takes what it has not put")
        return self.stack.pop()

    def top(self) -> object:
        self.push(value := self.pop())
        return value

    def since_mark(self) -> list[object]:
        if not self.marks:
            raise BadPickle("its program takes what it has not put")
        height = self.marks.pop()
        values = self.stack[height:]
        del self.stack[height:]
        return values

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise BadPickle("its program remembers what it has not seen")
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def extend(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise BadPickle(f"its program appends to {_kind(target)}")
        target.extend(values)

    def set(self, values: list[object]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(values) % 2:
            raise BadPickle(f"its program sets items of {_kind(target)}")
        for key, value in zip(values[::2], values[1::2]):
            # Texts are hashed with a secret and small numbers to themselves; other keys can be chosen so that a table crawls.
            if type(key) is not str and not (type(key) is int and 0 <= key < _LARGEST_KEY):
                raise BadPickle(f"its program uses {_kind(key)} as a key")
            target[key] = value

    def named(self, module: str, name: str) -> None:
        whole = f"{module}.{name}"
        if whole not in self.names:
            raise BadPickle(
                f"its program asks for {ascii(whole)[1:-1][:120]}, which is not among what weights are made of"
            )
        self.push(Global(whole))

    def from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise BadPickle("its program names a global by what is no text")
        self.named(module, name)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise BadPickle(f"its program calls {_kind(function)} with {_kind(arguments)}")
        self.push(self.call(function.name, arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if type(target) is not Ordered or type(state) is not dict:
            raise BadPickle(f"its program uses the opcode BUILD on {_kind(target)}, which data needs not")

    def frame(self) -> None:
        self.take(8)  # a hint for readers of streams

    def protocol(self) -> None:
        version = self.number(_U1)
        if version > _NEWEST:
            raise BadPickle(f"its program is of pickle's protocol {version}, and {_NEWEST} is the newest known")


_U1, _U2, _U4, _U8 = (struct.Struct(form) for form in ("<B", "<H", "<I", "<Q"))
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")


def _texted(length: struct.Struct) -> Callable[[_Machine], None]:
    return lambda m: m.push(_text(m.take(m.number(length))))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadPickle("its program holds a text that is not UTF-8") from error


def _long(m: _Machine) -> None:
    m.push(int.from_bytes(m.take(m.number(_U1)), "little", signed=True))


_ACTIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.protocol,
    b"\x95": _Machine.frame,
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(_U1)),
    b"M": lambda m: m.push(m.number(_U2)),
    b"J": lambda m: m.push(m.number(_I4)),
    b"\x8a": _long,
    b"G": lambda m: m.push(_F8.unpack(m.take(8))[0]),
    b"\x8c": _texted(_U1),
    b"X": _texted(_U4),
    b"\x8d": _texted(_U8),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.since_mark()),
    b"s": lambda m: m.set([*reversed((m.pop(), m.pop()))]),
    b"u": lambda m: m.set(m.since_mark()),
    b"q": lambda m: m.put(m.number(_U1)),
    b"r": lambda m: m.put(m.number(_U4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.get(m.number(_U1)),
    b"j": lambda m: m.get(m.number(_U4)),
    b"c": lambda m: m.named(m.line(), m.line()),
    b"\x93": _Machine.from_stack,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"Q": lambda m: m.push(m.outside(m.pop())),
}


def _spelled(code: bytes) -> str:
    names = {known.code: known.name for known in pickletools.opcodes}
    return names.get(code.decode("latin-1"), f"0x{code.hex()}")


def _kind(value: object) -> str:
    """What a value is, for a sentence; never what it holds, which may be without end."""
    if isinstance(value, Global):
        return f"the global {value.name}"
    words = {str: "a text", int: "a number", float: "a number", bool: "a truth value", tuple: "a tuple", list: "a list"}
    return words.get(type(value), "nothing" if value is None else "a table" if isinstance(value, dict) else "a tensor")
