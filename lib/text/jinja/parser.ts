// Statements of Jinja, with break and continue and transformers' {% generation %}.
import { ExpressionParser } from "./expressions.js";
import { tokenize } from "./lexer.js";
import type { Expression, Frame, MacroNode, Statement, Target } from "./nodes.js";
import { namesOf, resolveNames } from "./symbols.js";

/** Throws TemplateFault with the line where the template does not parse. */
export function parse(template: string): Frame {
  const frame = new Parser(tokenize(template)).template();
  resolveNames(frame);
  return frame;
}

const frameOf = (statements: readonly Statement[]): Frame => ({ statements, unseen: [] });

class Parser extends ExpressionParser {
  /** Loops around the statement, within its macro. */
  #loops = 0;
  /** Loops around it, macros or not: "loop" is not to be assigned in any of them. */
  #within = 0;

  template(): Frame {
    const body = this.#body([]);
    this.expect("eof");
    return frameOf(body);
  }

  /** Up to a tag of one of those names, which is not taken. */
  #body(ends: readonly string[]): Statement[] {
    const body: Statement[] = [];
    for (;;) {
      if (this.is("data")) {
        body.push({ kind: "data", text: this.token.value });
        ++this.at;
      } else if (this.skip("variable_begin")) {
        body.push({ kind: "output", value: this.tuple() });
        this.expect("variable_end");
      } else if (this.skip("block_begin")) {
        if (this.token.type === "name" && ends.includes(this.token.value)) return body;
        body.push(this.#statement(ends));
        this.expect("block_end");
      } else if (ends.length) return this.fail(`Unexpected end of template: expected ${ends.map((end) => `'${end}'`).join(" or ")}`);
      else return body;
    }
  }

  /** The rest of a tag, its body, and the name that ends it. */
  #block(end: string): Frame {
    return frameOf(this.#statements(end));
  }
  #statements(end: string): Statement[] {
    this.skip("op", ":");
    this.expect("block_end");
    const body = this.#body([end]);
    ++this.at;
    return body;
  }

  #statement(ends: readonly string[]): Statement {
    const { value: tag } = this.expect("name");
    switch (tag) {
      case "for":
        return this.#for();
      case "if":
        return this.#if();
      case "set":
        return this.#set();
      case "macro":
        return this.#macro();
      case "call":
        return this.#call();
      case "filter": {
        const filter = this.filters(undefined, true);
        return { kind: "filterBlock", filter, body: this.#block("endfilter") };
      }
      case "with":
        return this.#with();
      case "generation":
        return { kind: "generation", body: this.#apart(() => this.#block("endgeneration")) };
      case "block":
        return this.#blockStatement();
      case "break":
      case "continue":
        if (!this.#loops) this.fail(`'${tag}' outside loop`);
        return { kind: tag };
      default:
        return this.fail(
          /^(include|import|from|extends|autoescape|print)$/.test(tag)
            ? `the tag '${tag}' is not supported here`
            : `Encountered unknown tag '${tag}'.${ends.length ? ` Looking for ${ends.map((end) => `'${end}'`).join(" or ")}.` : ""}`,
        );
    }
  }

  /** A body that is a function of its own in Python: no break or continue leaves it. */
  #apart<T>(parse: () => T): T {
    const loops = this.#loops;
    this.#loops = 0;
    const result = parse();
    this.#loops = loops;
    return result;
  }

  #for(): Statement {
    const target = this.target(false, "in");
    ++this.#within;
    this.#notLoop(target);
    this.expect("name", "in");
    const over = this.tuple({ condition: false });
    const test = this.skip("name", "if") ? this.expression() : undefined;
    const recursive = this.skip("name", "recursive");
    this.skip("op", ":");
    this.expect("block_end");
    ++this.#loops;
    const body = this.#body(["endfor", "else"]);
    --this.#loops;
    let otherwise = frameOf([]);
    if (this.token.value === "else") {
      ++this.at;
      otherwise = this.#block("endfor");
    } else ++this.at;
    --this.#within;
    return { kind: "for", target, over, test, body: frameOf(body), otherwise, recursive };
  }

  #if(): Statement {
    const branches: (readonly [Expression, Statement[]])[] = [];
    for (;;) {
      const test = this.tuple({ condition: false });
      this.skip("op", ":");
      this.expect("block_end");
      branches.push([test, this.#body(["elif", "else", "endif"])]);
      const { value } = this.token;
      ++this.at;
      if (value === "elif") continue;
      return { kind: "choose", branches, otherwise: value === "else" ? this.#statements("endif") : [] };
    }
  }

  #set(): Statement {
    const target = this.target(true);
    if (this.#within) this.#notLoop(target);
    if (this.skip("op", "=")) return { kind: "set", target, value: this.tuple() };
    const filter = this.is("op", "|") ? this.filters(undefined) : undefined;
    return { kind: "setBlock", target, filter, body: this.#block("endset") };
  }

  #notLoop(target: Target): void {
    if (target.kind !== "member" && namesOf(target).includes("loop")) this.fail("Can't assign to special loop variable in for-loop target");
  }

  #with(): Statement {
    const names: (readonly [Target, Expression])[] = [];
    while (!this.is("block_end")) {
      if (names.length) this.expect("op", ",");
      const target = this.target(false);
      this.expect("op", "=");
      names.push([target, this.expression()]);
    }
    return { kind: "with", names, body: this.#block("endwith") };
  }

  #blockStatement(): Statement {
    const { value: name } = this.expect("name");
    this.skip("name", "scoped");
    this.skip("name", "required");
    const body = this.#apart(() => this.#block("endblock"));
    this.skip("name", name);
    return { kind: "block", body };
  }

  #parameters(): Pick<MacroNode, "parameters" | "defaults"> {
    const parameters: string[] = [];
    const defaults: Expression[] = [];
    this.expect("op", "(");
    while (!this.is("op", ")")) {
      if (parameters.length) this.expect("op", ",");
      parameters.push(this.expect("name").value);
      if (this.skip("op", "=")) defaults.push(this.expression());
      else if (defaults.length) this.fail("non-default argument follows default argument");
    }
    this.expect("op", ")");
    return { parameters, defaults };
  }

  #macroOf(name: string, { parameters, defaults }: Pick<MacroNode, "parameters" | "defaults">, end: string): MacroNode {
    const first = this.read.length;
    const body = this.#apart(() => this.#block(end));
    const read = new Set(this.read.slice(first));
    const takes = (name: string) => read.has(name) && !parameters.includes(name);
    return {
      kind: "macro",
      name,
      parameters,
      defaults,
      body,
      reads: { caller: read.has("caller"), kwargs: takes("kwargs"), varargs: takes("varargs") },
    };
  }

  #macro(): MacroNode {
    const { value: name } = this.expect("name");
    return this.#macroOf(name, this.#parameters(), "endmacro");
  }

  #call(): Statement {
    const parameters = this.is("op", "(") ? this.#parameters() : { parameters: [], defaults: [] };
    const call = this.expression();
    if (call.kind !== "call") this.fail("expected call");
    return { kind: "callBlock", call, caller: this.#macroOf("caller", parameters, "endcall") };
  }
}
