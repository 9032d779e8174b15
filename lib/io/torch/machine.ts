// The stack machine that a pickle drives: values, marks, and what was remembered. Everything a step makes is paid for from a budget, so that a file
// of a few bytes cannot take more than its share of memory, and calls go to the allow-list alone.
import { PickleError, quoted } from "./error.js";
import type { Fail } from "./literals.js";
import { Callable, Dict, Inert, kindOf, PickledSet, Tuple, type Value, Word } from "./values.js";

/** What the file's surroundings know: names of Python, and what is stored beside the pickle. */
export interface Surroundings {
  /** undefined: not on the allow-list. */
  global(module: string, name: string): Value;
  persistent(id: Value): Value;
}

/** A container costs CONTAINER, each item and each remembered value 1. Enough for 160 000 tensors. */
const BUDGET = 2 ** 23;
const CONTAINER = 4;
/** Values that wait to be put somewhere, and containers that wait for theirs: Python itself nests a thousand deep at most. */
const MOST_WAITING = 2 ** 18;
const MOST_MARKS = 2 ** 14;

/** Of copying it: what is called may make a container out of one that is there already, as often as a file asks for it. */
function costOf(value: Value): number {
  if (value instanceof Dict) return 2 * value.map.size;
  if (value instanceof Tuple || value instanceof PickledSet) return value.items.length;
  if (Array.isArray(value)) return value.length;
  return typeof value === "string" ? value.length / LETTERS : 0;
}
/** Bytes that cost as much as an item. */
const LETTERS = 16;

export class Machine {
  readonly #stack: Value[] = [];
  /** Where the stack stood at each mark. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, Value>();
  #spent = 0;

  constructor(
    readonly path: string,
    private readonly surroundings: Surroundings,
  ) {}

  readonly fail: Fail = (expected, got) => {
    throw new PickleError(this.path, expected, got);
  };

  result(): Value {
    if (this.#marks.length) this.fail("every mark to be used", "one that was not");
    return this.pop();
  }

  push(value: Value): void {
    if (this.#stack.length >= MOST_WAITING) this.fail(`at most ${MOST_WAITING} values that wait for their container`, "more");
    this.#stack.push(value);
  }
  /** A container of its own. */
  made(container: object): void {
    this.#spend(CONTAINER);
    this.push(container);
  }
  pop(): Value {
    this.#need(1);
    return this.#stack.pop();
  }
  top(): Value {
    this.#need(1);
    return this.#stack.at(-1);
  }
  last(count: number): Value[] {
    this.#need(count);
    return this.#stack.splice(this.#stack.length - count, count);
  }
  mark(): void {
    if (this.#marks.length >= MOST_MARKS) this.fail(`containers at most ${MOST_MARKS} deep`, "deeper ones");
    this.#marks.push(this.#stack.length);
  }
  /** All above the last mark. */
  items(): Value[] {
    const mark = this.#marks.pop();
    if (mark === undefined) this.fail("a mark", "none");
    const items = this.#stack.splice(mark);
    this.#spend(items.length);
    return items;
  }

  append(items: Value[]): void {
    const list = this.top();
    if (!Array.isArray(list)) this.fail("a list to append to", kindOf(list));
    this.#spend(items.length);
    for (const item of items) list.push(item);
  }
  set(items: readonly Value[]): void {
    const dict = this.top();
    if (!(dict instanceof Dict)) this.fail("a dict to put items into", kindOf(dict));
    if (items.length % 2) this.fail("keys and values in pairs", `${items.length} values`);
    this.#spend(items.length);
    for (let i = 0; i < items.length; i += 2) dict.map.set(items[i], items[i + 1]);
  }
  add(items: readonly Value[]): void {
    const set = this.top();
    if (!(set instanceof PickledSet)) this.fail("a set to add to", kindOf(set));
    for (const item of items) set.items.push(item);
  }

  get(index: number): void {
    if (!this.#memo.has(index)) this.fail("a value that was remembered", `number ${index}, which was not`);
    this.push(this.#memo.get(index));
  }
  put(index = this.#memo.size): void {
    this.#spend(1);
    this.#memo.set(index, this.top());
  }

  global(module: Value, name: Value): void {
    if (typeof module !== "string" || typeof name !== "string")
      this.fail("a name of Python in two texts", `${kindOf(module)} and ${kindOf(name)}`);
    const value = this.surroundings.global(module, name);
    if (value === undefined)
      throw new PickleError(
        this.path,
        "tensors, numbers, texts and plain containers",
        `${quoted(`${module}.${name}`)}, which is not on the list of what is read`,
        "nothing of it was run; if you trust who made the file, have its state_dict() saved alone, without other objects",
      );
    this.push(value);
  }
  call(callable: Value, args: Value): void {
    if (!(args instanceof Tuple)) this.fail("arguments as a tuple", kindOf(args));
    if (!(callable instanceof Callable)) this.fail("a name from the list of what is read to be called", kindOf(callable));
    this.#spend(args.items.reduce<number>((sum, item) => sum + costOf(item), CONTAINER));
    this.push(callable.call(args.items));
  }
  persistent(id: Value): void {
    this.#spend(CONTAINER);
    this.push(this.surroundings.persistent(id));
  }
  /** The state of an object: kept where somebody may look for it, dropped where it is about Python. */
  build(): void {
    const state = this.pop();
    const object = this.top();
    if (object instanceof Inert) object.state = state;
    else if (typeof object !== "object" || object === null || [Callable, Word, Tuple, Array].some((kind) => object instanceof kind))
      this.fail("an object that has a state", kindOf(object));
  }

  /** What lies below a mark belongs to another container. */
  #need(count: number): void {
    if (this.#stack.length - (this.#marks.at(-1) ?? 0) < count) this.fail(`${count} more values`, "a pickle that made fewer");
  }
  #spend(cost: number): void {
    this.#spent += cost;
    if (this.#spent > BUDGET) this.fail(`a pickle of at most ${BUDGET} values`, "one of more");
  }
}
