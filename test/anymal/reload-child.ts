// Answers two prompts from a checkpoint folder, in a process that knows nothing else.
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { square } from "./toy.js";

await using model = await AnyMAL.fromPretrained(process.argv[2] as string);
const prompts = [
  ["what is it? ", square("red")],
  [square("blue"), " and ", square("green"), ": which one?"],
];
console.log(JSON.stringify(await model.generateAll(prompts, { maxNewTokens: 6 })));
