#!/usr/bin/env node
// What a CUDA module has inside: for which cards nvcc compiled each of its sources, which PTX it holds for the others, and the libraries that it asks the
// system for. `node tools/cuda-module.cjs FILE [ARCHITECTURE,...]` prints it, and fails where a source lacks one of those ("90a-real", "80-virtual") or
// where the module links to CUDA: its runtime must be inside, for a host has a driver and perhaps nothing else.
"use strict";
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");

/** Cards that modules are for; others run PTX of the oldest. */
const CARDS = ["80", "86", "89", "90a", "100", "110", "120"];

/** All of them that this nvcc knows, and that PTX, as CMake names them. */
function architecturesOf(nvcc) {
  const r = spawnSync(nvcc, ["--list-gpu-code"], { encoding: "utf8" });
  const known = (r.status === 0 ? r.stdout : "").match(/sm_\d+/g) ?? [];
  const cards = CARDS.filter((name) => known.includes(`sm_${name.replace("a", "")}`));
  return [...cards.map((name) => `${name}-real`), `${CARDS[0]}-virtual`];
}

/** As nvcc itself is asked for them. */
const flagsOf = (architectures) =>
  architectures.flatMap((text) => {
    const [, name, kind] = /^(\w+)-(real|virtual)$/.exec(text);
    return ["-gencode", `arch=compute_${name},code=${kind === "real" ? "sm" : "compute"}_${name}`];
  });

// ---- ELF ---------------------------------------------------------------------------------------------------------------------------------------------

/** The sections by name; of a 64-bit little-endian file, which is all that CUDA makes on Linux. */
function sectionsOf(bytes) {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1)
    throw new Error("expected a 64-bit ELF file, as a CUDA module for Linux is");
  const [at, size, count, names] = [
    Number(bytes.readBigUInt64LE(40)),
    bytes.readUInt16LE(58),
    bytes.readUInt16LE(60),
    bytes.readUInt16LE(62),
  ];
  const headers = Array.from({ length: count }, (_, i) => {
    const head = bytes.subarray(at + i * size, at + (i + 1) * size);
    const [offset, length] = [Number(head.readBigUInt64LE(24)), Number(head.readBigUInt64LE(32))];
    const nothing = head.readUInt32LE(4) === 8; // takes no bytes of the file
    return { name: head.readUInt32LE(0), link: head.readUInt32LE(40), body: bytes.subarray(offset, nothing ? offset : offset + length) };
  });
  const nameOf = (header) => textAt(headers[names].body, header.name);
  return { headers, nameOf, named: (name) => headers.filter((header) => nameOf(header) === name) };
}
const textAt = (bytes, at) => bytes.toString("latin1", at, bytes.indexOf(0, at));

/** Libraries that the dynamic linker must find. */
function neededBy({ headers, named }) {
  const found = [];
  for (const { body, link } of named(".dynamic"))
    for (let at = 0; at + 16 <= body.length; at += 16)
      if (body.readBigUInt64LE(at) === 1n) found.push(textAt(headers[link].body, Number(body.readBigUInt64LE(at + 8))));
  return found;
}

// ---- Fat binaries: one for each source, of entries that are PTX (1) or a card's code (2) ------------------------------------------------------------------

const MAGIC = 0xba55ed50;

function sourcesOf({ named }) {
  const found = [];
  for (const { body } of named(".nv_fatbin"))
    for (let at = 0; at + 16 <= body.length; ) {
      if (body.readUInt32LE(at) !== MAGIC) {
        at += 4; // padding between two
        continue;
      }
      const begin = at + body.readUInt16LE(at + 6);
      at = begin + Number(body.readBigUInt64LE(at + 8));
      found.push(entriesOf(body.subarray(begin, at)));
    }
  return found.filter(Boolean);
}

/** Of a card whose code may use what it alone has, "90a" and not "90". */
const OF_ITS_OWN = 0x100000n;

function entriesOf(body) {
  const source = { cards: [], ptx: [] };
  let kernels = false;
  for (let at = 0; at + 48 <= body.length; ) {
    const [kind, head, length] = [body.readUInt16LE(at), body.readUInt32LE(at + 4), Number(body.readBigUInt64LE(at + 8))];
    if (head < 48) throw new Error("a fat binary of a form that is not known");
    const name = `${body.readUInt32LE(at + 28)}${body.readBigUInt64LE(at + 40) & OF_ITS_OWN ? "a" : ""}`;
    (kind === 1 ? source.ptx : source.cards).push(name);
    const packed = body.readUInt32LE(at + 16) !== 0;
    kernels ||= kind === 1 || packed || hasKernels(body.subarray(at + head, at + head + length));
    at += head + length;
  }
  return kernels ? source : undefined;
}

/** Linking with nvcc adds a fat binary of a card's code without any. */
function hasKernels(code) {
  const { headers, nameOf } = sectionsOf(code);
  return headers.some((header) => nameOf(header).startsWith(".text."));
}

// ----------------------------------------------------------------------------------------------------------------------------------------------------------

/** { needed, sources }: names of libraries; for each source the cards that have code of their own ("80", "90a"), and those that PTX is for. */
function contentOf(file) {
  const sections = sectionsOf(fs.readFileSync(file));
  return { needed: neededBy(sections), sources: sourcesOf(sections) };
}

/** What a module lacks of the architectures that it was asked for, and what it links to. */
function complaintsOf({ needed, sources }, architectures) {
  const complaints = needed.filter((name) => /^lib(cuda|nv)/.test(name)).map((name) => `it links to ${name}: the host may not have it`);
  if (!sources.length) complaints.push("it has no code for any card");
  const wanted = architectures.map((text) => /^(\d+a?)(-real|-virtual)?$/.exec(text)).filter(Boolean);
  for (const [name, card, kind] of wanted) {
    const lacks = (list) => sources.filter((source) => !source[list].includes(card)).length;
    const real = kind === "-virtual" ? 0 : lacks("cards");
    const virtual = kind === "-real" ? 0 : lacks("ptx");
    if (real) complaints.push(`${name}: no code for such cards in ${real} of ${sources.length} sources`);
    if (virtual) complaints.push(`${name}: no PTX in ${virtual} of ${sources.length} sources`);
  }
  return complaints;
}

module.exports = { architecturesOf, complaintsOf, contentOf, flagsOf };

if (require.main === module) {
  const [file, architectures = ""] = process.argv.slice(2);
  const content = contentOf(file);
  const all = (list) =>
    [...new Set(content.sources.flatMap((source) => source[list]))]
      .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
      .join(", ") || "none";
  console.log(
    `${content.sources.length} sources; code for ${all("cards")}; PTX for ${all("ptx")}; links to ${content.needed.join(", ") || "nothing"}`,
  );
  const complaints = complaintsOf(content, architectures.split(",").filter(Boolean));
  for (const complaint of complaints) console.log(complaint);
  if (complaints.length) process.exitCode = 1;
}
