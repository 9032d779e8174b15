// Another process that wants the same model: node --import tsx resolve-child.ts ID
import { resolveModel } from "../../../lib/io/hub.js";

console.log(await resolveModel(process.argv[2]!, { hub: { backoffMs: 10 } }));
