// What a plan says.

/** Of a device's memory, in bytes. The parts add up to `peak`. */
export interface PlannedBytes {
  /** As they are once the model is loaded. */
  languageModel: number;
  encoders: number;
  projections: number;
  /** What training adds to them: branches of an adapter, f32 masters of what is opened. */
  added: number;
  gradients: number;
  /** The optimiser's moments. */
  moments: number;
  /** Keys and values that generation keeps. */
  cache: number;
  /** What layers and encoders hold on their way, at the moment when that is most. */
  activations: number;
  /** What ops compute in. */
  scratch: number;
  peak: number;
  /** While the model is loaded and quantised. */
  loading: number;
}

export interface PlannedTime {
  flopsPerStep: number;
  /** What the machine's arithmetic and memory allow at best, and at the share of it that was assumed. */
  floorPerStep: number;
  secondsPerStep: number;
  /** Of media that are encoded once and kept. */
  secondsPerMedium: number;
  share: number;
  tokensPerSecond: number;
  stepsPerEpoch: number | undefined;
  /** Encoding included, as in a first epoch. */
  secondsPerEpoch: number | undefined;
  /** Of all the steps of the recipe, and of the looks between them. */
  secondsInAll: number;
}

/** Of rows that are held out. */
export interface PlannedValidation {
  /** How often they are asked: before the first step, now and then, and at the end. */
  looks: number;
  secondsPerLook: number;
  /** Of the device's memory while they are asked: where it is more than a step takes, `bytes` of the stage is of a look. */
  peak: number;
}

export interface PlannedStage {
  /** "align image", "instruct", "generate". */
  stage: string;
  /** The switches that decide, as the recipe completes them. */
  settings: Readonly<Record<string, string | number | boolean>>;
  /** Positions of the longest row, and how many of them are of text. */
  length: number;
  textTokens: number;
  parameters: { all: number; trained: number };
  bytes: PlannedBytes;
  time: PlannedTime;
  /** In the machine's memory. */
  fits: boolean;
  /** Where the recipe holds rows out. */
  validation?: PlannedValidation;
  /** Of the features of a medium, which are kept on the host. */
  featureBytes: number;
}

export interface PlanReport {
  machine: { name: string; kind: "cpu" | "cuda"; memory: number };
  system: string;
  stages: PlannedStage[];
}
