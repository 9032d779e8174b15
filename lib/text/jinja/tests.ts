// `value is name(…)`: Jinja's tests.
import { binary, compare, contains, equal, isInt, isIterable, isNumber } from "./operators.js";
import { str } from "./repr.js";
import { isLower, isUpper } from "./strings.js";
import { Callable, Dict, Float, List, Range, TemplateFault, Tuple, Undefined, type Value } from "./values.js";

type Test = (value: Value, ...args: Value[]) => boolean;

const ordered =
  (operator: string, holds: (order: number) => boolean): Test =>
  (a, b) =>
    holds(compare(a, b as Value, operator));
const greater = ordered(">", (order) => order > 0);
const less = ordered("<", (order) => order < 0);
const same: Test = (a, b) => equal(a, b as Value);

/** `is`, as far as values here have an identity: None, booleans, small ints and texts are one each. */
const isSame: Test = (a, b) => a === b || (a instanceof Float && b instanceof Float && Object.is(a.value, b.value) && a === b);
const rest = (value: Value, by: Value) => binary("%", value, by);

const NAMED: Readonly<Record<string, readonly [arity: number, test: Test]>> = {
  odd: [0, (value) => equal(rest(value, 2), 1)],
  even: [0, (value) => equal(rest(value, 2), 0)],
  divisibleby: [1, (value, by) => equal(rest(value, by as Value), 0)],
  defined: [0, (value) => !(value instanceof Undefined)],
  undefined: [0, (value) => value instanceof Undefined],
  none: [0, (value) => value === null],
  boolean: [0, (value) => typeof value === "boolean"],
  false: [0, (value) => value === false],
  true: [0, (value) => value === true],
  integer: [0, (value) => isInt(value) && typeof value !== "boolean"],
  float: [0, (value) => value instanceof Float],
  lower: [0, (value) => isLower(str(value))],
  upper: [0, (value) => isUpper(str(value))],
  string: [0, (value) => typeof value === "string"],
  mapping: [0, (value) => value instanceof Dict],
  number: [0, (value) => isNumber(value)],
  sequence: [0, (value) => typeof value === "string" || [List, Tuple, Dict, Range, Undefined].some((type) => value instanceof type)],
  iterable: [0, (value) => isIterable(value)],
  callable: [0, (value) => value instanceof Callable || value instanceof Undefined],
  sameas: [1, isSame],
  escaped: [0, () => false],
  in: [1, (value, container) => contains(container as Value, value)],
  "==": [1, same],
  eq: [1, same],
  equalto: [1, same],
  "!=": [1, (a, b) => !equal(a, b as Value)],
  ne: [1, (a, b) => !equal(a, b as Value)],
  ">": [1, greater],
  gt: [1, greater],
  greaterthan: [1, greater],
  ge: [1, ordered(">=", (order) => order >= 0)],
  ">=": [1, ordered(">=", (order) => order >= 0)],
  "<": [1, less],
  lt: [1, less],
  lessthan: [1, less],
  "<=": [1, ordered("<=", (order) => order <= 0)],
  le: [1, ordered("<=", (order) => order <= 0)],
};

export const TESTS: ReadonlyMap<string, Test> = new Map(
  Object.entries(NAMED).map(([name, [arity, test]]) => [
    name,
    (value: Value, ...args: Value[]) => {
      if (args.length !== arity)
        throw new TemplateFault(`test_${name}() takes ${arity + 1} positional arguments but ${args.length + 1} were given`);
      return test(value, ...args);
    },
  ]),
);

/** Called with its name by select, reject and their kin. */
export function testNamed(name: string): Test {
  return TESTS.get(name) ?? missingTest(name);
}
function missingTest(name: string): never {
  throw new TemplateFault(`No test named ${JSON.stringify(name)}.`);
}
