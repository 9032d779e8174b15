import { type Handle, native } from "./native.js";
import { warn } from "./notice.js";

// The net under tensors that nobody disposed: frees them when they are collected, and says so once. Only tensors made outside of scopes and
// what the tape saved are registered: registration costs more than an op call.
let toldLeak = false;
export const collected = new FinalizationRegistry<Handle[]>((handles) => {
  for (const handle of handles) {
    try {
      native().tensor_dispose(handle);
    } catch {
      continue; // Its device was closed: the handle went with it.
    }
    if (toldLeak) continue;
    toldLeak = true;
    warn(
      "ANYMAL_LEAK",
      "tensors were garbage collected without dispose(); native memory is freed late this way: use scope(), `using` or dispose()",
    );
  }
});
