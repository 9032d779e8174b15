// Looks at the model between two steps: the held-out rows are asked, their answers scored, the best model kept. Nothing of the training moves by it:
// answers are greedy, and no number is drawn.
import type { AnyMAL } from "../../anymal/anymal.js";
import { ConversationMemory } from "../../anymal/conversation-memory.js";
import type { Row } from "../../data/row.js";
import { askedIn } from "../../eval/held-out.js";
import type { ValidationReport } from "../run-log/reporter.js";
import type { Observer, Standing } from "../trainee.js";
import { Judge, type Look } from "./judge.js";
import { scoresOf } from "./metric.js";
import type { MetricName, ValidationRecipe } from "./options.js";

/** What a look's end is given to. */
export interface Looks {
  /** Those that the run's folder holds. */
  before: readonly Look[];
  /** The first of the rows, as they look. */
  show(rows: readonly Row[]): Promise<void>;
  /** A model that is better than all before. */
  keepBest(look: Look): Promise<void>;
  write(look: Look): Promise<void>;
  tell(report: ValidationReport): Promise<void>;
}

export interface ValidationParts {
  model: AnyMAL;
  recipe: ValidationRecipe & { metric: MetricName };
  /** The rows that can be used, and the loss of their answers, token by token. */
  held: () => Promise<{ rows: readonly Row[]; loss: number }>;
  /** Lets go of the files of the held rows. */
  close: () => Promise<void>;
  /** Passes over the training's rows so far. */
  epoch: () => number;
  looks: Looks;
  signal?: AbortSignal | undefined;
}

/** Rows whose answers are kept, to be shown. */
export const SHOWN = 8;

export class Validation implements Observer {
  readonly #judge: Judge;
  /** Features of media whose encoders do not change. */
  readonly #memory = new ConversationMemory();

  constructor(private readonly parts: ValidationParts) {
    const { metric, patience } = parts.recipe;
    this.#judge = new Judge(metric, patience);
    for (const look of parts.looks.before) this.#judge.take(look);
  }

  get enough(): boolean {
    return this.#judge.enough;
  }

  due({ step, steps }: Pick<Standing, "step" | "steps">): boolean {
    return (step % this.parts.recipe.every === 0 || step === steps) && this.#judge.seen !== step;
  }

  async look(standing: Standing): Promise<void> {
    const { looks, epoch } = this.parts;
    const { step, steps } = standing;
    const start = performance.now();
    const { scores, answers } = await this.#ask();
    const seconds = (performance.now() - start) / 1000;
    const best = this.#judge.take({ step, scores });
    const look = { step, epoch: epoch(), scores, best, seconds, answers: shownOf(answers) };
    if (best) await looks.keepBest(look);
    await looks.write(look);
    const { secondsElapsed, secondsLeft } = standing;
    await looks.tell({ step, steps, epoch: look.epoch, scores, seconds, secondsElapsed: secondsElapsed + seconds, secondsLeft });
  }

  async #ask(): Promise<Pick<Look, "scores" | "answers">> {
    const { model, held, recipe, signal } = this.parts;
    const { rows, loss } = await held();
    if (this.#judge.seen === undefined) await this.parts.looks.show(shownOf(rows));
    const asked = rows.map(askedIn);
    const answers = await model.generateAll(
      asked.map(({ turns }) => turns),
      { maxNewTokens: recipe.maxNewTokens, memory: this.#memory, ...(signal && { signal }) },
    );
    const correct = asked.map(({ answer }) => answer);
    return { answers, scores: { loss, ...scoresOf(answers, correct, recipe.metric) } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#memory.dispose();
    await this.parts.close();
  }
}

/** From all over the rows: those of one kind of media may stand together. */
function shownOf<T>(all: readonly T[]): T[] {
  const count = Math.min(SHOWN, all.length);
  return Array.from({ length: count }, (_, k) => all[Math.floor(((k + 0.5) * all.length) / count)] as T);
}
