// MPT against transformers.
import { test } from "uvu";
import { decoderCases } from "./decoder-cases.js";

decoderCases(/^mpt(-|$)/);

test.run();
