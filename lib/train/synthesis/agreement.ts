// Whether two answers to a question say the same, by their words: what a self-check of a language model can go by without another model.
import { normalizeVqa } from "../../eval/vqa.js";

/** Words that say nothing by themselves. */
const EMPTY = new Set(
  "is are was were be been am it its this that these those there here of in on at to by with from and or as for he she they them their his her you your i we do does did has have had".split(
    " ",
  ),
);

const wordsOf = (text: string): string[] =>
  normalizeVqa(text)
    .replace(/[.:]/g, " ")
    .split(/\s+/)
    .filter((word) => word !== "");

/**
 * Which share of what `answer` says `other` says too, from 0 to 1: its words without those that say nothing. Answers that begin with yes or no are the same
 * where they begin the same.
 */
export function agreement(answer: string, other: string): number {
  const [said, heard] = [wordsOf(answer), wordsOf(other)];
  const verdict = (word: string | undefined) => word === "yes" || word === "no";
  if (verdict(said[0])) return Number(heard[0] === said[0]);
  const full = said.filter((word) => !EMPTY.has(word));
  const counted = full.length ? full : said;
  if (!counted.length) return Number(!heard.length);
  const there = new Set(heard);
  return counted.filter((word) => there.has(word)).length / counted.length;
}
