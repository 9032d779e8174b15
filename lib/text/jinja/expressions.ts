// Expressions of Jinja: a parser that descends from the loosest operator to the tightest.
import { FILTERS } from "./filters.js";
import type { Token, TokenType } from "./lexer.js";
import type { CallArguments, Expression, Target } from "./nodes.js";
import { TESTS } from "./tests.js";
import { Float, int, TemplateFault } from "./values.js";

const COMPARISONS = new Set(["==", "!=", "<", "<=", ">", ">="]);
const CONSTANTS: Readonly<Record<string, boolean | null>> = { true: true, True: true, false: false, False: false, none: null, None: null };

export class ExpressionParser {
  protected at = 0;
  /** Names that were read, in order. */
  protected readonly read: string[] = [];

  constructor(protected readonly tokens: readonly Token[]) {}

  protected get token(): Token {
    return this.tokens[this.at] as Token;
  }
  protected fail(what: string): never {
    throw new TemplateFault(`${what} (line ${this.token.line})`);
  }
  protected is(type: TokenType, value?: string, ahead = 0): boolean {
    const token = this.tokens[this.at + ahead];
    return token !== undefined && token.type === type && (value === undefined || token.value === value);
  }
  protected skip(type: TokenType, value?: string): boolean {
    if (!this.is(type, value)) return false;
    ++this.at;
    return true;
  }
  protected expect(type: TokenType, value?: string): Token {
    const { token } = this;
    if (!this.skip(type, value)) this.fail(`expected token '${value ?? type}', got '${token.value || token.type}'`);
    return token;
  }

  /** Values apart by commas make a tuple. */
  protected tuple({ parenthesised = false, condition = true } = {}): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length) this.expect("op", ",");
      if (this.is("variable_end") || this.is("block_end") || this.is("op", ")")) break;
      items.push(condition ? this.expression() : this.or());
      if (!this.is("op", ",")) break;
      isTuple = true;
    }
    if (!isTuple && items[0]) return items[0];
    if (!isTuple && !parenthesised) this.fail("Expected an expression");
    return { kind: "tuple", items };
  }

  protected expression(): Expression {
    let value = this.or();
    while (this.skip("name", "if")) {
      const test = this.or();
      value = { kind: "if", test, holds: value, otherwise: this.skip("name", "else") ? this.expression() : undefined };
    }
    return value;
  }

  protected or(): Expression {
    let left = this.and();
    while (this.skip("name", "or")) left = { kind: "or", left, right: this.and() };
    return left;
  }
  private and(): Expression {
    let left = this.not();
    while (this.skip("name", "and")) left = { kind: "and", left, right: this.not() };
    return left;
  }
  private not(): Expression {
    return this.skip("name", "not") ? { kind: "not", of: this.not() } : this.compare();
  }

  private compare(): Expression {
    const left = this.sum();
    const operands: (readonly [string, Expression])[] = [];
    for (;;) {
      if (this.token.type === "op" && COMPARISONS.has(this.token.value)) {
        const { value } = this.token;
        ++this.at;
        operands.push([value, this.sum()]);
      } else if (this.skip("name", "in")) operands.push(["in", this.sum()]);
      else if (this.is("name", "not") && this.is("name", "in", 1)) {
        this.at += 2;
        operands.push(["not in", this.sum()]);
      } else return operands.length ? { kind: "compare", left, operands } : left;
    }
  }

  private chain(operators: readonly string[], next: () => Expression): Expression {
    let left = next();
    while (this.token.type === "op" && operators.includes(this.token.value)) {
      const operator = this.token.value;
      ++this.at;
      left = { kind: "binary", operator, left, right: next() };
    }
    return left;
  }
  private sum(): Expression {
    return this.chain(["+", "-"], () => this.concat());
  }
  private concat(): Expression {
    const items = [this.product()];
    while (this.skip("op", "~")) items.push(this.product());
    return items.length > 1 ? { kind: "concat", items } : (items[0] as Expression);
  }
  private product(): Expression {
    return this.chain(["*", "/", "//", "%"], () => this.chain(["**"], () => this.unary(true)));
  }

  private unary(filters: boolean): Expression {
    let value: Expression;
    if (this.skip("op", "-")) value = { kind: "negative", of: this.unary(false) };
    else if (this.skip("op", "+")) value = { kind: "positive", of: this.unary(false) };
    else value = this.primary();
    value = this.postfix(value);
    return filters ? this.filtered(value) : value;
  }

  private primary(): Expression {
    const { type, value } = this.token;
    if (type === "name") {
      ++this.at;
      if (Object.hasOwn(CONSTANTS, value)) return { kind: "const", value: CONSTANTS[value] as boolean | null };
      this.read.push(value);
      return { kind: "name", name: value };
    }
    if (type === "string") {
      let text = "";
      for (; this.token.type === "string"; ++this.at) text += this.token.value;
      return { kind: "const", value: text };
    }
    if (type === "integer" || type === "float") {
      ++this.at;
      return { kind: "const", value: type === "float" ? new Float(Number(value)) : wholeNumber(value) };
    }
    if (this.skip("op", "(")) {
      const inner = this.tuple({ parenthesised: true });
      this.expect("op", ")");
      return inner;
    }
    if (this.skip("op", "[")) return { kind: "list", items: this.listed("]", () => this.expression()) };
    if (this.skip("op", "{"))
      return {
        kind: "dict",
        items: this.listed("}", () => {
          const key = this.expression();
          this.expect("op", ":");
          return [key, this.expression()] as const;
        }),
      };
    return this.fail(`unexpected '${value || type}'`);
  }

  private listed<T>(close: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.skip("op", close)) {
      if (items.length) this.expect("op", ",");
      if (this.skip("op", close)) break;
      items.push(item());
    }
    return items;
  }

  private postfix(of: Expression): Expression {
    let value = of;
    for (;;) {
      if (this.skip("op", ".")) {
        const { type, value: name } = this.token;
        ++this.at;
        if (type === "name") value = { kind: "attribute", of: value, name };
        else if (type === "integer") value = { kind: "item", of: value, at: { kind: "const", value: wholeNumber(name) } };
        else this.fail("expected name or number");
      } else if (this.skip("op", "[")) {
        const at = this.listed("]", () => this.subscript());
        value = { kind: "item", of: value, at: at.length === 1 ? (at[0] as Expression) : { kind: "tuple", items: at } };
      } else if (this.is("op", "(")) value = { kind: "call", callee: value, given: this.given() };
      else return value;
    }
  }

  private subscript(): Expression {
    const part = () => (this.is("op", ":") || this.is("op", "]") || this.is("op", ",") ? undefined : this.expression());
    const from = part();
    if (!this.skip("op", ":")) return from ?? this.fail("expected an index");
    const to = part();
    return { kind: "slice", from, to, step: this.skip("op", ":") ? part() : undefined };
  }

  private filtered(of: Expression): Expression {
    let value = of;
    for (;;) {
      if (this.is("op", "|")) value = this.filters(value);
      else if (this.skip("name", "is")) value = this.test(value);
      else if (this.is("op", "(")) value = { kind: "call", callee: value, given: this.given() };
      else return value;
    }
  }

  /** `first`: the bar before the first filter is left out, as in {% filter name %}. */
  protected filters(of: Expression | undefined, first = false): Expression {
    let value = of;
    for (let begins = first; begins || this.skip("op", "|"); begins = false) {
      const name = this.dotted();
      if (!FILTERS.has(name)) this.fail(`No filter named '${name}'.`);
      value = { kind: "filter", of: value, name, given: this.is("op", "(") ? this.given() : NOTHING };
    }
    return value as Expression;
  }

  private dotted(): string {
    let name = this.expect("name").value;
    while (this.skip("op", ".")) name += `.${this.expect("name").value}`;
    return name;
  }

  private test(of: Expression): Expression {
    const negated = this.skip("name", "not");
    const name = this.dotted();
    if (!TESTS.has(name)) this.fail(`No test named '${name}'.`);
    let given = NOTHING;
    const { type, value } = this.token;
    if (this.is("op", "(")) given = this.given();
    else if (
      ["string", "integer", "float"].includes(type) ||
      (type === "op" && (value === "[" || value === "{")) ||
      (type === "name" && !["else", "or", "and"].includes(value))
    ) {
      if (value === "is" && type === "name") this.fail("You cannot chain multiple tests with is");
      given = { args: [this.postfix(this.primary())], kwargs: [] };
    }
    const test: Expression = { kind: "test", of, name, given };
    return negated ? { kind: "not", of: test } : test;
  }

  protected given(): CallArguments {
    this.expect("op", "(");
    const args: Expression[] = [];
    const kwargs: (readonly [string, Expression])[] = [];
    const named = new Set<string>();
    let [rest, restKwargs]: (Expression | undefined)[] = [];
    const ensure = (holds: boolean) => holds || this.fail("invalid syntax for function call expression");
    for (let begun = false; !this.is("op", ")"); begun = true) {
      if (begun) this.expect("op", ",");
      if (this.is("op", ")")) break;
      if (this.skip("op", "*")) {
        ensure(!rest && !restKwargs);
        rest = this.expression();
      } else if (this.skip("op", "**")) {
        ensure(!restKwargs);
        restKwargs = this.expression();
      } else if (this.token.type === "name" && this.is("op", "=", 1)) {
        ensure(!restKwargs);
        const name = this.token.value;
        this.at += 2;
        if (named.has(name)) this.fail(`keyword argument repeated: ${name}`);
        named.add(name);
        kwargs.push([name, this.expression()]);
      } else {
        ensure(!rest && !restKwargs && !kwargs.length);
        args.push(this.expression());
      }
    }
    this.expect("op", ")");
    return { args, kwargs, rest, restKwargs };
  }

  /** What stands left of = or in. `members`: attributes of namespaces too. */
  protected target(members: boolean, end?: string): Target {
    const items: Target[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length) this.expect("op", ",");
      if (this.is("block_end") || this.is("op", ")") || this.is("op", "=") || (end !== undefined && this.is("name", end))) break;
      items.push(this.targetItem(members));
      if (!this.is("op", ",")) break;
      isTuple = true;
    }
    if (!items.length) this.fail("Expected an expression");
    return isTuple ? { kind: "tuple", items } : (items[0] as Target);
  }

  private targetItem(members: boolean): Target {
    if (this.skip("op", "(")) {
      const inner = this.target(members);
      this.expect("op", ")");
      return inner;
    }
    const name = this.expect("name").value;
    if (members && this.skip("op", ".")) {
      this.read.push(name);
      return { kind: "member", name, attribute: this.expect("name").value };
    }
    if (Object.hasOwn(CONSTANTS, name)) this.fail(`can't assign to '${name}'`);
    return { kind: "name", name };
  }
}

const NOTHING: CallArguments = { args: [], kwargs: [] };
/** As Python, which takes no longer ones. */
const MOST_DIGITS = 4300;
function wholeNumber(text: string): number | bigint {
  if (text.length > MOST_DIGITS) throw new TemplateFault(`a number of more than ${MOST_DIGITS} digits`);
  return int(BigInt(text));
}
