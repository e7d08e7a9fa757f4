// A strict JSON reader that keeps the place of every value: unit hashes are over the text as it stands in the file,
// so a value must never be taken apart and written again.

import { FormatError, type Bytes } from "./bytes.js";

/** A value with the bytes it was written in, from `from` to before `to`. */
export type Json = { readonly from: number; readonly to: number } & (
  | { readonly kind: "object"; readonly members: ReadonlyMap<string, Json> }
  | { readonly kind: "array"; readonly items: readonly Json[] }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "word"; readonly value: boolean | null }
  /** Judged, but not taken apart: it lies deeper than was asked for. */
  | { readonly kind: "raw" }
);

/** Reads one document and takes it apart down to `depth` levels below the top. */
export function parseJson(bytes: Bytes, field: string, depth: number): Json {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FormatError(field, 0, "not UTF-8");
  }
  // Positions below count bytes.  ASCII drives the grammar, and other bytes occur inside strings only.
  const parser = new JsonParser(bytes, field, depth);
  if (text === "") parser.fail("empty");
  return parser.document();
}

const SPACE = new Set([0x20, 0x09, 0x0a, 0x0d]);

class JsonParser {
  private at = 0;

  constructor(
    private readonly bytes: Bytes,
    private readonly field: string,
    private readonly depthMax: number,
  ) {}

  fail(what: string): never {
    throw new FormatError(this.field, this.at, what);
  }

  document(): Json {
    const value = this.value(0);
    this.space();
    if (this.at < this.bytes.length) this.fail("text after the document");
    return value;
  }

  private space(): void {
    while (SPACE.has(this.bytes[this.at] ?? -1)) this.at++;
  }

  private peek(): string {
    const byte = this.bytes[this.at];
    return byte === undefined ? "" : String.fromCharCode(byte);
  }

  private expect(char: string): void {
    if (this.peek() !== char) this.fail(`"${char}" expected`);
    this.at++;
  }

  private value(depth: number): Json {
    this.space();
    const from = this.at;
    if (depth >= this.depthMax) {
      this.skip();
      return { kind: "raw", from, to: this.at };
    }
    switch (this.peek()) {
      case "{": {
        const members = this.object(depth);
        return { kind: "object", members, from, to: this.at };
      }
      case "[": {
        const items = this.array(depth);
        return { kind: "array", items, from, to: this.at };
      }
      case '"': {
        const value = this.string();
        return { kind: "string", value, from, to: this.at };
      }
      default:
        return this.scalar(from);
    }
  }

  /** Steps over one value of any depth without calling itself: hostile nesting costs no stack. */
  private skip(): void {
    const open: string[] = [];
    do {
      this.space();
      const char = this.peek();
      if (char === "{" || char === "[") {
        this.at++;
        this.space();
        if (this.peek() === (char === "{" ? "}" : "]")) {
          this.at++;
        } else {
          open.push(char);
          if (char === "{") this.memberName();
          continue;
        }
      } else if (char === '"') {
        this.string();
      } else {
        this.scalar(this.at);
      }
      this.closeAll(open);
    } while (open.length > 0);
  }

  /** After a value inside others: the next one begins, or what holds it ends. */
  private closeAll(open: string[]): void {
    while (open.length > 0) {
      this.space();
      const holder = open[open.length - 1];
      if (this.peek() === ",") {
        this.at++;
        if (holder === "{") this.memberName();
        return;
      }
      this.expect(holder === "{" ? "}" : "]");
      open.pop();
    }
  }

  private memberName(): void {
    this.space();
    this.string();
    this.space();
    this.expect(":");
  }

  /** A number, true, false or null: as many characters as can belong to one, judged as a whole. */
  private scalar(from: number): Json {
    while (/^[-+.0-9A-Za-z]$/.test(this.peek())) this.at++;
    const text = new TextDecoder("latin1").decode(this.bytes.subarray(from, this.at));
    const words: ReadonlyMap<string, boolean | null> = new Map<string, boolean | null>([["true", true], ["false", false], ["null", null]]);
    const word = words.get(text);
    if (word !== undefined) return { kind: "word", value: word, from, to: this.at };
    if (!/^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$/.test(text)) this.fail("no JSON value");
    return { kind: "number", text, from, to: this.at };
  }

  private object(depth: number): Map<string, Json> {
    const members = new Map<string, Json>();
    this.expect("{");
    this.space();
    if (this.peek() === "}") {
      this.at++;
      return members;
    }
    for (;;) {
      this.space();
      const name = this.string();
      if (members.has(name)) this.fail(`member "${name}" twice`);
      // Half a pair of surrogates is no character.
      if (/\p{Cs}/u.test(name)) this.fail("a member's name is no text");
      this.space();
      this.expect(":");
      members.set(name, this.value(depth + 1));
      this.space();
      if (this.peek() !== ",") break;
      this.at++;
    }
    this.expect("}");
    return members;
  }

  private array(depth: number): Json[] {
    const items: Json[] = [];
    this.expect("[");
    this.space();
    if (this.peek() === "]") {
      this.at++;
      return items;
    }
    for (;;) {
      items.push(this.value(depth + 1));
      this.space();
      if (this.peek() !== ",") break;
      this.at++;
    }
    this.expect("]");
    return items;
  }

  /** A string.  The engine's own reader judges escapes and control characters. */
  private string(): string {
    const from = this.at;
    this.expect('"');
    for (;;) {
      const byte = this.bytes[this.at];
      if (byte === undefined) this.fail("a string without end");
      this.at += byte === 0x5c ? 2 : 1;
      if (byte === 0x22) break;
    }
    if (this.at > this.bytes.length) this.fail("a string without end");
    try {
      return JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.bytes.subarray(from, this.at))) as string;
    } catch {
      return this.fail("a malformed string");
    }
  }
}
