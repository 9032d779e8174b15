// The ffmpeg and ffprobe commands: found, run without a shell, read from a pipe, and ended when the reader has enough.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { MediaError, reasonOf } from "./error.js";
import { bytesOf, type Loading, type MediaSource, pathOf } from "./source.js";

export interface ToolOptions {
  ffmpeg?: string | undefined;
  ffprobe?: string | undefined;
}
export interface Tools {
  ffmpeg: string;
  ffprobe: string;
}

/** Names of ffmpeg's readers that hold their own data. Playlists and lists of other files (hls, dash, concat, image2) are not among them. */
const FORMATS =
  "aac,aiff,apng,asf,avi,av1,avs2,dv,flac,flv,gif,h261,h263,h264,hevc,ivf,m4v,matroska,webm,mov,mp4,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu," +
  "ogg,rm,swf,vc1,vvc,wav,webp_pipe,yuv4mpegpipe";
const STDERR_LIMIT = 4096;

export function findTools({ ffmpeg: path, ffprobe: probePath }: ToolOptions): Tools {
  const ffmpeg = path ?? (process.env.ANYMAL_FFMPEG || "ffmpeg");
  const given = probePath ?? process.env.ANYMAL_FFPROBE;
  if (given) return { ffmpeg, ffprobe: given };
  const name = process.platform === "win32" ? "ffprobe.exe" : "ffprobe";
  const beside = join(dirname(ffmpeg), name);
  return { ffmpeg, ffprobe: /[\\/]/.test(ffmpeg) && existsSync(beside) ? beside : "ffprobe" };
}

/** What comes before the file's name: no network, no device, no file that names other files. */
export function inputArguments(path: string): string[] {
  // After "file:" a name is a name, even one that looks like an option or an address.
  return ["-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-i", `file:${resolve(path)}`];
}

export interface Run {
  /** What messages call the medium. */
  what: string;
  signal?: AbortSignal | undefined;
  /** Takes what the command writes; what it throws ends the command and is thrown on. True: enough, the command may end. */
  onOutput: (chunk: Uint8Array) => boolean | undefined;
  /** Beside those of this process. */
  env?: Readonly<Record<string, string>>;
}
export interface Ended {
  /** The command succeeded, or was ended because its reader had enough. */
  ok: boolean;
  /** What it complained about first, in one line. */
  said: string;
  /** Whether it found the end of the file too early. */
  cut: boolean;
}

/** Runs a command to its end, and leaves none behind. */
export async function run(command: string, args: readonly string[], { what, signal, onOutput, env }: Run): Promise<Ended> {
  signal?.throwIfAborted();
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    windowsHide: true,
    ...(env && { env: { ...process.env, ...env } }),
  });
  const ended = endOf(child, command, what);
  // Awaited below; a failure to start must not count as unhandled until then.
  ended.catch(() => {});
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(0, STDERR_LIMIT);
  });
  const kill = () => child.kill("SIGKILL");
  signal?.addEventListener("abort", kill, { once: true });
  let enough = false;
  try {
    for await (const chunk of child.stdout)
      if (onOutput(chunk)) {
        enough = true;
        kill();
        break;
      }
  } catch (error) {
    kill();
    await ended; // says so where the command never began
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", kill);
  }
  const code = await ended;
  signal?.throwIfAborted();
  return { ok: enough || code === 0, said: firstComplaint(said), cut: /partial file|ended prematurely|truncated/i.test(said) };
}

/** Without the reader's address in memory and the file's name, which the message has already. */
function firstComplaint(said: string): string {
  const line = said.trim().split("\n")[0]!;
  return (
    line &&
    reasonOf(
      line
        .replace(/^(\[[^\]]* @ 0x[0-9a-f]+\] )+/, "")
        .replace(/^file:.*?: (?=[A-Z])/, "")
        .replace(/Format not on whitelist.*/, "a format that is not read here"),
    )
  );
}

function endOf(child: ChildProcess, command: string, what: string): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.on("error", (cause: NodeJS.ErrnoException) => reject(toolMissing(command, what, cause)));
    child.on("close", (code) => resolve(code));
  });
}

function toolMissing(command: string, what: string, cause: NodeJS.ErrnoException): MediaError {
  const got = cause.code === "ENOENT" ? `no command ${JSON.stringify(command)}` : reasonOf(cause);
  return new MediaError(
    "E_MEDIA_TOOL",
    what,
    "the commands ffmpeg and ffprobe, which read this kind of file",
    got,
    "install ffmpeg or say where it is (the option ffmpeg, or ANYMAL_FFMPEG); for MP4, MOV, WebM and MKV npm install @napi-rs/webcodecs will do; GIF, WebP, Y4M and folders of frames need none",
    { cause },
  );
}

/** All that a command writes, as text of at most `limit` bytes. */
export async function textOf(
  command: string,
  args: readonly string[],
  { what, signal }: Omit<Run, "onOutput">,
): Promise<Ended & { text: string }> {
  const limit = 1 << 20;
  let text = "";
  const onOutput = (chunk: Uint8Array): undefined => {
    text += Buffer.from(chunk).toString("utf8");
    if (text.length > limit)
      throw new MediaError("E_MEDIA_LIMIT", what, `a description of at most ${limit} bytes`, "more", "it has far too many streams");
  };
  const ended = await run(command, args, { what, signal, onOutput });
  return { ...ended, text };
}

/** A source as a file: itself, or a temporary copy of its bytes (a pipe will not do: readers jump about in most kinds of files). */
export async function onDisk(source: MediaSource, maxBytes: number, { signal }: Loading): Promise<AsyncDisposable & { path: string }> {
  const path = pathOf(source);
  if (path !== undefined) return { path, [Symbol.asyncDispose]: async () => {} };
  const bytes = await bytesOf(source, maxBytes, { signal });
  const folder = await mkdtemp(join(tmpdir(), "anymal-video-"));
  const remove = () => rm(folder, { recursive: true, force: true });
  const file = join(folder, "video");
  await writeFile(file, bytes, { mode: 0o600, signal }).catch(async (error: unknown) => {
    await remove();
    throw error;
  });
  return { path: file, [Symbol.asyncDispose]: remove };
}
