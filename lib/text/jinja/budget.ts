// Templates come from strangers, inside of data: what one may compute is bounded, so that a bad one ends with an error.
import { TemplateFault } from "./fault.js";

/** Of one rendering. A conversation of a million characters through the longest template known takes a twentieth of it. */
const MOST_STEPS = 2_000_000;
/** Of one text. */
const LONGEST = 1 << 26;
/** Characters that are as dear as a step. */
const CHARACTERS = 32;

let steps = 0;

/** Begins a rendering. Templates run to their end without waiting, so one count is enough. */
export function resetBudget(): void {
  steps = 0;
}

/** Of the rendering under way: what it took so far. */
export const stepsTaken = (): number => steps;

export function spend(amount = 1): void {
  steps += amount;
  if (steps > MOST_STEPS) throw new TemplateFault(`it takes more than ${MOST_STEPS} steps; it loops for too long, or makes too much text`);
}

/** Before a text of that many characters is made or read. */
export function spendText(length: number): void {
  if (length > LONGEST) throw new TemplateFault(`it makes a text of more than ${LONGEST} characters`);
  spend(length / CHARACTERS);
}
