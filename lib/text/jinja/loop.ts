// The variable `loop` inside of a for.
import { equal, lengthOf } from "./operators.js";
import { Callable, TemplateFault, Tuple, Undefined, type Value } from "./values.js";

export class Loop extends Callable {
  #index0 = -1;
  #length: number | undefined;
  /** Read ahead of the turn that it belongs to. */
  #ahead: Value[] = [];
  #ended = false;
  #before: Value | undefined;
  #current: Value | undefined;
  #last: Value | undefined;

  /** `recurse` renders the loop's body over other values, where the loop is a recursive one. */
  constructor(
    private readonly over: Value,
    private readonly values: Iterator<Value>,
    private readonly depth0: number,
    recurse: ((over: Value, depth0: number) => string) | undefined,
  ) {
    super(
      "loop",
      ([value, ...more]) => {
        if (value === undefined || more.length) throw new TemplateFault("loop() takes one iterable");
        if (!recurse) throw new TemplateFault("The loop must have the 'recursive' marker to be called recursively.");
        return recurse(value, depth0 + 1);
      },
      "LoopContext",
    );
  }

  #peek(): boolean {
    if (this.#ahead.length) return true;
    if (this.#ended) return false;
    const { done, value } = this.values.next();
    if (done) this.#ended = true;
    else this.#ahead.push(value);
    return !done;
  }

  /** The next value, or undefined at the end. */
  next(): Value | undefined {
    if (!this.#peek()) return undefined;
    ++this.#index0;
    this.#before = this.#current;
    this.#current = this.#ahead.shift();
    return this.#current;
  }

  #all(): number {
    this.#length ??= lengthOf(this.over);
    if (this.#length === undefined) {
      for (let { done, value } = this.values.next(); !done; { done, value } = this.values.next()) this.#ahead.push(value);
      this.#ended = true;
      this.#length = this.#ahead.length + this.#index0 + 1;
    }
    return this.#length;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return this.#index0 + 1;
      case "index0":
        return this.#index0;
      case "first":
        return this.#index0 === 0;
      case "last":
        return !this.#peek();
      case "length":
        return this.#all();
      case "revindex":
        return this.#all() - this.#index0;
      case "revindex0":
        return this.#all() - this.#index0 - 1;
      case "depth":
        return this.depth0 + 1;
      case "depth0":
        return this.depth0;
      case "previtem":
        return this.#index0 > 0 ? this.#before : new Undefined("there is no previous item");
      case "nextitem":
        return this.#peek() ? this.#ahead[0] : new Undefined("there is no next item");
      case "cycle":
        return new Callable("cycle", (args) => {
          if (!args.length) throw new TemplateFault("no items for cycling given");
          return args[this.#index0 % args.length] as Value;
        });
      case "changed":
        return new Callable("changed", (args) => {
          const now = new Tuple(args);
          if (this.#last !== undefined && equal(this.#last, now)) return false;
          this.#last = now;
          return true;
        });
      default:
        return undefined;
    }
  }
}
