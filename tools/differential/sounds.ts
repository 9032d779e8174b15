// Sounds against libsndfile: WAV of every kind and shape, and what is compressed. Python with soundfile makes them and says what it reads.
//   npx tsx tools/differential/sounds.ts --python PYTHON --seed 1 --cases 500
import { readFileSync } from "node:fs";
import { audio, loadAudio } from "../../lib/media/audio.js";
import { compare, type Verdict } from "./compare.js";

interface Line {
  kind: string;
  path: string;
  rate: number;
  tolerance: number;
  frames?: number;
  refused?: string;
}

await compare<Line>("sounds", async ({ path, rate, tolerance, frames, refused }): Promise<Verdict> => {
  const got = await loadAudio(audio(path)).catch((error: Error) => error);
  if (refused !== undefined) return got instanceof Error ? "both refuse" : `taken, where the reference says ${refused}`;
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
  return worst <= tolerance ? "alike" : `off by up to ${worst} at ${at}: ${got.samples[at]}, want ${want[at]}`;
});
