// The sound track of a video: said when it is not used, and made into an audio part on request.
import { warn } from "../core/notice.js";
import { AUDIO_LIMITS, type AudioPart, audio, type Sound } from "./audio.js";
import { MediaError } from "./error.js";
import { findTools, inputArguments, onDisk, run, type Tools } from "./ffmpeg.js";
import { probe, type SoundTrack } from "./ffmpeg-clip.js";
import { byteLimit, isFrames, isPictures, kindOf } from "./open-clip.js";
import { checkLoading, describe, type Loading, pathOf } from "./source.js";
import type { VideoOptions, VideoPart } from "./video.js";

const noticed = new WeakSet<VideoPart>();
let warned = false;

/** Says once for each part that its sound is left out; without onNotice once for the process. */
export function noticeSound(part: VideoPart, what: string): void {
  if (noticed.has(part)) return;
  noticed.add(part);
  const message = `${what}: the video has a sound track, which is not used; soundOf() makes an audio part of it, and the option audioTrack: "part" ends this notice`;
  if (part.options.onNotice) part.options.onNotice(message);
  else if (!warned) {
    warned = true;
    warn("ANYMAL_SOUND_IGNORED", `${message} (said once: other videos may have one too, onNotice hears of each)`);
  }
}

/**
 * The sound of the same window as an audio part, or undefined where the source has none (frames, GIF, WebP, Y4M, a file with pictures only).
 * Through ffmpeg; without it the sound of an MP4 or WebM is left to the audio reader.
 */
export async function soundOf(part: VideoPart, loading: Loading = {}): Promise<AudioPart | undefined> {
  checkLoading("soundOf", loading);
  const { source, options } = part;
  if (isFrames(source) || isPictures(source)) return undefined;
  const kind = await kindOf(source, options);
  if (kind !== "mp4" && kind !== "other") return undefined;
  const { start, seconds, maxSeconds = AUDIO_LIMITS.maxSeconds } = options;
  await using file = await onDisk(source, byteLimit(options, pathOf(source)), loading);
  try {
    const tools = findTools(options);
    const { sound } = await probe(tools, file.path, describe(source), loading.signal);
    return (
      sound && audio(await decodeSound(tools, file.path, describe(source), sound, { start, seconds, maxSeconds }, loading), { maxSeconds })
    );
  } catch (error) {
    if (kind !== "mp4" || !(error instanceof MediaError && error.code === "E_MEDIA_TOOL")) throw error;
    return audio(source, { ...(start !== undefined && { start }), ...(seconds !== undefined && { seconds }), maxSeconds });
  }
}

/** One channel, the mean of all, at the rate of the file. */
async function decodeSound(
  tools: Tools,
  path: string,
  what: string,
  { index, sampleRate, channels }: SoundTrack,
  { start = 0, seconds, maxSeconds }: Pick<VideoOptions, "start" | "seconds"> & { maxSeconds: number },
  { signal }: Loading,
): Promise<Sound> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const onOutput = (chunk: Uint8Array): undefined => {
    bytes += chunk.length;
    if (bytes > maxSeconds * sampleRate * 4)
      throw new MediaError(
        "E_MEDIA_LIMIT",
        what,
        `at most ${maxSeconds} s of sound`,
        "more",
        "choose a part with the options start and seconds, or raise the option maxSeconds",
      );
    chunks.push(chunk);
  };
  const mean = `pan=mono|c0<${Array.from({ length: channels }, (_, c) => `c${c}`).join("+")}`;
  const window = ["-ss", String(start), ...(seconds === undefined ? [] : ["-t", String(seconds)])];
  const args = ["-v", "error", "-nostdin", ...window, ...inputArguments(path), "-map", `0:${index}`];
  const { ok, said } = await run(tools.ffmpeg, [...args, "-af", mean, "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"], {
    what,
    signal,
    onOutput,
  });
  const whole = Buffer.concat(chunks);
  if (!ok || whole.length < 4)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      "a sound track that can be decoded",
      said || "no samples",
      "play it: the track is damaged, empty in this window, or this ffmpeg lacks its codec",
    );
  const samples = new Float32Array(whole.length >> 2);
  for (let i = 0; i < samples.length; ++i) samples[i] = whole.readFloatLE(4 * i);
  return { samples, sampleRate };
}
