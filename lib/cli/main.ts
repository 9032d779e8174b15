#!/usr/bin/env node
// `anymal`
import { loadKinds } from "./kinds.js";
import { runProgram } from "./output.js";
import { program } from "./program.js";

const argv = process.argv.slice(2);
await runProgram(async () => {
  await loadKinds(argv);
  return program();
}, argv);
