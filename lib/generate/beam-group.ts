// The beams of one prompt, as transformers' generation searches (_beam_search of 5.18): which beginnings go on, which answers are whole, when no better one is
// to be expected. Scores are rounded to f32 where torch rounds them.

export interface BeamRules {
  numBeams: number;
  lengthPenalty: number;
  earlyStopping: boolean | "never";
  /** How many tokens an answer has at most. */
  steps: number;
  ends: ReadonlySet<number>;
}

/** An answer; the ending token is part of it. */
export interface Beam {
  tokens: readonly number[];
  /** Its log-probability, divided by its length to the power of lengthPenalty: transformers' sequences_scores. */
  score: number;
}

/** A beginning that is followed. */
export interface Running {
  tokens: readonly number[];
  /** Summed logarithms. */
  sum: number;
  /** Which of the group's rows has read it. */
  row: number;
}

/** One way on: a running beam by its number, and the token behind it. */
export interface Candidate {
  beam: number;
  token: number;
  /** Of the token, given what is before it. */
  logProb: number;
}

/** What the device is told: row `to` takes over what row `from` has read. */
export interface Fork {
  from: number;
  to: number;
}

export class BeamGroup {
  /** Begins with one empty beam. */
  running: readonly Running[] = [{ tokens: [], sum: 0, row: 0 }];
  #whole: readonly Beam[] = [];
  #done = false;

  constructor(private readonly rules: BeamRules) {}

  get done(): boolean {
    return this.#done;
  }
  /** Best first, numBeams of them when it is done. */
  get answers(): readonly Beam[] {
    return this.#whole;
  }

  /** How many ways on of each beam can matter: the best that may end here, and as many that go on. */
  static ways({ numBeams, ends }: BeamRules): number {
    return numBeams + ends.size;
  }

  /** Goes one token on. `candidates`: of each running beam its best ways(), in any order. Whose rows must take over others' is told; nothing where it is done. */
  advance(candidates: readonly Candidate[]): Fork[] {
    const { numBeams, ends, steps } = this.rules;
    const length = (this.running[0] as Running).tokens.length + 1;
    const last = length === steps;
    const sums = candidates.map((way) => ({ ...way, sum: Math.fround(way.logProb + (this.running[way.beam] as Running).sum) }));
    sums.sort((a, b) => b.sum - a.sum);
    const stops = ({ token }: Candidate) => last || ends.has(token);
    // Only what is among the best may be an answer; what lies below are ways on for the case that the best all end.
    const whole = sums.slice(0, numBeams).filter(stops);
    this.#take(whole.map((way) => ({ tokens: this.#tokens(way), score: this.#score(way.sum, length) })));
    const going = sums.filter((way) => !stops(way)).slice(0, numBeams);
    this.#done = going.length === 0 || this.#over((going[0] as (typeof going)[0]).sum, length);
    return this.#done ? [] : this.#follow(going);
  }

  #tokens({ beam, token }: Candidate): number[] {
    return [...(this.running[beam] as Running).tokens, token];
  }
  #score(sum: number, length: number): number {
    return Math.fround(sum / Math.fround(length ** this.rules.lengthPenalty));
  }

  #take(answers: readonly Beam[]): void {
    const all = [...this.#whole, ...answers]; // a stable sort: of equals the earlier stays
    this.#whole = all.sort((a, b) => b.score - a.score).slice(0, this.rules.numBeams);
  }

  /** Is no better answer to be expected, where the best beam that goes on has `sum` at this length? */
  #over(sum: number, length: number): boolean {
    const { numBeams, earlyStopping, lengthPenalty, steps } = this.rules;
    if (this.#whole.length < numBeams) return false;
    if (earlyStopping === true) return true;
    const best = this.#score(sum, earlyStopping === "never" && lengthPenalty > 0 ? steps : length);
    return !(best > (this.#whole.at(-1) as Beam).score);
  }

  /** A row that goes on stays with the best beam that comes from it; others take rows that nobody needs any more. */
  #follow(going: readonly (Candidate & { sum: number })[]): Fork[] {
    const rows = going.map(({ beam }) => (this.running[beam] as Running).row);
    const free = Array.from({ length: this.rules.numBeams }, (_, row) => row).filter((row) => !rows.includes(row));
    const forks: Fork[] = [];
    const taken = new Set<number>();
    this.running = going.map((way, i) => {
      const from = rows[i] as number;
      const to = taken.has(from) ? (free.pop() as number) : from;
      taken.add(to);
      if (to !== from) forks.push({ from, to });
      return { tokens: this.#tokens(way), sum: way.sum, row: to };
    });
    return forks;
  }
}
