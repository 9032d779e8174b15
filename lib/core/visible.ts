// What others wrote, before it meets a terminal or a log: control characters there move the cursor, rename the window, or run what the terminal takes
// for commands.

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** The text with its control characters written out as in JSON, "\u001b" for escape. Line feeds and tabs stay. */
export function visible(text: string): string {
  return text.replace(CONTROLS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** What is quoted may be as long as its file: the beginning says what was expected, the end what to try. */
const LONGEST = 3000;
const END = 500;
export const bounded = (message: string): string =>
  message.length > LONGEST ? `${message.slice(0, LONGEST - END)} … ${message.slice(-END)}` : message;
