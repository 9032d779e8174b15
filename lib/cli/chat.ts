// `anymal chat`: a conversation over turns, in a terminal or through a pipe, one line a turn.
import { createInterface, type Interface } from "node:readline";
import type { Command } from "commander";
import type { AnyMAL } from "../anymal/anymal.js";
import { ConversationMemory } from "../anymal/conversation-memory.js";
import type { Safety } from "../anymal/safety.js";
import { AnymalError } from "../core/errors.js";
import type { Turn } from "../data/row.js";
import { type AnswerFlags, answerFlags, answerOptions, TokenCount } from "./answer-flags.js";
import { loadOptions } from "./flags.js";
import { inFlags } from "./in-flags.js";
import { marksTold } from "./kinds.js";
import { command, describeError, EXIT, Interrupt, Interrupted, printJson, tell, UsageError, write } from "./output.js";
import { checkFiles, inline } from "./prompt-text.js";
import { safetyOf } from "./safety.js";

const EXAMPLE = `
anymal chat --model runs/instruct
> what is on <image:cat.jpg>?
echo "which instrument plays in <audio:song.wav>?" | anymal chat --model runs/instruct`;
const help = () => `Write a question; media go in as ${marksTold(":path", "or")}.
/reset forgets the conversation, /exit (or Ctrl-D) leaves, Ctrl-C stops an answer, twice leaves.`;

export function chatCommand(): Command {
  const about = `A conversation with a trained model. Media are named in the text: ${marksTold(":path", "or")}.`;
  return answerFlags(command("chat", about, EXAMPLE)).action(run);
}

async function run(flags: AnswerFlags): Promise<void> {
  if (!flags.model) throw new UsageError("anymal chat", "--model is needed");
  const { AnyMAL } = await import("../anymal/anymal.js");
  const safety = await safetyOf(flags.safety);
  await using model = await AnyMAL.fromPretrained(flags.model, loadOptions(flags));
  const terminal = process.stdin.isTTY === true && !flags.json;
  const lines = createInterface({ input: process.stdin, ...(terminal && { output: process.stdout, terminal, prompt: "> " }) });
  try {
    if (terminal) tell(help());
    await new Chat(model, flags, safety, lines, terminal).run();
  } finally {
    lines.close();
  }
}

class Chat {
  readonly #turns: Turn[] = [];
  readonly #memory = new ConversationMemory();

  constructor(
    private readonly model: AnyMAL,
    private readonly flags: AnswerFlags,
    private readonly safety: Safety | undefined,
    private readonly lines: Interface,
    private readonly terminal: boolean,
  ) {}

  async run(): Promise<void> {
    const ready = () => this.terminal && this.lines.prompt();
    let idle: Interrupt | undefined = this.#waiting();
    ready();
    try {
      for await (const line of this.lines) {
        idle?.[Symbol.dispose]();
        idle = undefined;
        const text = line.trim();
        if (text === "/exit" || text === "/quit") return;
        if (text === "/reset") this.#reset();
        else if (text === "/help") tell(help());
        else if (text.startsWith("/") && /^\/\w+$/.test(text)) tell(`no such command: ${text}\n${help()}`);
        else if (text) await this.#turn(text);
        idle = this.#waiting();
        ready();
      }
    } finally {
      idle?.[Symbol.dispose]();
      this.#memory.dispose();
    }
  }

  #reset(): void {
    this.#turns.length = 0;
    this.#memory.dispose();
  }

  /** While nothing is answered, Ctrl-C asks for another one, which leaves. In a pipe there is nobody to press it twice. */
  #waiting(): Interrupt {
    const interrupt = new Interrupt(this.terminal ? "Ctrl-C again or /exit leaves" : undefined);
    interrupt.signal.addEventListener("abort", () => {
      if (!this.terminal) process.exit(EXIT.interrupted);
      this.lines.write(null, { ctrl: true, name: "u" }); // what was typed so far is gone
      setImmediate(() => this.lines.prompt()); // below the notice
    });
    return this.#keys(interrupt);
  }

  /** In a terminal, readline takes Ctrl-C for itself. */
  #keys(interrupt: Interrupt): Interrupt {
    this.lines.removeAllListeners("SIGINT").on("SIGINT", () => interrupt.press());
    return interrupt;
  }

  async #turn(text: string): Promise<void> {
    using interrupt = this.#keys(new Interrupt());
    const { json } = this.flags;
    const count = new TokenCount();
    const start = performance.now();
    let answer = "";
    try {
      const content = inline(text, this.flags.mediaOption);
      checkFiles(content);
      const turns: Turn[] = [...this.#turns, { role: "user", content }];
      const options = {
        ...answerOptions(this.flags),
        onTokens: count.onTokens,
        signal: interrupt.signal,
        safety: this.safety,
        memory: this.#memory,
      };
      try {
        for await (const piece of this.model.generate(turns, options)) {
          answer += piece;
          if (!json) write(piece);
        }
      } catch (error) {
        if (!(error instanceof Interrupted)) throw error;
      } finally {
        if (!json) write("\n");
      }
      // An answer that was stopped stays as far as it went; a model that says nothing leaves no turn behind.
      if (answer.trim()) this.#turns.push({ role: "user", content }, { role: "assistant", content: [answer.trim()] });
      if (json) printJson({ answer, tokens: count.tokens, seconds: (performance.now() - start) / 1000 });
    } catch (error) {
      if (!(error instanceof AnymalError)) throw error;
      if (json) printJson({ error: { code: error.code, message: inFlags(error.message) } });
      const full = error.code === "E_PROMPT" && this.#turns.length;
      tell(`${describeError(error)}${full ? "; /reset forgets the conversation so far" : ""}`);
      if (!this.terminal) process.exitCode = EXIT.failed;
    }
  }
}
