// Numbers and words of a preprocessor_config.json, checked.
import { shown } from "../core/checks.js";
import { MediaError } from "./error.js";

/** Reads keys of `config`; what does not fit is told with `where`. null is what is not there, as transformers writes it. */
export function configReader(config: Readonly<Record<string, unknown>>, where: string) {
  const number = (key: string, fallback: number): number => {
    const value = config[key] ?? fallback;
    return typeof value === "number" && Number.isFinite(value) ? value : failed(where, `${key} to be a number`, shown(value), HINT);
  };
  return {
    number,
    count: (key: string, fallback: number, most: number): number => {
      const value = number(key, fallback);
      const fits = Number.isInteger(value) && value >= 1 && value <= most;
      return fits ? value : failed(where, `${key} to be an integer from 1 to ${most}`, String(value), HINT);
    },
    oneOf: <T extends string>(key: string, choices: readonly T[], fallback: T): T => {
      const value = config[key] ?? fallback;
      return choices.find((choice) => choice === value) ?? failed(where, `${key} among ${choices.join(", ")}`, shown(value), HINT);
    },
  };
}
const HINT = "see the model's repository";

export function failed(where: string, expected: string, got: string, remedy: string): never {
  throw new MediaError("E_MEDIA_OPTION", where, expected, got, remedy);
}
