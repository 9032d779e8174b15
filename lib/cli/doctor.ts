// `anymal doctor`: does what this library stands on work here, and what to do where it does not.
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, statfsSync, statSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { dirname } from "node:path";
import type { Command } from "commander";
import { webcodecsPath } from "../media/libraries.js";
import { command, EXIT, print, printJson } from "./output.js";

/** bad: something that was asked for, or that nothing works without, does not work. note: it is not there, and need not be. */
interface Finding {
  name: string;
  state: "ok" | "note" | "bad";
  found: string;
  next?: string;
}

const EXAMPLE = `
anymal doctor
ANYMAL_FFMPEG=./ffmpeg-7/ffmpeg anymal doctor --json`;
/** As `engines` of package.json has it. */
const OLDEST_NODE = [20, 17] as const;
/** Below it no model of any use fits beside what is there. */
const LITTLE_DISK = 5e9;
const GB = 1e9;

export function doctorCommand(): Command {
  const about = "Says what this machine has of what is needed, what is wrong, and the next command. Exits with 1 where something is wrong.";
  return command("doctor", about, EXAMPLE).option("--json", "JSON on standard output, for machines").action(run);
}

async function run({ json }: { json?: boolean }): Promise<void> {
  const findings = [machine(), node(), ...(await devices()), ffmpeg(), await cache()];
  if (json) printJson({ findings });
  else
    for (const { name, state, found, next } of findings) {
      print(`${state.padEnd(4)}  ${name.padEnd(9)} ${found}`);
      if (next) print(`${" ".repeat(16)}${state === "bad" ? "do: " : ""}${next}`);
    }
  if (findings.some(({ state }) => state === "bad")) process.exitCode = EXIT.failed;
}

function machine(): Finding {
  const [cpu] = cpus();
  const found = `${process.platform}-${process.arch}, ${cpu?.model.trim() || "a CPU"}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(1)} GiB`;
  return { name: "machine", state: "ok", found };
}

function node(): Finding {
  const { node: version } = process.versions;
  const fits = isNewEnough(version);
  const next = `install Node ${OLDEST_NODE.join(".")} or newer`;
  return { name: "node", state: fits ? "ok" : "bad", found: version, ...(!fits && { next }) };
}

export function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
}

/** The addon with its dispatch level and threads, and a card. */
async function devices(): Promise<Finding[]> {
  const { openDevice } = await import("../core/device.js");
  const describe = async (name: string) => {
    const device = await openDevice(name);
    const text = device.describe();
    await device.close();
    return text;
  };
  try {
    const cpu: Finding = { name: "addon", state: "ok", found: await describe("cpu") };
    const card = await describe("cuda").then(
      (found): Finding => ({ name: "cuda", state: "ok", found }),
      (error: Error): Finding => ({ name: "cuda", state: process.env.ANYMAL_DEVICE === "cuda" ? "bad" : "note", ...said(error) }),
    );
    return [cpu, card];
  } catch (error) {
    return [{ name: "addon", state: "bad", ...said(error as Error) }];
  }
}

/** What an error of this library says is wrong, and what it says is to be done. */
function said({ message }: Error): Pick<Finding, "found" | "next"> {
  const at = message.lastIndexOf("; ");
  return at < 0 ? { found: message, next: "see docs/errors.md" } : { found: message.slice(0, at), next: message.slice(at + 2) };
}

function ffmpeg(): Finding {
  const named = process.env.ANYMAL_FFMPEG;
  const { stdout, status, error } = spawnSync(named || "ffmpeg", ["-version"], { encoding: "utf8", timeout: 10_000 });
  if (status === 0) return { name: "ffmpeg", state: "ok", found: stdout.split("\n", 1)[0] ?? "" };
  if (named) {
    const found = `${named}, which ANYMAL_FFMPEG names, does not run: ${error?.message ?? `it ended with ${status}`}`;
    return { name: "ffmpeg", state: "bad", found, next: "name one that runs, or unset ANYMAL_FFMPEG" };
  }
  if (webcodecsPath()) return { name: "ffmpeg", state: "ok", found: "not on the PATH; @napi-rs/webcodecs reads MP4, MOV, WebM and MKV" };
  const next = "needed for MP4, WebM and other compressed video: install ffmpeg, or npm install @napi-rs/webcodecs";
  return { name: "ffmpeg", state: "note", found: "not on the PATH", next };
}

/** The hub's cache: a folder that can be written to, or made, on a disk with room. */
async function cache(): Promise<Finding> {
  const { hubSettings } = await import("../io/hub.js");
  const { cache: folder } = hubSettings(process.env);
  let there = folder;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  const bad = (found: string, next: string): Finding => ({ name: "cache", state: "bad", found, next });
  if (!statSync(there).isDirectory()) return bad(`${there} is a file, not a folder`, "set HF_HUB_CACHE to a folder, or take the file away");
  try {
    accessSync(there, constants.W_OK);
  } catch {
    return bad(`${there} cannot be written to`, "set HF_HUB_CACHE to a folder of yours");
  }
  const { bavail, bsize } = statfsSync(there);
  const free = bavail * bsize;
  if (free < LITTLE_DISK)
    return bad(`${folder}, ${(free / GB).toFixed(1)} GB free`, "free some disk, or set HF_HUB_CACHE to one with room");
  return { name: "cache", state: "ok", found: `${folder}, ${(free / GB).toFixed(0)} GB free` };
}
