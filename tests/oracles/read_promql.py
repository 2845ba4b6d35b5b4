"""Says which of the metrics that there are a PromQL expression asks for, by the parser of Prometheus's query language in Rust.

Reads a JSON object a line, {"expression": text, "metrics": [name]}, and writes for each {"selected": [[name]]}, the metrics of each selector, or
{"error": text}: it cannot be parsed, or Prometheus would not evaluate it. A function over ranges drops the name of its series, and two series that
differ in the name alone are an error then; so it may not be given several metrics unless `label_replace` has told them apart.
"""

import json
import re
import sys

import promql_parser
from promql_parser import Call, MatchOp, MatrixSelector, SubqueryExpr, VectorSelector

# The functions that keep the name.
KEEP_NAMES = ("last_over_time", "first_over_time")


def selected(selector, metrics):
    tests = [test for test in selector.matchers.matchers if test.name == "__name__"]
    return [name for name in metrics if selector.name in (None, name) and all(fits(test, name) for test in tests)]


def fits(test, name):
    if test.op in (MatchOp.Equal, MatchOp.NotEqual):
        return (test.value == name) == (test.op == MatchOp.Equal)
    return bool(re.fullmatch(test.value, name)) == (test.op == MatchOp.Re)


def parts(expression):
    """What an expression is made of, itself first."""
    yield expression
    below = [getattr(expression, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector")]
    for part in [*below, *getattr(expression, "args", [])]:
        if part is not None:
            yield from parts(part)


def is_relabelled(argument):
    return isinstance(argument, SubqueryExpr) and isinstance(argument.expr, Call) and argument.expr.func.name == "label_replace"


def read(expression, metrics):
    found = []
    for part in parts(promql_parser.parse(expression)):
        if isinstance(part, VectorSelector):
            found.append(selected(part, metrics))
        if not isinstance(part, Call) or part.func.name in KEEP_NAMES:
            continue
        for argument in part.args:
            if isinstance(argument, (MatrixSelector, SubqueryExpr)) and not is_relabelled(argument):
                inside = [selected(each, metrics) for each in parts(argument) if isinstance(each, VectorSelector)]
                if any(len(names) > 1 for names in inside):
                    raise ValueError(f"{part.func.name} over several metrics: {inside}")
    return found


def main():
    for line in sys.stdin:
        question = json.loads(line)
        try:
            verdict = {"selected": read(question["expression"], question["metrics"])}
        except ValueError as error:
            verdict = {"error": str(error)}
        print(json.dumps(verdict))


if __name__ == "__main__":
    main()
