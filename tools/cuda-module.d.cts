export interface Content {
  needed: string[];
  sources: { cards: string[]; ptx: string[] }[];
}
export function architecturesOf(nvcc: string): string[];
export function flagsOf(architectures: readonly string[]): string[];
export function contentOf(file: string): Content;
export function complaintsOf(content: Content, architectures: readonly string[]): string[];
