// The tree of a template.
import type { Value } from "./values.js";

export interface CallArguments {
  args: readonly Expression[];
  kwargs: readonly (readonly [name: string, value: Expression])[];
  /** After * and **. */
  rest?: Expression;
  restKwargs?: Expression;
}

export type Expression =
  | { kind: "const"; value: Value }
  | { kind: "name"; name: string }
  | { kind: "list" | "tuple"; items: readonly Expression[] }
  | { kind: "dict"; items: readonly (readonly [key: Expression, value: Expression])[] }
  | { kind: "if"; test: Expression; holds: Expression; otherwise: Expression | undefined }
  | { kind: "and" | "or"; left: Expression; right: Expression }
  | { kind: "not" | "negative" | "positive"; of: Expression }
  | { kind: "compare"; left: Expression; operands: readonly (readonly [operator: string, right: Expression])[] }
  | { kind: "binary"; operator: string; left: Expression; right: Expression }
  | { kind: "concat"; items: readonly Expression[] }
  | { kind: "attribute"; of: Expression; name: string }
  | { kind: "item"; of: Expression; at: Expression }
  | { kind: "slice"; from: Expression | undefined; to: Expression | undefined; step: Expression | undefined }
  | { kind: "call"; callee: Expression; given: CallArguments }
  /** Without `of`, what a filter block wrote. */
  | { kind: "filter"; of: Expression | undefined; name: string; given: CallArguments }
  | { kind: "test"; of: Expression; name: string; given: CallArguments };

/** What an assignment writes to. */
export type Target =
  | { kind: "name"; name: string }
  | { kind: "member"; name: string; attribute: string }
  | { kind: "tuple"; items: readonly Target[] };

/** Statements with names of their own. */
export interface Frame {
  statements: readonly Statement[];
  /** Names that are undefined in it until they are assigned, whatever the render was given (symbols.ts). */
  unseen: readonly string[];
}

export interface MacroNode {
  kind: "macro";
  name: string;
  parameters: readonly string[];
  /** Of the last parameters. */
  defaults: readonly Expression[];
  body: Frame;
  /** Special names that the body reads: they tell what the macro takes. */
  reads: { caller: boolean; kwargs: boolean; varargs: boolean };
}

export type Statement =
  | { kind: "data"; text: string }
  | { kind: "output"; value: Expression }
  | {
      kind: "for";
      target: Target;
      over: Expression;
      test: Expression | undefined;
      body: Frame;
      otherwise: Frame;
      recursive: boolean;
    }
  | { kind: "choose"; branches: readonly (readonly [test: Expression, body: readonly Statement[]])[]; otherwise: readonly Statement[] }
  | { kind: "set"; target: Target; value: Expression }
  | { kind: "setBlock"; target: Target; filter: Expression | undefined; body: Frame }
  | { kind: "with"; names: readonly (readonly [target: Target, value: Expression])[]; body: Frame }
  | { kind: "filterBlock"; filter: Expression; body: Frame }
  | { kind: "callBlock"; call: Expression; caller: MacroNode }
  /** transformers' {% generation %}. */
  | { kind: "generation"; body: Frame }
  | { kind: "block"; body: Frame }
  | { kind: "break" | "continue" }
  | MacroNode;
