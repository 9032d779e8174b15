// The rules of the Penn Treebank tokeniser that caption scores are published with (Stanford CoreNLP 3.4.1), written from what it was seen to
// do. All are tried at each place; the one that reaches furthest wins, what it looks ahead at counted in, and of equals the first.

export interface Rule {
  /** The first group is the token where the rest is only looked at; without a group all of it is. */
  pattern: RegExp;
  /** What the token is written as; several are apart by blanks. */
  write: (text: string) => string;
}

const APOS = "(?:['’\\u0092]|&apos;)";
/** Where a word goes on behind it, a backtick passes for an apostrophe. */
const INNER = `(?:${APOS}|[\`‘])`;
const ACCENTED = "&[aeiouAEIOU](?:acute|grave|uml);";
const LETTER = `(?:[\\p{L}\\p{Mc}\\u0300-\\u036f\\u00ad]|${ACCENTED})`;
const LETTER_OR_DIGIT = `(?:[\\p{L}\\p{Mc}\\u0300-\\u036f\\p{Nd}\\u00ad]|${ACCENTED})`;
const WORD = `${LETTER}${LETTER_OR_DIGIT}*(?:[.!?]${LETTER}${LETTER_OR_DIGIT}*)*`;
const NUMBER = "(?:\\d*(?:[.:,·٫٬]\\d+)+|\\d+)";
const ACRONYM = "[A-Za-z](?:\\.[A-Za-z])*";
const PREFIXED = `[dDoOlL]${INNER}${LETTER_OR_DIGIT}{2,}`;
const LINKED = `(?:${PREFIXED}|[A-Za-z](?:\\.[A-Za-z])+\\.|${LETTER_OR_DIGIT}+)`;
const HYPHENED = `${LETTER_OR_DIGIT}(?:${LETTER_OR_DIGIT}*(?:[-_]${LINKED})+|(?:${LETTER_OR_DIGIT}|[.,])*(?:-${LINKED})+)`;
const PART = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}";
const SPACE = "[ \\t\\n\\r\\u00a0\\u2000-\\u200a\\u3000]";
const TAG = `<(?:[A-Za-z][\\w:.-]*(?: +[A-Za-z][\\w:.-]*(?: *= *(?:'[^'\\n]*'|"[^"\\n]*"))?)* */?|/[A-Za-z][\\w:.-]* *|[!?][A-Za-z-][^>\\n]*)>`;
/** Behind a period that ends a sentence, whatever stands before it. */
const NEXT_SENTENCE = `${SPACE}(?:${SPACE}|\\p{Lu}|${TAG})`;
/** Behind a period that might be an initial's. */
const STARTERS = `About|According|Additionally|After|An?|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Mr\\.|Ms\\.|Now|Once|One|Other|Our|She|Since
  |So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You`;
// Abbreviations that may end a sentence, and then have a second period.
const ENDING = `jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|ala|ariz|calif|colo|conn|ct|dak|fla|ga|ind|kans?|ky|md|mich|minn
  |mo|mont|neb|nev|okla|penn|tenn|va|vt|wisc?|wyo|inc|cos?|corp|pp?tys?|pp?tes?|ltd|plc|bancorp|bhd|assn|univ|intl|sys|tel|est|ext|sq|jr|sr|bros|blvd
  |(?:ed|ph)\\.d|rd|esq|etc|al|seq|bldg|rt`;
const ENDING_CAPITAL = "Ark|Az|Del|Ill|La|Mass|Ore|Pa|Tex|Wash";
const TITLES = `mr|mrs|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|messrs|govs?|adm|rev|maj|sgt|cpl|pvt|capt|ste?|ave|pres|lieut|hon|brig|co?mdr|pfc|spc
  |supts?|det|mt|ft|adj|adv|asst|assoc|ens|insp|mlle|mme|msgr|sfc|cie|jos|wm|alex|treas|invt|elec|natl|mfg|mtg|dept|vs|ph|cf`;
const NUMBERED = "ca|figs?|prop|nos?|art|pp|op";

const FILES =
  "bat|bmp|cgi|class|cpp|c|dll|docx?|exe|gif|gz|html?|h|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|xml|x|zip";

const inOneLine = (words: string) => words.replace(/\s+/g, "");
/** Letters in either case: the "i" flag would make every class of letters slow to compile. Capitals stay what they are. */
const anyCase = (words: string) => inOneLine(words).replace(/(?<!\\)[a-z]/g, (c) => `[${c}${c.toUpperCase()}]`);
const FRACTIONS: Record<string, string> = { "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3" };
const CURRENCY: Record<string, string> = { "£": "#", "€": "$", "¢": "cents", "¤": "$", "\u0080": "$" };
const ENTITIES: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&nbsp;": " " };
const CURLY: Record<string, string> = {
  "`": "`",
  "‹": "`",
  "›": "'",
  "«": "``",
  "»": "''",
  "‘": "`",
  "’": "'",
  "“": "``",
  "”": "''",
  "\u0091": "`",
  "\u0092": "'",
  "\u0093": "``",
  "\u0094": "''",
};
const BRACKETS: Record<string, string> = { "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-" };

/** Signs that are tokens as they are. Whatever no rule takes is dropped. */
const SIGNS =
  "!#$%&*+,\\-./:;<=>@\\\\^_|~¡¥-©¬®-´¶-¹¿×÷\\u0300-\\u036f\\p{Nd}\u02c2-\u02df\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044" +
  "\u2070-\u208e\u20a4\u2100-\u214f\u2155-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffe6";

const same = (text: string) => text;
const straight = (text: string) => text.replace(/[’\u0092]|&apos;/g, "'").replace("‘", "`");
const ampersands = (text: string) => text.replace(/&amp;/gi, "&");
const parentheses = (text: string) => text.replace("(", "-lrb-").replace(")", "-rrb-");
const bracketed = (text: string) => text.replace(/[()[\]{}]/g, (c) => BRACKETS[c] as string);
const fixed = (text: string) => () => text;

/** Words of two tokens. */
export const SPLITS: Record<string, string> = { can: "not", gon: "na", got: "ta", lem: "me", gim: "me", wan: "na" };
const splitAfter = (text: string, at: number) => `${text.slice(0, at)} ${text.slice(at)}`;
const CLITIC = anyCase("m|s|d|re|ve|ll");

const WWW = `${anyCase("www")}\\.(?:[^ \\t\\n\\f\\r"<>|.!?(){},]+\\.)+[a-zA-Z]{2,4}`;
const DOMAIN = `(?!\\d)(?:[^ \\t\\n\\f\\r"\`'<>|.!?(){},:@/A-Z\\-_$]+\\.)+(?:${anyCase("com|net|org|edu")})`;
const PATH = '/[^ \\t\\n\\f\\r"<>|()]+[^ \\t\\n\\f\\r"<>|.!?(){},-]';

const rule = (pattern: string, write: (text: string) => string = same): Rule => ({ pattern: new RegExp(pattern, "uy"), write });

export const RULES: readonly Rule[] = [
  rule(`${SPACE}+`, fixed("")),
  rule(TAG),
  rule("&(?:amp|lt|gt);", (text) => ENTITIES[text.toLowerCase()] as string),
  rule("&nbsp;", fixed("")),
  // Words that are two tokens.
  ...Object.entries(SPLITS).map(([first, second]) => rule(`${anyCase(first)}${anyCase(second)}`, (text) => splitAfter(text, first.length))),
  rule(`('[tT])(?:${anyCase("is|was")})`),
  rule(`(${anyCase("more")})${APOS}[nN]`),
  rule(`[dD]${APOS}${anyCase("ye")}`),
  rule(`(?:${anyCase("e|ne|o")})${APOS}${anyCase("er")}|${anyCase("ma")}${APOS}${anyCase("am")}|[cC]${APOS}${anyCase("mon")}`),
  // Contractions: what stands before, then the clitic.
  rule(`([A-Za-z]*[A-MO-Za-mo-z])[nN]${INNER}[tT]`),
  rule(`(${WORD})${APOS}(?:${CLITIC})`),
  rule(`[nN]${INNER}[tT]`, straight),
  rule(`(${APOS}(?:${CLITIC}))[^A-Za-z]`, straight),
  rule(`${APOS}[sS]`, straight),
  // Words with an apostrophe inside, before or behind.
  rule(`${APOS}[nN]${APOS}?|(?:[lLdDjJ]|${anyCase("dunkin|somethin|ol")})${APOS}|${APOS}(?:${anyCase("em|till?|cause|[2-9]0s")})`),
  rule(`(${APOS}\\d\\d)${SPACE}`),
  rule(`${PREFIXED}(?:[-_]${LETTER_OR_DIGIT}+)*`),
  rule(`[A-HJ-XZn]${INNER}[A-Za-z]{2}${LETTER}*|\\p{L}+[aeiouyAEIOUY]${INNER}[aeiouA-Z][A-Za-z]*`),
  rule(`([yY]${APOS})[A-Za-z]`),
  // Addresses.
  rule(`${anyCase("https?")}://[^ \\t\\n\\f\\r"<>|(){}]+[^ \\t\\n\\f\\r"<>|.!?(){},-]`),
  // A path is a rule of its own: a host takes slashes too, and would go on into a path that reaches further.
  ...[WWW, DOMAIN].flatMap((host) => [rule(host), rule(`${host}${PATH}`)]),
  rule(`[a-zA-Z0-9][^ \\t\\n\\f\\r"<>|()\u00a0{}]*@(?:[^ \\t\\n\\f\\r"<>|(){}.\u00a0]+\\.)*[^ \\t\\n\\f\\r"<>|(){}.\u00a0]+`),
  rule("@[A-Za-z_][A-Za-z_0-9]*|#\\p{L}+"),
  // Words, numbers, and what is made of both.
  rule(WORD),
  rule(`[-+]?${NUMBER}`),
  rule("\\d{1,2}[-/]\\d{1,2}[-/]\\d{2,4}|(?:\\d{1,4}[- \u00a0])?\\d{1,4}[/⁄]\\d{1,4}"),
  rule("(?:\\(\\d{2,3}\\)[ \u00a0]?|(?:\\+\\+?)?(?:\\d{2,4}[- \u00a0])?\\d{2,4}[- \u00a0])\\d{3,4}[- \u00a0]?\\d{3,5}", bracketed),
  rule(`${LETTER_OR_DIGIT}+`),
  rule(`${LETTER_OR_DIGIT}+(?:\\.${LETTER_OR_DIGIT}+)*\\.(?:${anyCase(FILES)})(?![\\p{L}\\d])`),
  rule("[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+", ampersands),
  rule(`${PART}(?:/${PART}){1,2}`),
  rule("[cC](?:\\+\\+|#)"),
  // Abbreviations keep their period. Where a sentence ends it is a token once more, and a single letter is no abbreviation then.
  rule(`(${anyCase(ENDING)})\\.${NEXT_SENTENCE}`, (text) => `${text}.`),
  rule(`(${anyCase("co")}\\.)${SPACE}${anyCase("ltd")}`),
  rule(`(${ENDING_CAPITAL})\\.${NEXT_SENTENCE}`, (text) => `${text}.`),
  rule(`(${ACRONYM})\\.(?:${SPACE}+(?:${anyCase(STARTERS)})${SPACE}|${SPACE}${TAG}${SPACE})`, (text) =>
    text.length > 1 ? `${text}.` : text,
  ),
  rule(`((?:${anyCase(ENDING)})\\.)[^]{2}`),
  rule(`((?:${ENDING_CAPITAL})\\.)[^]{2}`),
  rule(`(?:${anyCase(TITLES)})\\.`),
  rule("[A-Z]iss\\."),
  rule(`((?:${anyCase(NUMBERED)})\\.)${SPACE}?\\d`),
  rule(`${ACRONYM}\\.`),
  rule(`((?:${WORD}|${LETTER_OR_DIGIT}+|${HYPHENED}|${PREFIXED})\\.)[,;:]`),
  rule(HYPHENED),
  // Money and signs.
  rule("[A-Z]+\\$"),
  rule("[£€¢¤\u0080\u20a0]", (text) => CURRENCY[text] as string),
  rule("[¼½¾⅓⅔]", (text) => FRACTIONS[text] as string),
  rule("[()\\[\\]{}]", bracketed),
  rule("[!?]+|\\*+|_+|@+|#+|<<|>>|&#\\d+;"),
  rule("\\.{3,5}|(?:\\.[ \u00a0]){2,4}\\.|…", fixed("...")),
  rule("-{2,4}|[\u0096\u0097–—―]", fixed("--")),
  rule("-{5,}"),
  rule(`([<>]?[:;=]['oO*-]?[()DdPpO|\\\\@[\\]{])[^A-Za-z0-9]|['^=<>~-]_['^=<>~-]`, parentheses),
  // Quotes: an opening one stands right before a word.
  rule('(?:"|&quot;)(?=[A-Za-z0-9$])|[“«\u0093]|``', fixed("``")),
  rule("\"|''|[”»\u0094]|&quot;", fixed("''")),
  rule("(')[A-Za-z][^ \\t\\n]", fixed("`")),
  rule("[`‘‛‹\u0091]", fixed("`")),
  rule(`${APOS}|›`, fixed("'")),
  rule("[`‘’“”‹›«»\u0091-\u0094]{2}", (text) => text.replace(/./gu, (c) => CURLY[c] as string)),
  rule(`[${SIGNS}]`),
];
