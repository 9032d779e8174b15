// The addon's whole surface, typed: one declaration for each function that native/node exports. Here devices, captures, files and tensors; ops and media have
// a file each.
import type { NativeMedia } from "./native-media.js";
import type { Handle, NativeOps } from "./native-ops.js";

export interface Native extends NativeMedia, NativeOps {
  device_open(name: string, options: string): number;
  device_open_async(name: string, options: string): Promise<number>;
  device_close(device: number): Promise<void>;
  device_describe(device: number): string;
  device_synchronize(device: number): Promise<void>;
  device_memory(device: number): {
    bytesInUse: number;
    bytesPeak: number;
    bytesReserved: number;
    bytesScratch: number;
    memoryLimit?: number;
    tensors: number;
  };
  device_reset_peak(device: number): void;
  device_peak(device: number, what: number): Promise<number>;
  capture_begin(device: number): number;
  /** How many commands were recorded. */
  capture_end(capture: number): number;
  capture_replay(capture: number): void;
  capture_dispose(capture: number): void;
  file_map(path: string): number;
  file_size(file: number): number;
  file_read(file: number, offset: number, length: number): ArrayBuffer;
  file_unmap(file: number): void;
  tensor_create(device: number, dtype: number, shape: readonly number[]): Handle;
  tensor_from(device: number, dtype: number, shape: readonly number[], data: ArrayBufferView | ArrayBuffer): Handle;
  tensor_from_file(device: number, dtype: number, shape: readonly number[], file: number, offset: number): Handle;
  tensor_from_half(device: number, dtype: number, shape: readonly number[], file: number, offset: number): Handle;
  tensor_spec(tensor: Handle): { dtype: number; shape: number[]; device: number };
  tensor_alias(tensor: Handle): Handle;
  tensor_reshape(tensor: Handle, shape: readonly number[]): Handle;
  tensor_slice(tensor: Handle, start: number, length: number): Handle;
  tensor_dispose(tensors: Handle | readonly Handle[]): void;
  tensor_read(tensor: Handle): Promise<ArrayBuffer>;
  tensors_computed(tensors: readonly Handle[]): Promise<void>;
  tensor_write(tensor: Handle, data: ArrayBufferView | ArrayBuffer): void;
  tensor_heal(tensor: Handle): void;
  packed_bytes(device: number, format: number, outFeatures: number, inFeatures: number): number;
}
