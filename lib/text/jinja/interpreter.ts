// Runs a template: statements write text, expressions give values.
import { spend, spendText } from "./budget.js";
import { FILTERS } from "./filters.js";
import { Loop } from "./loop.js";
import { attribute, callableOf, member, Slice } from "./members.js";
import type { CallArguments, Expression, Frame, MacroNode, Statement, Target } from "./nodes.js";
import { binary, compare, concatenated, contains, equal, iterate, negated, positive, truth } from "./operators.js";
import { str, typeName } from "./repr.js";
import { TESTS } from "./tests.js";
import { Callable, Dict, type Kwargs, List, Namespace, or, TemplateFault, Tuple, Undefined, type Value, Walk } from "./values.js";

/** Names of a template, a turn of a loop, or a macro. */
export class Scope {
  readonly #names = new Map<string, Value>();
  constructor(
    private readonly around?: Scope,
    frame?: Frame,
  ) {
    for (const name of frame?.unseen ?? []) this.set(name, new Undefined(`'${name}' is undefined`));
  }
  get(name: string): Value | undefined {
    const value = this.#names.get(name);
    return value === undefined ? this.around?.get(name) : value; // None is a value
  }
  set(name: string, value: Value): void {
    this.#names.set(name, value);
  }
}

/** Text as it is written. */
class Output {
  readonly #parts: string[] = [];
  #length = 0;
  write(text: string): void {
    this.#length += text.length;
    spendText(text.length);
    if (this.#length > 1 << 26) spendText(this.#length);
    this.#parts.push(text);
  }
  text(): string {
    return this.#parts.join("");
  }
}

/** How a body ended before its last statement. */
type Ending = "break" | "continue" | undefined;

export function run({ statements }: Frame, scope: Scope): string {
  const out = new Output();
  execute(statements, scope, out);
  return out.text();
}

function execute(body: readonly Statement[], scope: Scope, out: Output): Ending {
  for (const statement of body) {
    const ending = step(statement, scope, out);
    if (ending) return ending;
  }
  return undefined;
}

function step(statement: Statement, scope: Scope, out: Output): Ending {
  spend();
  switch (statement.kind) {
    case "data":
      out.write(statement.text);
      return undefined;
    case "output":
      out.write(str(evaluate(statement.value, scope)));
      return undefined;
    case "break":
    case "continue":
      return statement.kind;
    case "choose": {
      const taken = statement.branches.find(([test]) => truth(evaluate(test, scope)));
      return execute(taken ? taken[1] : statement.otherwise, scope, out);
    }
    case "for":
      return loop(statement, evaluate(statement.over, scope), scope, out, 0);
    case "set":
      assign(statement.target, evaluate(statement.value, scope), scope);
      return undefined;
    case "setBlock": {
      const inner = new Output();
      const ending = execute(statement.body.statements, new Scope(scope, statement.body), inner);
      if (ending) return ending;
      const text = inner.text();
      assign(statement.target, statement.filter ? evaluate(statement.filter, scope, text) : text, scope);
      return undefined;
    }
    case "filterBlock": {
      const inner = new Output();
      const ending = execute(statement.body.statements, new Scope(scope, statement.body), inner);
      if (!ending) out.write(str(evaluate(statement.filter, scope, inner.text())));
      return ending;
    }
    case "with": {
      const inner = new Scope(scope, statement.body);
      // Every value sees what stood before the block.
      const values = statement.names.map(([, value]) => evaluate(value, scope));
      for (const [i, [target]] of statement.names.entries()) assign(target, values[i] as Value, inner);
      return execute(statement.body.statements, inner, out);
    }
    case "generation":
    case "block":
      return execute(statement.body.statements, new Scope(scope, statement.body), out);
    case "callBlock":
      out.write(str(callWithBlock(statement.call, macro(statement.caller, scope), scope)));
      return undefined;
    case "macro":
      scope.set(statement.name, macro(statement, scope));
      return undefined;
  }
}

type ForNode = Extract<Statement, { kind: "for" }>;

function loop(node: ForNode, over: Value, scope: Scope, out: Output, depth: number): Ending {
  const recurse = (inner: Value, depth0: number) => {
    const text = new Output();
    loop(node, inner, scope, text, depth0);
    return text.text();
  };
  const values = node.test ? new Walk(passing(node, node.test, over, scope)) : over;
  const turns = new Loop(values, iterate(values), depth, node.recursive ? recurse : undefined);
  let whole = false; // did a turn run to its end?
  for (let value = turns.next(); value !== undefined; value = turns.next()) {
    spend(4);
    const turn = new Scope(scope, node.body);
    turn.set("loop", turns);
    assign(node.target, value, turn);
    const ending = execute(node.body.statements, turn, out);
    if (ending === "break") break;
    whole ||= ending === undefined;
  }
  // As Jinja has it: a loop whose every turn was left early counts as one without turns.
  return whole ? undefined : execute(node.otherwise.statements, new Scope(scope, node.otherwise), out);
}

function* passing(node: ForNode, test: Expression, over: Value, scope: Scope): Generator<Value> {
  for (const value of iterate(over)) {
    const inner = new Scope(scope);
    assign(node.target, value, inner);
    if (truth(evaluate(test, inner))) yield value;
  }
}

function assign(target: Target, value: Value, scope: Scope): void {
  if (target.kind === "name") scope.set(target.name, value);
  else if (target.kind === "member") {
    const holder = scope.get(target.name);
    if (!(holder instanceof Namespace)) throw new TemplateFault("cannot assign attribute on non-namespace object");
    holder.values.set(target.attribute, value);
  } else {
    const items = [...iterate(value)];
    if (items.length !== target.items.length)
      throw new TemplateFault(
        items.length > target.items.length
          ? `too many values to unpack (expected ${target.items.length})`
          : `not enough values to unpack (expected ${target.items.length}, got ${items.length})`,
      );
    for (const [i, inner] of target.items.entries()) assign(inner, items[i] as Value, scope);
  }
}

function macro(node: MacroNode, around: Scope): Callable {
  return new Callable(node.name, (args, kwargs) => run(node.body, bound(node, args, kwargs, around)), "Macro");
}

/** The scope of a macro's body: parameters by position, by name, or by default. */
function bound({ name, parameters, defaults, body, reads }: MacroNode, args: readonly Value[], given: Kwargs, around: Scope): Scope {
  const scope = new Scope(around, body);
  const kwargs = new Map(given);
  const missing: [index: number, name: string][] = [];
  for (const [i, parameter] of parameters.entries()) {
    const value = i < args.length ? args[i] : kwargs.get(parameter);
    if (i >= args.length) kwargs.delete(parameter);
    if (value === undefined) missing.push([i, parameter]);
    // A default that reads a parameter which is not there yet finds it undefined, and not what is around.
    scope.set(
      parameter,
      or(value, () => new Undefined(`parameter '${parameter}' was not provided`)),
    );
  }
  for (const [i, parameter] of missing) {
    const fallback = defaults[i - (parameters.length - defaults.length)];
    if (fallback) scope.set(parameter, evaluate(fallback, scope));
  }
  if (reads.caller && !parameters.includes("caller")) {
    scope.set("caller", kwargs.get("caller") ?? new Undefined("No caller defined")); // None too, as jinja2 has it
    kwargs.delete("caller");
  }
  if (reads.kwargs) scope.set("kwargs", new Dict(kwargs));
  else for (const key of kwargs.keys()) throw new TemplateFault(`macro '${name}' takes no keyword argument '${key}'`);
  if (reads.varargs) scope.set("varargs", new Tuple(args.slice(parameters.length)));
  else if (args.length > parameters.length) throw new TemplateFault(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
  return scope;
}

function callWithBlock(call: Expression, caller: Callable, scope: Scope): Value {
  if (call.kind !== "call") throw new TemplateFault("expected call");
  const { args, kwargs } = evaluateArguments(call.given, scope);
  return callableOf(evaluate(call.callee, scope)).call(args, new Map([...kwargs, ["caller", caller]]));
}

function evaluateArguments(given: CallArguments, scope: Scope): { args: Value[]; kwargs: Map<string, Value> } {
  const args = given.args.map((arg) => evaluate(arg, scope));
  const kwargs = new Map(given.kwargs.map(([name, value]) => [name, evaluate(value, scope)]));
  if (given.rest) for (const value of iterate(evaluate(given.rest, scope))) args.push(value);
  if (given.restKwargs) {
    const more = evaluate(given.restKwargs, scope);
    if (!(more instanceof Dict)) throw new TemplateFault(`argument after ** must be a mapping, not ${typeName(more)}`);
    for (const [key, value] of more.entries.values()) {
      if (kwargs.has(str(key))) throw new TemplateFault(`got multiple values for keyword argument '${str(key)}'`);
      kwargs.set(str(key), value);
    }
  }
  return { args, kwargs };
}

function compared(operator: string, a: Value, b: Value): boolean {
  if (operator === "==") return equal(a, b);
  if (operator === "!=") return !equal(a, b);
  if (operator === "in") return contains(b, a);
  if (operator === "not in") return !contains(b, a);
  const order = compare(a, b, operator);
  if (operator === "<") return order < 0;
  if (operator === "<=") return order <= 0;
  return operator === ">" ? order > 0 : order >= 0;
}

/** `piped`: what a filter without a value works on. */
function evaluate(node: Expression, scope: Scope, piped?: Value): Value {
  spend();
  switch (node.kind) {
    case "const":
      return node.value;
    case "name":
      return or(scope.get(node.name), () => new Undefined(`'${node.name}' is undefined`));
    case "list":
      return new List(node.items.map((item) => evaluate(item, scope)));
    case "tuple":
      return new Tuple(node.items.map((item) => evaluate(item, scope)));
    case "dict":
      return new Dict(node.items.map(([key, value]) => [evaluate(key, scope), evaluate(value, scope)] as const));
    case "if":
      if (truth(evaluate(node.test, scope))) return evaluate(node.holds, scope);
      if (node.otherwise) return evaluate(node.otherwise, scope);
      return new Undefined("the inline if-expression evaluated to false and no else section was defined.");
    case "and": {
      const left = evaluate(node.left, scope);
      return truth(left) ? evaluate(node.right, scope) : left;
    }
    case "or": {
      const left = evaluate(node.left, scope);
      return truth(left) ? left : evaluate(node.right, scope);
    }
    case "not":
      return !truth(evaluate(node.of, scope));
    case "negative":
      return negated(evaluate(node.of, scope));
    case "positive":
      return positive(evaluate(node.of, scope));
    case "compare": {
      let left = evaluate(node.left, scope);
      for (const [operator, operand] of node.operands) {
        const right = evaluate(operand, scope);
        if (!compared(operator, left, right)) return false;
        left = right;
      }
      return true;
    }
    case "binary":
      return binary(node.operator, evaluate(node.left, scope), evaluate(node.right, scope));
    case "concat":
      return concatenated(node.items.map((item) => evaluate(item, scope)));
    case "attribute":
      return attribute(evaluate(node.of, scope), node.name);
    case "item":
      return member(evaluate(node.of, scope), evaluate(node.at, scope));
    case "slice": {
      const part = (bound: Expression | undefined) => (bound ? evaluate(bound, scope) : null);
      return new Slice(part(node.from), part(node.to), part(node.step));
    }
    case "call": {
      const callee = evaluate(node.callee, scope);
      const { args, kwargs } = evaluateArguments(node.given, scope);
      return callableOf(callee).call(args, kwargs);
    }
    case "filter": {
      const value = node.of ? evaluate(node.of, scope, piped) : (piped as Value);
      const { args, kwargs } = evaluateArguments(node.given, scope);
      return (FILTERS.get(node.name) as NonNullable<ReturnType<typeof FILTERS.get>>)(value, args, kwargs);
    }
    case "test": {
      const value = evaluate(node.of, scope);
      const { args } = evaluateArguments(node.given, scope);
      return (TESTS.get(node.name) as NonNullable<ReturnType<typeof TESTS.get>>)(value, ...args);
    }
  }
}
