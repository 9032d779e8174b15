// `--safety FILE`: a module of the user's that judges prompts and answers.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { checkSafety, type Refused, type Safety } from "../anymal/safety.js";
import { AnymalError } from "../core/errors.js";
import { reasonOf } from "../media/error.js";
import { tell } from "./output.js";
import { UsageError } from "./usage-error.js";

export const SAFETY_FLAG = "--safety";

/** What the module exports as before, after and refusal; refusals are told on standard error. undefined without the flag. */
export async function safetyOf(file: string | undefined): Promise<Safety | undefined> {
  if (file === undefined) return undefined;
  const wrong = (got: string) =>
    new UsageError("anymal", `${SAFETY_FLAG} ${file}: expected a module that exports before(turns) or after(answer, turns), got: ${got}`);
  if (!existsSync(file)) throw wrong("no such file");
  const { before, after, refusal } = await import(pathToFileURL(resolve(file)).href).catch((cause) => {
    throw wrong(reasonOf(cause));
  });
  const onRefused = ({ at, reason }: Refused) => tell(`refused by ${SAFETY_FLAG}: the ${at}${reason && `, ${reason}`}`);
  const safety: Safety = { before, after, refusal, onRefused };
  try {
    checkSafety(SAFETY_FLAG, safety);
  } catch (error) {
    throw error instanceof AnymalError ? wrong(error.message) : error;
  }
  return safety;
}
