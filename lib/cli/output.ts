// What all commands share: how they are declared, what Ctrl-C does, and how an error looks. Results go to standard output, all else to standard error.
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { AnymalError } from "../core/errors.js";
import { visible } from "../core/visible.js";
import { inFlags } from "./in-flags.js";
import { UsageError } from "./usage-error.js";

export const EXIT = { failed: 1, usage: 2, interrupted: 130 } as const;

export { UsageError } from "./usage-error.js";

/** A command that throws where commander would end the process. */
export function command(name: string, description: string, example: string): Command {
  const path = name === "anymal" ? name : `anymal ${name}`;
  return new Command(name)
    .description(description)
    .addHelpText("after", `\nExample:\n${example.trim().replace(/^(?=.)/gm, "  ")}`)
    .configureOutput({ outputError: () => {} })
    .exitOverride((error) => {
      if (error.code.startsWith("commander.help") || error.code === "commander.version") throw error;
      throw new UsageError(
        path,
        error.message
          .replace(/^error: /, "")
          .replace(/\.?\s*\n\s*/g, " ")
          .replace(/\.$/, ""),
      );
    });
}

// Much of it was written by others, a model's answer too.
export const write = (text: string): void => void process.stdout.write(visible(text));
export const print = (text: string): void => write(`${text}\n`);
export const printJson = (value: object): void => print(JSON.stringify(value));
export const tell = (text: string): void => void process.stderr.write(`${visible(text)}\n`);

/** One paragraph; the stack only for who asks for it. */
export function describeError(error: unknown): string {
  if (process.env.ANYMAL_DEBUG === "1") return error instanceof Error ? (error.stack ?? String(error)) : String(error);
  const message = error instanceof Error ? error.message : String(error);
  const paragraph = message.replace(/\s*\n\s*/g, " ");
  if (error instanceof AnymalError) return `${error.code}: ${inFlags(paragraph)}`;
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code === "string" && code.startsWith("E")) return `${code}: ${paragraph}`;
  return `unexpected error: ${paragraph}; ANYMAL_DEBUG=1 shows where`;
}

/** Makes the command, runs it and sets the exit code. */
export async function runProgram(make: () => Command | Promise<Command>, argv: readonly string[]): Promise<void> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // The reader of a pipe has seen enough.
    process.exit(error.code === "EPIPE" ? 0 : EXIT.failed);
  });
  process.removeAllListeners("warning").on("warning", ({ message }) => tell(`warning: ${inFlags(message)}`));
  try {
    const program = await make();
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode && EXIT.usage;
    else if (error instanceof Interrupted) process.exitCode = EXIT.interrupted;
    else {
      tell(describeError(error));
      process.exitCode = error instanceof UsageError ? EXIT.usage : EXIT.failed;
    }
  }
}

/** The reason of a signal that Ctrl-C aborted. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;
/** A shell, npm and npx may each pass on what was pressed once. */
const SAME_PRESS_MS = 100;

/** While it lives, the first Ctrl-C aborts `signal` and the second ends the process. */
export class Interrupt {
  readonly #controller = new AbortController();
  #at = -Infinity;

  /** `notice` says what the first one begins. */
  constructor(public notice?: string) {
    for (const name of SIGNALS) process.on(name, this.#signalled);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }
  /** What a signal does; for those who get Ctrl-C as a key. */
  press(): void {
    if (this.signal.aborted) process.exit(EXIT.interrupted);
    this.#controller.abort(new Interrupted("interrupted"));
    if (this.notice) tell(`${process.stderr.isTTY ? "\n" : ""}${this.notice}`);
  }
  readonly #signalled = (): void => {
    const before = this.#at;
    this.#at = performance.now();
    if (this.#at - before >= SAME_PRESS_MS) this.press();
  };
  [Symbol.dispose](): void {
    for (const name of SIGNALS) process.off(name, this.#signalled);
  }
}

// What flags may hold. A throw here is a wrong command line.
export const integer =
  (least = 0) =>
  (text: string): number => {
    const value = Number(text);
    if (!text.trim() || !Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`Expected an integer of at least ${least}`);
    return value;
  };
export const number =
  (least = 0, most = Infinity) =>
  (text: string): number => {
    const value = Number(text);
    if (!text.trim() || !(value >= least && value <= most && Number.isFinite(value)))
      throw new InvalidArgumentError(
        most === Infinity ? `Expected a number of at least ${least}` : `Expected a number from ${least} to ${most}`,
      );
    return value;
  };
export const list = (text: string, before: readonly string[] = []): string[] => [...before, text];
