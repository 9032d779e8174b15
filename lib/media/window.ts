// `start` and `seconds` of a recording, and its limit.
import { MediaError } from "./error.js";

interface Window {
  start?: number;
  seconds?: number;
  maxSeconds?: number;
  maxSamples?: number;
}

export function checkWindow(what: string, { start = 0, seconds = 1, maxSeconds = 1, maxSamples = 1 }: Window): void {
  const bad = (option: string, wanted: string, got: unknown): never => {
    throw new MediaError(
      "E_MEDIA_OPTION",
      what,
      `${option} ${wanted}`,
      String(got),
      option === "maxSamples" ? "give a number of samples" : "give it in seconds",
    );
  };
  if (!(Number.isFinite(start) && start >= 0)) bad("start", "of 0 or more", start);
  if (!(Number.isFinite(seconds) && seconds > 0)) bad("seconds", "above 0", seconds);
  if (!(maxSeconds > 0)) bad("maxSeconds", "above 0", maxSeconds);
  if (!(maxSamples > 0)) bad("maxSamples", "above 0", maxSamples);
}

export function checkLength(what: string, seconds: number, maxSeconds: number, atLeast = ""): void {
  if (seconds > maxSeconds)
    throw new MediaError(
      "E_MEDIA_LIMIT",
      what,
      `at most ${maxSeconds} s`,
      `${atLeast}${Number(seconds.toFixed(3))} s`,
      "take a part with the options start and seconds, or raise the option maxSeconds",
    );
}
