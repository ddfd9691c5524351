"""The part of PromQL that Foresail understands, read into a tree: docs/reference/promql.md lists it.

    expression:  1, 1.5e3, Inf · name{label="value"} · (…) · -x · x + - * / % ^ y · x == != < <= > >= number
    selector:    = != =~ !~ · [range] inside a function · offset 5m, offset -1h
    functions:   max_over_time, min_over_time, avg_over_time
    aggregation: sum, max, min, avg, count, by (…) or without (…)

Everything else is refused by name.
"""

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from scaler.errors import QuerySyntaxError
from scaler.patterns import Pattern

LONGEST = 50_000
"""Characters of a query: the choice of a thousand workloads as one pattern."""
DEEPEST = 50
MOST_SELECTORS = 20
OVER_TIME = ("max_over_time", "min_over_time", "avg_over_time")
AGGREGATIONS = ("sum", "max", "min", "avg", "count")
COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
BINDING = {**dict.fromkeys(COMPARISONS, 1), "+": 2, "-": 2, "*": 3, "/": 3, "%": 3, "^": 5}
UNARY = 4
"""A sign binds less than ^ and more than anything else."""
UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
DURATION = re.compile(r"(?:\d{1,9}(?:ms|[smhdwy]))+(?![\w.])", re.ASCII)
NUMBER = re.compile(
    r"(?:0x[0-9a-f]{1,16}|(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:e[+-]?\d{1,3})?)(?![\w.])",
    re.ASCII | re.IGNORECASE,
)
NAME = re.compile(r"[a-zA-Z_:][\w:]*", re.ASCII)
OPERATOR = re.compile(r"=~|!~|==|!=|<=|>=|[-+*/%^<>=(){}\[\],]")
BLANK = re.compile(r"(?:\s+|#[^\n]*)+")
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`')
ESCAPE = re.compile(r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL)
ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label; a label that is absent is empty."""

    label: str
    operator: str
    value: str
    pattern: Pattern | None = None
    """Where the operator is =~ or !~."""

    def holds(self, value: str) -> bool:
        """Whether a label's value fulfils the condition. Raises QuerySyntaxError for a pattern that takes too long."""
        if self.pattern is None:
            return (value == self.value) is (self.operator == "=")
        try:
            return self.pattern.matches(value) is (self.operator == "=~")
        except ValueError as error:
            raise QuerySyntaxError(f"{self.label}{self.operator}…: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class Selector:
    """Series by their labels, the name among them as `__name__`."""

    matchers: tuple[Matcher, ...]
    offset_s: float = 0.0
    range_s: float | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class OverTime:
    """A function of what lies in a range."""

    function: str
    selector: Selector


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Series put together by labels, all of them or all but some."""

    function: str
    expression: "Expression"
    labels: tuple[str, ...]
    without: bool


@dataclass(frozen=True, slots=True)
class Binary:
    """Two sides and what is between them."""

    operator: str
    left: "Expression"
    right: "Expression"


Expression = Selector | Number | OverTime | Aggregate | Binary


def parse(text: str) -> Expression:
    """Understand a query.

    Raises:
        QuerySyntaxError: it is no PromQL, or outside of what is understood; with the place.
    """
    return _Parser(text).whole()


def parse_selector(text: str) -> Selector:
    """Understand a plain selector, as in `match[]`. Raises QuerySyntaxError."""
    found = parse(text)
    if not isinstance(found, Selector) or found.offset_s or found.range_s is not None:
        raise QuerySyntaxError(f"a selector is expected, not {text[:80]!r}")
    return found


def duration_s(text: str) -> float:
    """Seconds of `5m` or `1h30m`. Raises QuerySyntaxError."""
    if not DURATION.fullmatch(text):
        raise QuerySyntaxError(f"a duration such as 5m or 1h30m is expected, not {text[:40]!r}")
    return sum(float(n) * UNITS_S[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdwy])", text))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """number, duration, string, name, operator or end."""
    text: str
    at: int


def _tokens(text: str) -> list[_Token]:
    kinds = (("duration", DURATION), ("number", NUMBER), ("string", STRING), ("name", NAME), ("operator", OPERATOR))
    found: list[_Token] = []
    at = 0
    while at < len(text):
        if blank := BLANK.match(text, at):
            at = blank.end()
            continue
        for kind, pattern in kinds:
            if match := pattern.match(text, at):
                found.append(_Token(kind, match.group(), at))
                at = match.end()
                break
        else:
            raise QuerySyntaxError(f"parse error at char {at + 1}: unexpected {text[at : at + 20]!r}")
    return [*found, _Token("end", "", len(text))]


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise QuerySyntaxError(f"a query has at most {LONGEST} characters, not {len(text)}")
        self._tokens, self._at, self._depth, self._selectors = _tokens(text), 0, 0, 0

    def whole(self) -> Expression:
        if self._peek().kind == "end":
            raise QuerySyntaxError("no expression found in input")
        found = self._expression(0)
        if self._peek().kind != "end":
            self._fail("unexpected")
        if isinstance(found, Selector) and found.range_s is not None:
            raise QuerySyntaxError("a range needs a function around it, such as max_over_time(…[1h])")
        return found

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._peek()
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _is(self, *texts: str) -> bool:
        return self._peek().kind in {"operator", "name"} and self._peek().text in texts

    def _accept(self, text: str) -> bool:
        found = self._is(text)
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            self._fail(f"{text!r} expected, not")

    def _fail(self, what: str) -> NoReturn:
        token = self._peek()
        said = "the end" if token.kind == "end" else repr(token.text[:40])
        raise QuerySyntaxError(f"parse error at char {token.at + 1}: {what} {said}")

    def _expression(self, binding: int) -> Expression:
        self._depth += 1
        if self._depth > DEEPEST:
            raise QuerySyntaxError(f"an expression nests at most {DEEPEST} deep")
        left = self._unary()
        while self._peek().kind == "operator" and BINDING.get(self._peek().text, 0) > binding:
            operator = self._take().text
            if self._is("bool", "on", "ignoring"):
                self._fail("not understood after an operator:")
            # ^ alone groups from the right.
            right = self._expression(BINDING[operator] - (operator == "^"))
            left = _checked(Binary(operator, left, right))
        if self._is("and", "or", "unless", "atan2"):
            self._fail("not understood:")
        self._depth -= 1
        return left

    def _unary(self) -> Expression:
        if self._is("-", "+"):
            sign = -1.0 if self._take().text == "-" else 1.0
            operand = self._expression(UNARY)
            return Number(sign * operand.value) if isinstance(operand, Number) else _checked(
                Binary("*", Number(sign), operand)
            )  # fmt: skip
        return self._modified(self._primary())

    def _primary(self) -> Expression:
        token = self._peek()
        if token.kind == "number":
            text = self._take().text
            return Number(float(int(text, 16)) if text[:2].lower() == "0x" else float(text))
        if self._accept("("):
            found = self._expression(0)
            self._expect(")")
            return found
        if token.kind == "name":
            return self._named()
        if self._is("{"):
            return self._selector(None)
        return self._fail("unexpected")

    def _named(self) -> Expression:
        name = self._take().text
        if name.lower() in {"inf", "nan"} and not self._is("{"):
            return Number(float(name))
        if self._is("(") or (name in AGGREGATIONS and self._is("by", "without")):
            return self._called(name)
        return self._selector(name)

    def _called(self, name: str) -> Expression:
        if name in AGGREGATIONS:
            return self._aggregate(name)
        if name not in OVER_TIME:
            known = ", ".join((*OVER_TIME, *AGGREGATIONS))
            raise QuerySyntaxError(f"{name[:80]} is not understood here; known are {known}")
        self._expect("(")
        inner = self._expression(0)
        self._expect(")")
        if not isinstance(inner, Selector) or inner.range_s is None:
            raise QuerySyntaxError(f"{name} needs a selector with a range, such as {name}(foresail_load[1h])")
        return OverTime(name, inner)

    def _aggregate(self, name: str) -> Aggregate:
        before = self._grouping()
        self._expect("(")
        inner = self._expression(0)
        self._expect(")")
        labels, without = before or self._grouping() or ((), False)
        if not _is_vector(inner):
            raise QuerySyntaxError(f"{name} needs series, not a number or a range")
        return Aggregate(name, inner, labels, without)

    def _grouping(self) -> tuple[tuple[str, ...], bool] | None:
        if not self._is("by", "without"):
            return None
        without = self._take().text == "without"
        self._expect("(")
        labels: list[str] = []
        while not self._accept(")"):
            if self._peek().kind != "name":
                self._fail("a label is expected, not")
            labels.append(self._take().text)
            if not self._is(")"):
                self._expect(",")
        return tuple(labels), without

    def _selector(self, name: str | None) -> Selector:
        self._selectors += 1
        if self._selectors > MOST_SELECTORS:
            raise QuerySyntaxError(f"a query has at most {MOST_SELECTORS} selectors")
        matchers = [] if name is None else [Matcher("__name__", "=", name)]
        if self._accept("{"):
            while not self._accept("}"):
                matchers.append(self._matcher())
                if not self._is("}"):
                    self._expect(",")
        if all(matcher.holds("") for matcher in matchers):
            raise QuerySyntaxError("vector selector must contain at least one non-empty matcher")
        return Selector(tuple(matchers), range_s=self._range())

    def _matcher(self) -> Matcher:
        if self._peek().kind != "name":
            self._fail("a label is expected, not")
        label, operator = self._take().text, self._peek().text
        if not self._is("=", "!=", "=~", "!~"):
            self._fail("=, !=, =~ or !~ expected, not")
        self._take()
        if self._peek().kind != "string":
            self._fail("a quoted value is expected, not")
        value = _unquoted(self._take().text)
        try:
            pattern = Pattern(value) if operator in {"=~", "!~"} else None
        except ValueError as error:
            raise QuerySyntaxError(f"{label}{operator}{value[:80]!r}: {error}") from error
        return Matcher(label, operator, value, pattern)

    def _range(self) -> float | None:
        if not self._accept("["):
            return None
        token = self._take()
        if token.kind != "duration":
            self._at -= 1
            self._fail("a duration is expected, not")
        if not self._is("]"):
            self._fail("] is expected (no subqueries), not")
        self._take()
        found = duration_s(token.text)
        if found <= 0.0:
            raise QuerySyntaxError("a range must be longer than nothing")
        return found

    def _modified(self, found: Expression) -> Expression:
        if not self._accept("offset"):
            return found
        if not isinstance(found, Selector):
            raise QuerySyntaxError("offset belongs to a selector")
        sign = -1.0 if self._accept("-") else 1.0
        token = self._take()
        if token.kind != "duration":
            self._at -= 1
            self._fail("a duration is expected, not")
        return Selector(found.matchers, sign * duration_s(token.text), found.range_s)


def _is_vector(found: Expression) -> bool:
    if isinstance(found, Binary):
        return _is_vector(found.left) or _is_vector(found.right)
    return not isinstance(found, Number) and not (isinstance(found, Selector) and found.range_s is not None)


def _checked(found: Binary) -> Binary:
    for side in (found.left, found.right):
        if isinstance(side, Selector) and side.range_s is not None:
            raise QuerySyntaxError("a range needs a function around it, such as max_over_time(…[1h])")
    if found.operator in COMPARISONS and not (isinstance(found.right, Number) and _is_vector(found.left)):
        raise QuerySyntaxError(f"{found.operator} compares series on its left with a number on its right")
    return found


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]

    def one(match: re.Match[str]) -> str:
        plain, byte, unit, other = match.groups()
        if other is not None:
            raise QuerySyntaxError(f"unknown escape \\{other} in {text[:80]}")
        return ESCAPED.get(plain, plain) if plain is not None else chr(int(byte or unit, 16))

    return ESCAPE.sub(one, text[1:-1])


def scalar(found: Expression) -> float | None:
    """Value of an expression without series, None where there are series in it."""
    if isinstance(found, Number):
        return found.value
    if isinstance(found, Binary) and not _is_vector(found):
        left, right = scalar(found.left), scalar(found.right)
        return None if left is None or right is None else calculated(found.operator, left, right)
    return None


def calculated(operator: str, left: float, right: float) -> float:
    """Two numbers put together as floating point does: nothing is refused."""
    try:
        return float({
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left / right,
            "%": lambda: math.fmod(left, right),
            "^": lambda: math.pow(left, right),
        }[operator]())  # fmt: skip
    except ZeroDivisionError:
        return math.nan if left == 0.0 or math.isnan(left) else math.copysign(math.inf, left)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan
