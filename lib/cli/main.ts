#!/usr/bin/env node
// `anymal`
import { runProgram } from "./output.js";
import { program } from "./program.js";

await runProgram(program(), process.argv.slice(2));
