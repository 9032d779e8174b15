// Names that a frame begins without. Jinja decides before a template runs where each name of a frame comes from (jinja2/idtracking.py): one that the
// frame assigns before it reads it, in the order of the text and without a look into frames inside, is the frame's own, and undefined until then,
// whatever the render was given under it. `{% for m in messages %}{{ date }}{% endfor %}{% set date = "now" %}` never shows the render's date.
import type { Expression, Frame, MacroNode, Statement, Target } from "./nodes.js";

/** Where a frame finds a name before it has assigned anything: among the render's variables, in the frame around, nowhere. */
type Origin = "render" | "around" | "nowhere";

class Symbols {
  readonly origins = new Map<string, Origin>();
  readonly stores = new Set<string>();
  constructor(readonly around?: Symbols) {}

  knows(name: string): boolean {
    return this.origins.has(name) || (this.around?.knows(name) ?? false);
  }
  load(name: string): void {
    if (!this.knows(name)) this.origins.set(name, "render");
  }
  store(name: string): void {
    this.stores.add(name);
    if (!this.origins.has(name)) this.origins.set(name, this.around?.knows(name) ? "around" : "nowhere");
  }
  copy(): Symbols {
    const copy = new Symbols(this.around);
    for (const [name, origin] of this.origins) copy.origins.set(name, origin);
    for (const name of this.stores) copy.stores.add(name);
    return copy;
  }
  /** What the branches alone assign is looked up outside at first. */
  merge(branches: readonly Symbols[]): void {
    const fresh = new Set(branches.flatMap(({ stores }) => [...stores]).filter((name) => !this.stores.has(name)));
    for (const { origins, stores } of branches) {
      for (const [name, origin] of origins) this.origins.set(name, origin);
      for (const name of stores) this.stores.add(name);
    }
    for (const name of fresh) this.origins.set(name, this.around?.knows(name) ? "around" : "render");
  }
}

/** Fills in `unseen` of a template's frame and of all inside. */
export function resolveNames(template: Frame): void {
  settle(template, new Symbols());
}

function settle(frame: Frame, symbols: Symbols): void {
  const inside: (() => void)[] = [];
  for (const statement of frame.statements) look(statement, symbols, { symbols, inside });
  frame.unseen = [...symbols.origins].filter(([, origin]) => origin === "nowhere").map(([name]) => name);
  for (const work of inside) work();
}

/** The frame that statements are in, and what is looked at when all of its names are known. */
interface Around {
  symbols: Symbols;
  inside: (() => void)[];
}

/** `symbols`: of the frame, or of a branch in it. */
function look(statement: Statement, symbols: Symbols, at: Around): void {
  const enter = (frame: Frame, begin: (inner: Symbols) => void = () => {}, around: Symbols | undefined = at.symbols) =>
    at.inside.push(() => {
      const inner = new Symbols(around);
      begin(inner);
      settle(frame, inner);
    });
  const enterMacro = ({ parameters, defaults, body }: MacroNode) =>
    enter(body, (inner) => {
      for (const name of parameters) inner.store(name);
      for (const value of defaults) read(value, inner);
    });
  switch (statement.kind) {
    case "output":
      read(statement.value, symbols);
      break;
    case "set":
      read(statement.value, symbols);
      assign(statement.target, symbols);
      break;
    case "choose":
      choose(statement.branches, statement.otherwise, symbols, at);
      break;
    case "for": {
      const { over, target, body, otherwise } = statement;
      read(over, symbols);
      enter(body, (inner) => {
        for (const name of ["loop", ...namesOf(target)]) inner.store(name);
      });
      enter(otherwise);
      break;
    }
    case "setBlock":
      assign(statement.target, symbols);
      enter(statement.body);
      break;
    case "with":
      for (const [, value] of statement.names) read(value, symbols);
      enter(statement.body, (inner) => {
        for (const [target] of statement.names) assign(target, inner);
      });
      break;
    case "filterBlock":
      read(statement.filter, symbols);
      enter(statement.body);
      break;
    case "callBlock":
      read(statement.call, symbols);
      enterMacro(statement.caller);
      break;
    case "macro":
      symbols.store(statement.name);
      enterMacro(statement);
      break;
    case "generation":
      enter(statement.body);
      break;
    case "block":
      enter(statement.body, undefined, new Symbols());
  }
}

/** An elif is to Jinja a choice of its own, and all of them together one branch. */
function choose(
  [first, ...others]: Extract<Statement, { kind: "choose" }>["branches"],
  otherwise: readonly Statement[],
  symbols: Symbols,
  at: Around,
): void {
  const [test, body] = first as (typeof others)[number];
  read(test, symbols);
  const [taken, elifs, rest] = [symbols.copy(), symbols.copy(), symbols.copy()];
  for (const statement of body) look(statement, taken, at);
  for (const other of others) choose([other], [], elifs, at);
  for (const statement of otherwise) look(statement, rest, at);
  symbols.merge([taken, elifs, rest]);
}

/** Every name in an expression, or in a list or record of them. */
function read(node: unknown, symbols: Symbols): void {
  if (typeof node !== "object" || node === null) return;
  const { kind, name } = node as Partial<Extract<Expression, { kind: "name" }>>;
  if (kind === "name") symbols.load(name as string);
  else if ((kind as Expression["kind"] | undefined) !== "const") for (const part of Object.values(node)) read(part, symbols);
}

function assign(target: Target, symbols: Symbols): void {
  if (target.kind === "member") symbols.load(target.name);
  else for (const name of namesOf(target)) symbols.store(name);
}

/** The names that a target assigns; with a namespace's member, the namespace. */
export function namesOf(target: Target): string[] {
  return target.kind === "tuple" ? target.items.flatMap(namesOf) : [target.name];
}
