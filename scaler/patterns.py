r"""Regular expressions in linear time, for the matchers of queries: whoever asks must not be able to burn our CPU.

A pattern becomes a non-deterministic automaton (Thompson 1968) that is run as a deterministic one built while it runs
(Aho, Sethi and Ullman, section 3.7), so that each character of a value is looked at once, however the pattern nests.
Understood of RE2's syntax: literals, `.`, classes, `\d \w \s` and their opposites, groups, `|`, `* + ?`, `{m,n}`,
`^ $`. A pattern always means the whole value, as in Prometheus.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST = 20_000
"""Characters of a pattern: an alternation of a thousand workloads has as many."""
MOST_STATES = 40_000
"""States of one automaton, repetitions written out."""
MOST_SETS = 5_000
"""Sets of states that are remembered; a pattern that needs more is forgotten and built anew."""
MOST_STEPS = 5_000_000
"""States entered in the life of one pattern: about two seconds."""
DEEPEST = 60
MOST_REPEATS = 1000
"""As in RE2."""

Test = Callable[[str], bool]
Ranges = tuple[tuple[str, str], ...]

DIGIT: Ranges = (("0", "9"),)
WORD: Ranges = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
SPACE: Ranges = (("\t", "\n"), ("\f", "\r"), (" ", " "))
CLASSES = {"d": DIGIT, "w": WORD, "s": SPACE}
CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}


@dataclass(frozen=True, slots=True)
class _Chars:
    ranges: Ranges
    negated: bool = False

    def holds(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) is not self.negated


ANY = _Chars((), negated=True)


@dataclass(slots=True)
class _Node:
    """A state: on a character of `chars` to the next, or without one to all of `free`."""

    chars: _Chars | None = None
    next: int = -1
    free: list[int] = field(default_factory=list)
    anchor: str = ""
    """The free edges count at the value's beginning ("^") or end ("$") only."""


class Pattern:
    """A compiled pattern."""

    def __init__(self, text: str) -> None:
        """Understand `text`.

        Raises:
            ValueError: it cannot be understood or would grow too large.
        """
        if len(text) > LONGEST:
            raise ValueError(f"a pattern has at most {LONGEST} characters, not {len(text)}")
        self._nodes, self._first, self._last = _Compiler(text).compiled()
        self._sets: dict[frozenset[int], dict[str, frozenset[int]]] = {}
        self._steps = 0
        self._begin = self._closed([self._first], "^")

    def matches(self, value: str) -> bool:
        """Whether the whole of `value` is meant. Raises ValueError where that takes too long to find out."""
        states = self._begin
        for char in value:
            if not states:
                return False
            states = self._after(states, char)
        return self._last in self._closed(states, "$" if value else "^$")

    def _after(self, states: frozenset[int], char: str) -> frozenset[int]:
        known = self._sets.get(states)
        if known is None:
            if len(self._sets) >= MOST_SETS:
                self._sets.clear()
            known = self._sets[states] = {}
        found = known.get(char)
        if found is None:
            steps = [n for n in states if (chars := self._nodes[n].chars) is not None and chars.holds(char)]
            self._count(len(states))
            found = known[char] = self._closed([self._nodes[n].next for n in steps], "")
        return found

    def _closed(self, states: list[int] | frozenset[int], anchors: str) -> frozenset[int]:
        seen, todo = set(states), list(states)
        while todo:
            node = self._nodes[todo.pop()]
            if node.anchor and node.anchor not in anchors:
                continue
            for other in node.free:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        self._count(len(seen))
        return frozenset(seen)

    def _count(self, n: int) -> None:
        self._steps += n
        if self._steps > MOST_STEPS:
            raise ValueError("the pattern takes too long")


class _Compiler:
    """Reads a pattern from left to right and lays out its states; a part is (first state, last state)."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._nodes: list[_Node] = []

    def compiled(self) -> tuple[list[_Node], int, int]:
        first, last = self._alternatives()
        if self._at < len(self._text):
            raise ValueError(f"unexpected ) at {self._at}")
        return self._nodes, first, last

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise ValueError("the pattern ends too early")
        self._at += 1
        return char

    def _new(self, node: _Node) -> int:
        if len(self._nodes) >= MOST_STATES:
            raise ValueError("the pattern is too large")
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _alternatives(self) -> tuple[int, int]:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("the pattern nests too deeply")
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        self._depth -= 1
        if len(parts) == 1:
            return parts[0]
        last = self._new(_Node())
        for _, end in parts:
            self._nodes[end].free.append(last)
        return self._new(_Node(free=[begin for begin, _ in parts])), last

    def _sequence(self) -> tuple[int, int]:
        first = last = self._new(_Node())
        while self._peek() not in {"", "|", ")"}:
            begin, last_of_part = self._repeated()
            self._nodes[last].free.append(begin)
            last = last_of_part
        return first, last

    def _repeated(self) -> tuple[int, int]:
        start = self._at
        part = self._atom()
        stop = self._at
        lows_and_highs = self._quantifier()
        if lows_and_highs is None:
            return part
        low, high = lows_and_highs
        after = self._at
        parts = [part]
        for _ in range(max(low, 1 if high is None else high) - 1):
            # Each repetition is read again from the text: copies of a part are states of their own.
            self._at = start
            parts.append(self._atom())
            if self._at != stop:  # pragma: no cover - the same text reads the same
                raise ValueError("the pattern cannot be read twice")
        self._at = after
        return self._chained(parts, low, endless=high is None)

    def _chained(self, parts: list[tuple[int, int]], low: int, *, endless: bool) -> tuple[int, int]:
        last = self._new(_Node())
        first = self._new(_Node())
        before = first
        for number, (begin, end) in enumerate(parts):
            self._nodes[before].free.append(begin)
            if number >= low:
                self._nodes[before].free.append(last)
            before = end
        self._nodes[before].free.append(last)
        if endless:
            self._nodes[before].free.append(parts[-1][0])
        return first, last

    def _quantifier(self) -> tuple[int, int | None] | None:
        found: tuple[int, int | None] | None = None
        char = self._peek()
        if char and char in "*+?":
            self._at += 1
            found = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        elif char == "{":
            found = self._counted()
        if found is not None and self._peek() == "?":
            self._at += 1  # a lazy repetition matches the same whole values
        after = self._peek()
        if found is not None and after and after in "*+?{":
            raise ValueError(f"a repetition of a repetition at {self._at}")
        return found

    def _counted(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at + 1 : max(end, 0)].partition(",")
        if end < 0 or not low.isdecimal() or (high and not high.isdecimal()) or len(low + high) > 8:
            raise ValueError(f"{{m,n}} expected at {self._at}")
        at_least = int(low)
        at_most = at_least if not comma else int(high) if high else None
        if max(at_least, at_most or 0) > MOST_REPEATS or at_most == 0 or (at_most or at_least) < at_least:
            raise ValueError(f"repetitions go from 1 to {MOST_REPEATS}")
        self._at = end + 1
        return at_least, at_most

    def _atom(self) -> tuple[int, int]:
        char = self._take()
        if char == "(":
            return self._group()
        if char in "^$":
            only = self._new(_Node(anchor=char))
            after = self._new(_Node())
            self._nodes[only].free.append(after)
            return only, after
        if char in "*+?{":
            raise ValueError(f"nothing to repeat at {self._at - 1}")
        last = self._new(_Node())
        return self._new(_Node(self._chars(char), last)), last

    def _group(self) -> tuple[int, int]:
        if self._peek() == "?":
            if not self._text.startswith("?:", self._at):
                raise ValueError("of the groups with (? only (?: … ) is understood")
            self._at += 2
        part = self._alternatives()
        if self._peek() != ")":
            raise ValueError("missing )")
        self._at += 1
        return part

    def _chars(self, char: str) -> _Chars:
        if char == ".":
            return ANY
        if char == "[":
            return self._class()
        return self._escaped() if char == "\\" else _Chars(((char, char),))

    def _escaped(self) -> _Chars:
        char = self._take()
        if char.lower() in CLASSES:
            return _Chars(CLASSES[char.lower()], negated=char.isupper())
        if char in CONTROL:
            return _Chars(((CONTROL[char], CONTROL[char]),))
        if char.isalnum():
            raise ValueError(f"\\{char} is not understood")
        return _Chars(((char, char),))

    def _class(self) -> _Chars:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[str, str]] = []
        first = True
        while first or self._peek() != "]":
            first = False
            ranges += self._range()
        self._at += 1
        return _Chars(tuple(ranges), negated=negated)

    def _range(self) -> Ranges:
        low = self._member()
        if len(low) != 1 or low[0][0] != low[0][1] or self._peek() != "-" or self._text[self._at + 1 :][:1] == "]":
            return low
        self._at += 1
        high = self._member()
        if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
            raise ValueError("a range of characters must rise")
        return ((low[0][0], high[0][0]),)

    def _member(self) -> Ranges:
        char = self._take()
        if char == "[" and self._peek() == ":":
            raise ValueError("named classes are not understood")
        if char != "\\":
            return ((char, char),)
        chars = self._escaped()
        if chars.negated:
            raise ValueError("an opposite inside a class is not understood")
        return chars.ranges
