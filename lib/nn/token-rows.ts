// Rows of a vocabulary that train alone: tokens that were added, such as <image>, in a table that is frozen otherwise. The table holds what they are now, so
// that whoever only reads (a captured step, a file) needs to know nothing of them; their f32 masters are written into it before each forward.
import { isGradEnabled, noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { built, keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { cacheWrite, cast, concat, copy, gatherRows, linear, lookedUp, meanPool, spliceRows } from "../ops/index.js";
import type { Embedding } from "./embedding.js";
import { innermost, type Plain, Wrap, wrapsOn } from "./layer.js";
import { Linear } from "./linear.js";
import { type Module, matching } from "./module.js";

/** Ids that follow on each other, as one place of the table. */
interface Run {
  first: number;
  count: number;
  /** Where it begins among the rows. */
  from: number;
  slot: Tensor;
}

/** Around an embedding or a head, both (V,C). */
export class TokenRows extends Wrap<Embedding | Linear> {
  /** (R,C) f32, in the order of `ids`. */
  rows: Tensor;
  readonly ids: readonly number[];
  /** The lowest of them. */
  readonly #first: number;
  /** What stood in the table before, in its dtype. */
  readonly #original: Tensor;
  readonly #runs: readonly Run[];
  /** (V,1) f32: which of the rows an id is; R for none. */
  readonly #places: Tensor;
  /** For each row from the first to the last that trains: which it is; -1 for those between. */
  readonly #window: Tensor | undefined;
  #absorbed = false;
  /** Have they trained since they were written into the table? */
  #stale = false;

  /**
   * `rows` in the order of `ids`; without them they begin as what the table holds. Nothing is written before settle().
   * Throws E_ADAPTER on ids that the table lacks or another trains.
   */
  constructor(base: Embedding | Linear, owner: string, { ids, rows: given }: { ids: readonly number[]; rows?: Tensor | undefined }) {
    super(base, owner);
    this.ids = ids;
    const { weight } = this.#table;
    const rows = weight.shape[0] as number;
    checkIds(this.ids, rows, base);
    this.#first = ids.reduce((a, b) => Math.min(a, b)); // spread as arguments, those of a whole vocabulary would be too many
    const { device } = weight;
    const i32 = (values: readonly number[]) => keep(Tensor.from(Int32Array.from(values), [values.length], { device }));
    [this.#original, this.rows, this.#runs, this.#places, this.#window] = built(() => {
      const original = keep(
        noGrad(() => scope(() => gatherRows(weight, Tensor.from(Int32Array.from(this.ids), [this.ids.length], { device })))),
      );
      const own = given ?? master(original);
      const runs = runsOf(this.ids).map((run) => ({ ...run, slot: i32([run.first]) }));
      const places = new Float32Array(rows).fill(this.ids.length);
      for (const [i, id] of this.ids.entries()) places[id] = i;
      const last = ids.reduce((a, b) => Math.max(a, b));
      const between = Array.from(places.subarray(this.#first, last + 1), (at) => (at < ids.length ? at : -1));
      return [original, own, runs, keep(Tensor.from(places, [rows, 1], { device })), runs.length > 1 ? i32(between) : undefined];
    });
  }

  protected override ownName(field: string): string {
    return field === "rows" ? "rows" : super.ownName(field);
  }
  get #table(): Embedding | Linear {
    return innermost(this.base) as Embedding | Linear;
  }
  override get enabled(): boolean {
    return super.enabled;
  }
  override set enabled(on: boolean) {
    super.enabled = on;
    this.settle();
  }
  /** Do they take part, and get gradients? */
  get trains(): boolean {
    return this.enabled && this.rows.requiresGrad;
  }

  /** Writes the rows into the table as they are now; where they take no part, what stood there before. */
  settle(): void {
    this.#write(this.enabled ? this.rows : this.#original);
  }
  /** The same where they train, or did until now. */
  refresh(): void {
    if (!this.trains && !this.#stale) return;
    this.settle();
    this.#stale = this.trains;
  }
  #write(rows: Tensor): void {
    const { weight } = this.#table;
    const [V, C] = weight.shape as [number, number];
    noGrad(() =>
      scope(() => {
        const table = weight.reshape([1, V, 1, C]);
        const values = matching(rows, weight);
        for (const { count, from, slot } of this.#runs) cacheWrite(table, values.slice(from, count).reshape([1, count, 1, C]), slot);
      }),
    );
  }

  /** Around an embedding: ids (…) i32 → (…,C). Around a head: x (…,C) → (…,V). */
  forward(x: Tensor): Tensor {
    this.refresh();
    const learns = this.trains && isGradEnabled();
    if (learns && this.#table instanceof Linear) return this.logits(x);
    const y = this.inner.forward(x);
    return learns ? lookedUp(y, x, this.rows, this.#places) : y;
  }

  /** (…,V) of x (…,C), with a gradient for the rows. Only who asks for logits in training pays its copy of the table: the loss goes through trained(). */
  logits(x: Tensor): Tensor {
    const { weight, bias } = this.#table as Linear;
    const [V, C] = weight.shape as [number, number];
    const index = Int32Array.from({ length: V }, (_, id) => id);
    for (const [i, id] of this.ids.entries()) index[id] = V + i;
    const table = spliceRows(weight, matching(this.rows, weight), Tensor.from(index, [1, V], { device: weight.device }));
    return linear(x, matching(table.reshape([V, C]), x), bias && matching(bias, x));
  }

  /** For headCrossEntropy: (R',C) from the first row that trains to the last, zeros between, and where it stands; undefined where nothing trains. */
  trained(): { tensor: Tensor; first: number } | undefined {
    if (!this.trains) return undefined;
    const tensor = this.#window ? gatherRows(this.rows, this.#window) : this.rows;
    return { tensor, first: this.#first };
  }

  /** The table keeps them for good. */
  absorb(): void {
    this.settle();
    this.#absorbed = true;
  }
  /** Puts back what stood in the table, and frees what is its own. */
  override release(): void {
    if (!this.#absorbed) this.#write(this.#original);
    super.release();
    this.#free();
  }
  override dispose(): void {
    super.dispose();
    this.#free();
  }
  #free(): void {
    const own = [this.#original, this.#places, this.#window, ...this.#runs.map(({ slot }) => slot)];
    for (const tensor of own) if (tensor && !tensor.disposed) tensor.dispose();
  }
}

/** An embedding or a head, behind all that stands around it. */
export const tableOf = (module: Module): Embedding | Linear => innermost(module) as Embedding | Linear;

/** A head around which more stands than rows that train: its table alone is not what it computes. */
export const branchedHead = (head: Plain | undefined): Plain | undefined =>
  head && wrapsOn(head).some((wrap) => wrap.enabled && !(wrap instanceof TokenRows)) ? head : undefined;

/** What trains of a table whose other rows are frozen, written into it as it is now. Throws E_ADAPTER where two adapters train at once, for whose rows the loss has no one place. */
export function trainedRows(module: Module): TokenRows | undefined {
  const all = wrapsOn(module).filter((wrap): wrap is TokenRows => wrap instanceof TokenRows);
  for (const rows of all) rows.refresh();
  const training = all.filter((rows) => rows.trains);
  if (training.length > 1)
    throw expected(
      "E_ADAPTER",
      "TokenRows",
      "one adapter whose tokens train",
      training.map(({ owner }) => `"${owner}"`).join(" and "),
      "freeze or disable one of them",
    );
  return training[0];
}

/** Throws E_ADAPTER where rows of one of these tables train alone: they know the table's size. */
export function checkNoRows(...modules: (Module | undefined)[]): void {
  const owner = modules.flatMap((module) => (module ? wrapsOn(module) : [])).find((wrap) => wrap instanceof TokenRows)?.owner;
  if (owner !== undefined)
    throw expected(
      "E_ADAPTER",
      "resizeTokenEmbeddings",
      "tables of which no rows train",
      `those of "${owner}"`,
      "make room before, or take it off first",
    );
}

/** A copy of a table (V,C) with rows for ids up to `rows`, each the mean of those that are there. */
export function grownTable(weight: Tensor, rows: number): Tensor {
  const [V, C] = weight.shape as [number, number];
  const table = noGrad(() =>
    scope(() => {
      const mean = meanPool(weight.reshape([1, V, C]), 1).reshape([1, C]);
      const more = Tensor.from(new Int32Array(rows - V), [rows - V], { device: weight.device });
      return concat([weight, gatherRows(mean, more)], 0);
    }),
  );
  table.requiresGrad = weight.requiresGrad;
  return table;
}

function runsOf(ids: readonly number[]): Omit<Run, "slot">[] {
  const runs: Omit<Run, "slot">[] = [];
  for (const [from, first] of ids.entries()) {
    const last = runs.at(-1);
    if (last && last.first + last.count === first) ++last.count;
    else runs.push({ first, count: 1, from });
  }
  return runs;
}

/** A trainable f32 copy. */
function master(rows: Tensor): Tensor {
  const tensor = keep(noGrad(() => (rows.dtype === "f32" ? copy(rows) : cast(rows, "f32"))));
  tensor.requiresGrad = true;
  return tensor;
}

function checkIds(ids: readonly number[], rows: number, base: Module): void {
  const own = new Set<number>();
  const unfit = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < rows) || own.size === own.add(id).size);
  if (!ids.length || unfit !== undefined)
    throw expected(
      "E_ADAPTER",
      "TokenRows",
      `ids of tokens in [0, ${rows}), each once`,
      unfit === undefined ? "none" : String(unfit),
      "resizeTokenEmbeddings() makes room for more",
    );
  const taken = wrapsOn(base).flatMap((wrap) => (wrap instanceof TokenRows ? wrap.ids.filter((id) => own.has(id)) : []));
  if (taken.length)
    throw expected("E_ADAPTER", "TokenRows", "tokens that no other adapter trains", `${taken.slice(0, 5)}`, "take the other one off first");
  if ((innermost(base) as Linear).weight.requiresGrad)
    throw expected(
      "E_ADAPTER",
      "TokenRows",
      "a frozen table",
      "one that trains whole, these rows among them",
      "requiresGrad(false) freezes it",
    );
}
