// Pickles of protocols 0 to 5, read as data. The format is a program for a stack machine; here it makes containers, numbers and texts, and what an
// allow-list has for the names of Python that it knows. Any other name ends the reading: nothing of a file is ever carried out.
import type { Pieces } from "../../core/turns.js";
import type { Cursor } from "./cursor.js";
import { decimal, escaped, float, integer, literal } from "./literals.js";
import { Machine, type Surroundings } from "./machine.js";
import { Dict, kindOf, PickledSet, Tuple, type Value } from "./values.js";

const HIGHEST_PROTOCOL = 5;
/** Between two turns of the event loop. */
const STEPS = 2 ** 12;
const EMPTY = new Tuple([]);

/** One pickle, up to its end. Throws E_PICKLE on a name that `surroundings` do not know, and on a pickle that is none. */
export function* unpickle(from: Cursor, surroundings: Surroundings): Pieces<Value> {
  const machine = new Machine(from.file.path, surroundings);
  for (let step = 1; ; ++step) {
    const code = from.byte();
    if (code === STOP) return machine.result();
    const operation = OPERATIONS[code];
    if (operation) operation(machine, from);
    else machine.fail("an operation of a pickle", `byte 0x${code.toString(16).padStart(2, "0")} at ${from.at - 1}`);
    if (step % STEPS === 0) yield;
  }
}

type Operation = (m: Machine, from: Cursor) => void;
const line = (from: Cursor): string => from.text(from.line());

/** By their names in Python's pickletools. Those for buffers out of band and for registered extensions are missing on purpose. */
const NAMED: readonly (readonly [name: string, code: number, operation: Operation])[] = [
  ["MARK", 0x28, (m) => m.mark()],
  ["POP", 0x30, (m) => void m.pop()],
  ["POP_MARK", 0x31, (m) => void m.items()],
  ["DUP", 0x32, (m) => m.push(m.top())],

  ["NONE", 0x4e, (m) => m.push(null)],
  ["NEWTRUE", 0x88, (m) => m.push(true)],
  ["NEWFALSE", 0x89, (m) => m.push(false)],
  ["BININT1", 0x4b, (m, from) => m.push(from.byte())],
  ["BININT2", 0x4d, (m, from) => m.push(from.u16())],
  ["BININT", 0x4a, (m, from) => m.push(from.i32())],
  ["LONG1", 0x8a, (m, from) => m.push(integer(from.take(from.byte()), m.fail))],
  ["LONG4", 0x8b, (m, from) => m.push(integer(from.take(from.length(4)), m.fail))],
  ["INT", 0x49, (m, from) => m.push(decimal(line(from), true, m.fail))],
  ["LONG", 0x4c, (m, from) => m.push(decimal(line(from), false, m.fail))],
  ["BINFLOAT", 0x47, (m, from) => m.push(from.f64())],
  ["FLOAT", 0x46, (m, from) => m.push(float(line(from), m.fail))],

  ["BINUNICODE", 0x58, (m, from) => m.push(from.text(from.take(from.length(4))))],
  ["SHORT_BINUNICODE", 0x8c, (m, from) => m.push(from.text(from.take(from.byte())))],
  ["BINUNICODE8", 0x8d, (m, from) => m.push(from.text(from.take(from.length(8))))],
  ["UNICODE", 0x56, (m, from) => m.push(escaped(line(from)))],
  ["SHORT_BINSTRING", 0x55, (m, from) => m.push(oldText(from, from.byte()))],
  ["BINSTRING", 0x54, (m, from) => m.push(oldText(from, from.length(4)))],
  ["STRING", 0x53, (m, from) => m.push(literal(line(from), m.fail))],
  ["SHORT_BINBYTES", 0x43, (m, from) => m.push(from.take(from.byte()).slice())],
  ["BINBYTES", 0x42, (m, from) => m.push(from.take(from.length(4)).slice())],
  ["BINBYTES8", 0x8e, (m, from) => m.push(from.take(from.length(8)).slice())],
  ["BYTEARRAY8", 0x96, (m, from) => m.push(from.take(from.length(8)).slice())],

  ["EMPTY_TUPLE", 0x29, (m) => m.push(EMPTY)],
  ["TUPLE1", 0x85, (m) => m.made(new Tuple(m.last(1)))],
  ["TUPLE2", 0x86, (m) => m.made(new Tuple(m.last(2)))],
  ["TUPLE3", 0x87, (m) => m.made(new Tuple(m.last(3)))],
  ["TUPLE", 0x74, (m) => m.made(new Tuple(m.items()))],
  ["EMPTY_LIST", 0x5d, (m) => m.made([])],
  ["LIST", 0x6c, (m) => m.made(m.items())],
  ["APPEND", 0x61, (m) => m.append(m.last(1))],
  ["APPENDS", 0x65, (m) => m.append(m.items())],
  ["EMPTY_DICT", 0x7d, (m) => m.made(new Dict())],
  ["DICT", 0x64, (m) => madeOf(m, new Dict(), (items) => m.set(items))],
  ["SETITEM", 0x73, (m) => m.set(m.last(2))],
  ["SETITEMS", 0x75, (m) => m.set(m.items())],
  ["EMPTY_SET", 0x8f, (m) => m.made(new PickledSet())],
  ["FROZENSET", 0x91, (m) => madeOf(m, new PickledSet(), (items) => m.add(items))],
  ["ADDITEMS", 0x90, (m) => m.add(m.items())],

  ["GET", 0x67, (m, from) => m.get(index(m, from))],
  ["BINGET", 0x68, (m, from) => m.get(from.byte())],
  ["LONG_BINGET", 0x6a, (m, from) => m.get(from.u32())],
  ["PUT", 0x70, (m, from) => m.put(index(m, from))],
  ["BINPUT", 0x71, (m, from) => m.put(from.byte())],
  ["LONG_BINPUT", 0x72, (m, from) => m.put(from.u32())],
  ["MEMOIZE", 0x94, (m) => m.put()],

  ["GLOBAL", 0x63, (m, from) => m.global(line(from), line(from))],
  ["STACK_GLOBAL", 0x93, (m) => m.global(...(m.last(2) as [Value, Value]))],
  ["REDUCE", 0x52, (m) => m.call(...(m.last(2) as [Value, Value]))],
  ["NEWOBJ", 0x81, (m) => m.call(...(m.last(2) as [Value, Value]))],
  ["NEWOBJ_EX", 0x92, (m) => callNamed(m)],
  ["INST", 0x69, (m, from) => callListed(m, [line(from), line(from)])],
  ["OBJ", 0x6f, (m) => callListed(m)],
  ["BUILD", 0x62, (m) => m.build()],
  ["PERSID", 0x50, (m, from) => m.persistent(line(from))],
  ["BINPERSID", 0x51, (m) => m.persistent(m.pop())],

  ["PROTO", 0x80, (m, from) => protocol(m, from.byte())],
  ["FRAME", 0x95, (_, from) => void from.length(8)],
];
const STOP = 0x2e;
const OPERATIONS: (Operation | undefined)[] = [];
for (const [, code, operation] of NAMED) OPERATIONS[code] = operation;

/** Python 2 had one type for bytes and text. */
function oldText(from: Cursor, length: number): string | Uint8Array {
  const bytes = from.take(length).slice();
  try {
    return from.text(bytes);
  } catch {
    return bytes;
  }
}

function madeOf(m: Machine, container: object, fill: (items: Value[]) => void): void {
  const items = m.items();
  m.made(container);
  fill(items);
}

function index(m: Machine, from: Cursor): number {
  const text = line(from);
  return /^\d{1,10}$/.test(text) ? Number(text) : m.fail("the number of a remembered value", "another text");
}

function callNamed(m: Machine): void {
  const [callable, args, named] = m.last(3);
  if (!(named instanceof Dict) || named.map.size) m.fail("a call without named arguments", kindOf(named));
  m.call(callable, args);
}

/** What Python 2 wrote for objects of its old classes: the arguments lie above a mark, behind the class if it is not named. */
function callListed(m: Machine, named?: readonly [module: string, name: string]): void {
  const args = m.items();
  if (named) m.global(...named);
  const callable = named ? m.pop() : args.shift();
  m.call(callable, new Tuple(args));
}

function protocol(m: Machine, version: number): void {
  if (version > HIGHEST_PROTOCOL) m.fail(`a pickle of protocol ${HIGHEST_PROTOCOL} at most`, `protocol ${version}`);
}
