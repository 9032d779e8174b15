// What users of the package can name. The list in fixtures/public-names.txt is what they have: a name that goes breaks them, so it goes on purpose or not
// at all. `npx tsx test/api.test.ts --write` writes the list anew.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const test = suite("public names");
const root = fileURLToPath(new URL("..", import.meta.url));
const list = join(root, "test/fixtures/public-names.txt");

/** lib/ alone, without the types of Node and of other packages: names and declarations need none of them. */
function compiled(entry: string): ts.Program {
  const options: ts.CompilerOptions = {
    noLib: true,
    types: [],
    declaration: true,
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
  };
  const host = ts.createCompilerHost(options);
  host.resolveModuleNameLiterals = (literals, from) =>
    literals.map(({ text }) => {
      const resolvedFileName = join(dirname(from), text.replace(/\.js$/, ".ts"));
      if (!text.startsWith(".") || !existsSync(resolvedFileName)) return { resolvedModule: undefined };
      return { resolvedModule: { resolvedFileName, extension: ts.Extension.Ts } };
    });
  return ts.createProgram([entry], options, host);
}

const entry = join(root, "lib/index.ts");
const program = compiled(entry);
const checker = program.getTypeChecker();
const inLib = (node: ts.Node): boolean => node.getSourceFile().fileName.startsWith(join(root, "lib/"));
const meant = (symbol: ts.Symbol): ts.Symbol => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);
const where = (symbol: ts.Symbol): string => symbol.declarations?.[0]?.getSourceFile().fileName.slice(root.length) ?? "";

/** All that can be named, by the name: what stands in a namespace as ops.add. */
function namesOf(module: ts.Symbol, prefix = ""): [string, ts.Symbol][] {
  return checker.getExportsOfModule(module).flatMap((symbol): [string, ts.Symbol][] => {
    const own = meant(symbol);
    const name = `${prefix}${symbol.name}`;
    return own.flags & ts.SymbolFlags.ValueModule ? [[name, own], ...namesOf(own, `${name}.`)] : [[name, own]];
  });
}
const names = namesOf(checker.getSymbolAtLocation(program.getSourceFile(entry) as ts.SourceFile) as ts.Symbol);
const shown = new Set(names.map(([, symbol]) => symbol));

const KINDS: [ts.SymbolFlags, string][] = [
  [ts.SymbolFlags.ValueModule, "namespace"],
  [ts.SymbolFlags.Class, "class"],
  [ts.SymbolFlags.Function, "function"],
  [ts.SymbolFlags.Variable, "const"],
  [ts.SymbolFlags.Interface | ts.SymbolFlags.TypeAlias, "type"],
];
const kindOf = ({ flags }: ts.Symbol): string => KINDS.find(([mask]) => flags & mask)?.[1] ?? "other";

test("names come and go on purpose", () => {
  const now = names.map(([name, symbol]) => `${name} ${kindOf(symbol)}`).sort();
  assert.ok(now.length > 400, `${now.length} names`);
  if (process.argv.includes("--write")) writeFileSync(list, `${now.join("\n")}\n`);
  const before = readFileSync(list, "utf8").trimEnd().split("\n");
  const gone = before.filter((line) => !now.includes(line));
  const come = now.filter((line) => !before.includes(line));
  assert.equal(
    { gone, come },
    { gone: [], come: [] },
    `gone: ${gone.join(", ") || "none"}; new: ${come.join(", ") || "none"}. One that is gone breaks its users; new ones: npx tsx test/api.test.ts --write`,
  );
});

test("declarations can be written, as the package's build does: no public type stands on one that its file keeps to itself", () => {
  const files = program.getSourceFiles().filter(inLib);
  const faults = files.flatMap((file) => program.getDeclarationDiagnostics(file)).filter(({ code }) => code >= 4000 && code < 5000);
  assert.equal(
    faults.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " ")),
    [],
  );
});

test("every public class and function says what it is", () => {
  const isCalled = (symbol: ts.Symbol) =>
    symbol.flags & (ts.SymbolFlags.Class | ts.SymbolFlags.Function) ||
    symbol.declarations?.some((one) => ts.isVariableDeclaration(one) && one.initializer && ts.isArrowFunction(one.initializer));
  const silent = names.filter(([, symbol]) => isCalled(symbol) && !symbol.getDocumentationComment(checker).length);
  assert.equal(
    silent.map(([name, symbol]) => `${name} in ${where(symbol)}`),
    [],
    "without a docstring",
  );
});

/** Classes of lib/ that extend AnymalError, directly or not. */
function errorsOf(file: ts.SourceFile): ts.Symbol[] {
  return file.statements.filter(ts.isClassDeclaration).flatMap(({ name, heritageClauses }) => {
    const base = heritageClauses?.find(({ token }) => token === ts.SyntaxKind.ExtendsKeyword)?.types[0]?.expression;
    const symbol = name && checker.getSymbolAtLocation(name);
    return symbol && base && /^(?!Error$)\w+Error$/.test(base.getText()) ? [symbol] : [];
  });
}

test("every error can be caught by its class", () => {
  const errors = program.getSourceFiles().filter(inLib).flatMap(errorsOf);
  assert.ok(errors.length > 15, `${errors.length} classes`);
  assert.equal(
    errors.filter((symbol) => !shown.has(symbol)).map((symbol) => `${symbol.name} in ${where(symbol)}`),
    [],
  );
});

/** Types that only the library itself makes and passes. */
const INTERNAL = new Set([
  "Attached",
  "DecoderLayer",
  "Handle",
  "Heads",
  "Lead",
  "ModalitySetup",
  "Opened",
  "Placed",
  "Rope",
  "RowState",
  "Source",
  "Span",
  "StoredTensor",
]);

/** Names that a parameter's type consists of, as far as they are this library's. */
function typesIn(node: ts.Node): ts.Symbol[] {
  const own: ts.Symbol[] = [];
  const visit = (at: ts.Node): void => {
    const name = ts.isTypeReferenceNode(at) ? at.typeName : undefined;
    const symbol = name && checker.getSymbolAtLocation(name);
    if (symbol && !(symbol.flags & ts.SymbolFlags.TypeParameter)) own.push(meant(symbol));
    ts.forEachChild(at, visit);
  };
  visit(node);
  return own.filter(({ declarations }) => declarations?.[0] && inLib(declarations[0]));
}

/** Parameters of a function, and of what a class lets others call. */
function parametersOf(declaration: ts.Declaration): readonly ts.ParameterDeclaration[] {
  if (ts.isFunctionDeclaration(declaration)) return declaration.parameters;
  if (ts.isVariableDeclaration(declaration) && declaration.initializer && ts.isArrowFunction(declaration.initializer))
    return declaration.initializer.parameters;
  if (!ts.isClassDeclaration(declaration)) return [];
  const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
  return declaration.members.flatMap((member) => {
    const called = ts.isMethodDeclaration(member) || ts.isConstructorDeclaration(member) || ts.isSetAccessor(member);
    if (!called || ts.getCombinedModifierFlags(member) & hidden || (member.name && ts.isPrivateIdentifier(member.name))) return [];
    return [...member.parameters];
  });
}

test("what public functions and methods take can be named", () => {
  const unnamed = new Map<string, Set<string>>();
  for (const [name, symbol] of names)
    for (const { type } of (symbol.declarations ?? []).filter(inLib).flatMap(parametersOf))
      for (const taken of type ? typesIn(type) : []) {
        const known = shown.has(taken) || INTERNAL.has(taken.name);
        if (!known)
          unnamed.set(`${taken.name} in ${where(taken)}`, (unnamed.get(`${taken.name} in ${where(taken)}`) ?? new Set()).add(name));
      }
  assert.equal(Array.from(unnamed, ([type, by]) => `${type}, which ${[...by].join(", ")} takes`).sort(), []);
});

test.run();
