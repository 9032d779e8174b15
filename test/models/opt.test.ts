// OPT against transformers.
import { test } from "uvu";
import { decoderCases } from "./decoder-cases.js";

decoderCases(/^opt(-|$)/);

test.run();
