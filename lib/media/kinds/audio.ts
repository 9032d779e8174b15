// Sounds.
import { AUDIO_OPTIONS, type AudioPart, audio, loadAudio } from "../audio.js";
import { envelope, melPicture } from "../preview.js";
import type { Kind } from "./kind.js";

export const audioKind: Kind<AudioPart> = {
  name: "audio",
  about: "a sound",
  options: AUDIO_OPTIONS,
  folder: false,
  captionPrompts: ["Describe the sound.", "What can be heard?", "Give a caption of the sound."],
  part: (source, options) => audio(source as AudioPart["source"], options),
  load: loadAudio,
  async preview(part, loading) {
    const sound = await loadAudio(part, loading);
    const { samples, sampleRate } = sound;
    const wave = { name: "wave", lines: envelope(samples), filled: true };
    return { pictures: [await melPicture(sound)], curves: [wave], seconds: samples.length / sampleRate };
  },
  /** Silence. */
  async blank(part, loading) {
    const { samples, sampleRate } = await loadAudio(part, loading);
    const { start: _start, seconds: _seconds, ...options } = part.options;
    return audio({ samples: new Float32Array(samples.length), sampleRate }, options);
  },
};
