// What the addon does to media on its way to an encoder: pixels, planes and samples in host memory.

export interface NativeMedia {
  media_image(
    pixels: Uint8Array,
    height: number,
    width: number,
    resizedHeight: number,
    resizedWidth: number,
    cropHeight: number,
    cropWidth: number,
    filter: number,
    rescale: number,
    ...meanThenStd: readonly number[]
  ): Promise<ArrayBuffer>;
  media_yuv(
    planes: Uint8Array,
    width: number,
    height: number,
    chromaWidth: number,
    chromaHeight: number,
    stepX: number,
    stepY: number,
    offsetX: number,
    offsetY: number,
    fullRange: boolean,
  ): Promise<ArrayBuffer>;
  media_pcm(samples: Uint8Array, encoding: number, channels: number): Promise<ArrayBuffer>;
  media_resample(samples: Float32Array, from: number, to: number): Promise<ArrayBuffer>;
  media_log_mel(
    samples: Float32Array,
    samplingRate: number,
    fft: number,
    hop: number,
    bins: number,
    frequencyMin: number,
    frequencyMax: number,
    scale: number,
    chunk: number,
    starts: readonly number[],
  ): Promise<ArrayBuffer>;
}
