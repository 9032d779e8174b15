// Public names.
export { backward, backwardAsync, checkpoint, isGradEnabled, noGrad } from "./core/autograd.js";
export { Capture, type Device, type DeviceMemory, type DeviceOptions, defaultDevice, device } from "./core/device.js";
export { AnymalError } from "./core/errors.js";
export { seed } from "./core/random.js";
export { keep, scope } from "./core/scope.js";
export { type DType, Tensor, type TensorData, type TensorOptions } from "./core/tensor.js";
export * from "./ops/index.js";
