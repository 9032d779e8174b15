// What TensorBoard reads: events as protocol buffers (tensorflow/core/util/event.proto, framework/summary.proto) in TFRecord's frames. Only the fields
// that a training writes are known here, and each is written as protobuf's encoding says: a key of number and wire type, then the value.
import { maskedCrc32c } from "./crc32c.js";

/** Wire types. */
const WIRE = { varint: 0, eightBytes: 1, counted: 2, fourBytes: 5 } as const;

export interface TensorBoardEvent {
  /** Seconds since 1970. */
  wallTime: number;
  step?: number;
  /** The first event of a file: "brain.Event:2". */
  fileVersion?: string;
  /** A run goes on from `step`: TensorBoard forgets what it has read of later steps. */
  restart?: boolean;
  scalars?: Readonly<Record<string, number>>;
  /** Markdown by tag, for the page of texts. */
  texts?: Readonly<Record<string, string>>;
}

/** One record: the event's length, its checksum, the event, its checksum. */
export function eventRecord(event: TensorBoardEvent): Buffer {
  const data = encoded(event);
  const record = Buffer.alloc(data.length + 16);
  record.writeBigUInt64LE(BigInt(data.length));
  record.writeUInt32LE(maskedCrc32c(record.subarray(0, 8)), 8);
  record.set(data, 12);
  record.writeUInt32LE(maskedCrc32c(data), 12 + data.length);
  return record;
}

function encoded({ wallTime, step, fileVersion, restart, scalars = {}, texts = {} }: TensorBoardEvent): Buffer {
  const values = [
    ...Object.entries(scalars).map(([tag, value]) => Buffer.concat([text(1, tag), float(2, value)])),
    ...Object.entries(texts).map(([tag, value]) => textSummary(`${tag}/text_summary`, value)),
  ];
  return Buffer.concat([
    double(1, wallTime),
    ...(step ? [whole(2, step)] : []), // proto3 leaves out what is 0
    ...(fileVersion === undefined ? [] : [text(3, fileVersion)]),
    ...(values.length ? [counted(5, Buffer.concat(values.map((value) => counted(1, value))))] : []),
    ...(restart ? [counted(7, whole(1, START))] : []),
  ]);
}

/** SessionLog.SessionStatus, DataType */
const START = 1;
const DT_STRING = 7;

/** A tensor of one string that belongs to the plug-in for texts. */
function textSummary(tag: string, value: string): Buffer {
  const shape = counted(2, whole(1, 1));
  const tensor = Buffer.concat([whole(1, DT_STRING), counted(2, shape), text(8, value)]);
  return Buffer.concat([text(1, tag), counted(8, tensor), counted(9, counted(1, text(1, "text")))]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

const key = (field: number, type: number): Buffer => varint(field * 8 + type);
const whole = (field: number, value: number): Buffer => Buffer.concat([key(field, WIRE.varint), varint(value)]);
const counted = (field: number, bytes: Uint8Array): Buffer => Buffer.concat([key(field, WIRE.counted), varint(bytes.length), bytes]);
const text = (field: number, value: string): Buffer => counted(field, Buffer.from(value));

function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([key(field, WIRE.eightBytes), bytes]);
}

function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, WIRE.fourBytes), bytes]);
}
