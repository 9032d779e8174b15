// Sounds against libsndfile: WAV of every kind and shape, and what is compressed.
import { readFileSync } from "node:fs";
import { audio, loadAudio } from "../../../lib/media/audio.js";
import type { Target } from "../target.js";
import { ALIKE, BOTH_REFUSE, mediaTarget, type Read } from "./media.js";

interface Sound extends Read {
  rate: number;
  tolerance: number;
  frames?: number;
}

async function judge({ path, rate, tolerance, frames, refused }: Sound): Promise<string> {
  const got = await loadAudio(audio(path)).catch((error: Error) => error);
  if (refused !== undefined) return got instanceof Error ? BOTH_REFUSE : `taken, where the reference says ${refused}`;
  if (got instanceof Error) return got.message;
  if (got.sampleRate !== rate) return `${got.sampleRate} Hz, want ${rate}`;
  if (got.samples.length !== frames) return `${got.samples.length} samples, want ${frames}`;
  const bytes = readFileSync(`${path}.f32`);
  const want = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  let [worst, at] = [0, -1];
  for (const [i, v] of want.entries()) {
    const off = Math.abs(v - got.samples[i]!);
    if (off > worst) [worst, at] = [off, i];
  }
  return worst <= tolerance ? ALIKE : `off by up to ${worst} at ${at}: ${got.samples[at]}, want ${want[at]}`;
}

export const sounds: Target = mediaTarget<Sound>("sounds", "soundfile, numpy", judge);
