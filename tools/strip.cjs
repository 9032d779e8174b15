#!/usr/bin/env node
// strip for prebuildify: `tools/strip.cjs FILE OPTIONS`. binutils writes the smaller file over the larger one, and a process that has it loaded
// loses the addresses written into its pages: it dies of a segmentation fault, often not before it ends. Here the name is given to a new file.
"use strict";
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");

const [file, ...options] = process.argv.slice(2);
const part = `${file}.part`;
const { status, error } = spawnSync("strip", [...options, "-o", part, file], { stdio: "inherit" });
if (error) console.error(`anymal: strip did not run: ${error.message}`);
if (status === 0) fs.renameSync(part, file);
process.exit(status ?? 1);
