// The form since PyTorch 1.6: a zip archive with NAME/data.pkl, which describes, and NAME/data/KEY for each storage.
import type { Pieces } from "../../core/turns.js";
import { allowed } from "./allowed.js";
import { type Bytes, Cursor, LONGEST } from "./cursor.js";
import { PickleError, quoted } from "./error.js";
import type { Fail } from "./literals.js";
import { unpickle } from "./pickle.js";
import { Storages, storageId } from "./tensor.js";
import type { Value } from "./values.js";
import { ZipDirectory } from "./zip.js";

const PICKLE = /^[^/]+\/data\.pkl$/;
const MOST_ORDER = 16;

export function* readZipForm(file: Bytes, fail: Fail): Pieces<Value> {
  const zip = new ZipDirectory(file);
  const names = [...zip.members.keys()].filter((name) => PICKLE.test(name));
  if (names.length !== 1) fail("a zip archive with one data.pkl, as torch.save writes it", names.length ? `${names.length}` : "none");
  const name = names[0] as string;
  const root = name.slice(0, -"data.pkl".length);
  const order = zip.members.get(`${root}byteorder`);
  if (order && new TextDecoder().decode(zip.content(order, MOST_ORDER)) === "big")
    throw new PickleError(file.path, "numbers with the lowest byte first", "the highest first", "save it again on a machine of today");
  const pickle = zip.members.get(name);
  if (!pickle) return fail("data.pkl", "none");
  zip.content(pickle, LONGEST); // for its checksum
  const start = zip.contentOf(pickle);
  const storages = new Storages(fail);
  return yield* unpickle(new Cursor(file, start, start + pickle.bytes), {
    global: allowed(fail),
    persistent(id) {
      const { kind, key, numel } = storageId(id, fail);
      return storages.of(key, kind, numel, (storage) => {
        const member = zip.members.get(`${root}data/${key}`);
        if (!member) return fail(`the storage ${quoted(key)} in the archive`, "none");
        if (member.bytes < storage.bytes) fail(`${storage.bytes} bytes in ${quoted(member.name)}`, `${member.bytes}`);
        storage.offset = zip.contentOf(member);
        storage.check = { crc: member.crc, offset: storage.offset, bytes: member.bytes };
      });
    },
  });
}
