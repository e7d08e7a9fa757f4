// Deterministic CBOR (RFC 8949, 4.2.1) as far as evidence uses it.  Everything else is refused: two files with the
// same content must be the same bytes, because the hash of the file names it.

import { FormatError, Reader, type Bytes } from "./bytes.js";

/** One decoded item with the place it was found at. */
export type Item = { readonly at: number } & (
  | { readonly kind: "uint"; readonly value: bigint }
  | { readonly kind: "negative"; readonly value: bigint }
  | { readonly kind: "bytes"; readonly value: Bytes; readonly bodyAt: number }
  | { readonly kind: "text"; readonly value: string }
  | { readonly kind: "array"; readonly value: readonly Item[] }
  | { readonly kind: "map"; readonly value: ReadonlyMap<number, Item> }
  | { readonly kind: "tag"; readonly tag: bigint; readonly value: Item }
);

const DEPTH_MAX = 8;
const ITEMS_MAX = 16_384;
/** COSE_Sign1, the one tag there is. */
const TAG_COSE_SIGN1 = 18n;

/** What a kind of document may have beyond evidence. */
export interface Grammar {
  readonly depth: number;
  readonly tags: readonly bigint[];
}

const EVIDENCE: Grammar = { depth: DEPTH_MAX, tags: [TAG_COSE_SIGN1] };

/** Decodes exactly one document; `base` is its place in the file. */
export function decodeCbor(bytes: Bytes, field: string, base = 0, grammar = EVIDENCE): Item {
  const decoder = new Decoder(new Reader(bytes, base), field, grammar);
  const item = decoder.item(0);
  decoder.reader.end(field);
  return item;
}

class Decoder {
  private items = 0;

  constructor(
    readonly reader: Reader,
    private readonly field: string,
    private readonly grammar: Grammar,
  ) {}

  item(depth: number): Item {
    const at = this.reader.offset;
    if (depth > this.grammar.depth) this.fail(at, `nested deeper than ${this.grammar.depth}`);
    if (++this.items > ITEMS_MAX) this.fail(at, `more than ${ITEMS_MAX} items`);
    const initial = this.reader.u8(this.field);
    const major = initial >>> 5;
    if (major === 7) this.fail(at, "simple values and floats are not used");
    const value = this.argument(initial & 0x1f, at);
    switch (major) {
      case 0:
        return { at, kind: "uint", value };
      case 1:
        return { at, kind: "negative", value: -1n - value };
      case 2: {
        const bodyAt = this.reader.offset;
        return { at, kind: "bytes", bodyAt, value: this.reader.take(this.length(value, at), this.field) };
      }
      case 3:
        return { at, kind: "text", value: this.text(value, at) };
      case 4:
        return { at, kind: "array", value: this.array(value, at, depth) };
      case 5:
        return { at, kind: "map", value: this.map(value, at, depth) };
      default:
        if (!this.grammar.tags.includes(value)) this.fail(at, `tag ${value} is not used`);
        return { at, kind: "tag", tag: value, value: this.item(depth + 1) };
    }
  }

  /** The number behind the initial byte, refused if it could have been written shorter. */
  private argument(info: number, at: number): bigint {
    if (info < 24) return BigInt(info);
    if (info > 27) this.fail(at, "indefinite or reserved length");
    let value = 0n;
    for (let left = 1 << (info - 24); left > 0; left--) value = (value << 8n) | BigInt(this.reader.u8(this.field));
    const least = [24n, 1n << 8n, 1n << 16n, 1n << 32n][info - 24] ?? 0n;
    if (value < least) this.fail(at, "number not in its shortest form");
    return value;
  }

  /** A length that the rest of the input could hold. */
  private length(value: bigint, at: number): number {
    if (value > BigInt(this.reader.left)) this.fail(at, `${value} announced, ${this.reader.left} bytes left`);
    return Number(value);
  }

  private text(value: bigint, at: number): string {
    const bytes = this.reader.take(this.length(value, at), this.field);
    try {
      // A byte order mark must stay visible: text is compared as it stands.
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return this.fail(at, "text is not UTF-8");
    }
  }

  private array(value: bigint, at: number, depth: number): Item[] {
    const items: Item[] = [];
    for (let left = this.length(value, at); left > 0; left--) items.push(this.item(depth + 1));
    return items;
  }

  private map(value: bigint, at: number, depth: number): Map<number, Item> {
    const map = new Map<number, Item>();
    let last = -1n;
    for (let left = this.length(value, at); left > 0; left--) {
      const key = this.reader.offset;
      const initial = this.reader.u8(this.field);
      if (initial >>> 5 !== 0) this.fail(key, "map key is not an unsigned number");
      const number = this.argument(initial & 0x1f, key);
      if (number <= last) this.fail(key, `map key ${number} repeated or out of order`);
      last = number;
      // Keys above 2^32 collapse into one number, but there is no such key: whatever holds one is refused by name.
      map.set(Number(number > 0xffff_ffffn ? 0xffff_ffffn : number), this.item(depth + 1));
    }
    return map;
  }

  private fail(at: number, what: string): never {
    throw new FormatError(this.field, at, what);
  }
}

/** Takes the members of a map by key; `end` refuses those nobody asked for. */
export class Members {
  private readonly seen = new Set<number>();

  constructor(
    private readonly map: ReadonlyMap<number, Item>,
    private readonly at: number,
    private readonly path: string,
  ) {}

  static of(item: Item, path: string): Members {
    if (item.kind !== "map") throw new FormatError(path, item.at, "not a map");
    return new Members(item.value, item.at, path);
  }

  private name(field: string): string {
    return this.path === "" ? field : `${this.path}.${field}`;
  }

  private item(key: number): Item | undefined {
    this.seen.add(key);
    return this.map.get(key);
  }

  has(key: number): boolean {
    return this.map.has(key);
  }

  member(key: number, field: string): Item {
    const item = this.item(key);
    if (item === undefined) throw new FormatError(this.name(field), this.at, "missing");
    return item;
  }

  bytes(key: number, field: string, length?: number): Bytes {
    const item = this.member(key, field);
    return asBytes(item, this.name(field), length);
  }

  bytesOrNone(key: number, field: string, length?: number): Bytes | undefined {
    return this.map.has(key) ? this.bytes(key, field, length) : undefined;
  }

  uint(key: number, field: string): bigint {
    const item = this.member(key, field);
    if (item.kind !== "uint") throw new FormatError(this.name(field), item.at, "not an unsigned number");
    return item.value;
  }

  /** Member maps. */
  members(key: number, field: string): Members {
    return Members.of(this.member(key, field), this.name(field));
  }

  /** A list that is left out when it is empty. */
  list(key: number, field: string, most: number): readonly Bytes[] {
    if (!this.map.has(key)) return [];
    const item = this.member(key, field);
    const name = this.name(field);
    const items = asArray(item, name, most);
    if (items.length === 0) throw new FormatError(name, item.at, "an empty list is left out");
    return items.map((entry, index) => asBytes(entry, `${name}[${index}]`));
  }

  end(): void {
    for (const [key, item] of this.map) {
      if (!this.seen.has(key)) throw new FormatError(this.path || "evidence", item.at, `unknown key ${key}`);
    }
  }
}

export function asBytes(item: Item, name: string, length?: number): Bytes {
  if (item.kind !== "bytes") throw new FormatError(name, item.at, "not a byte string");
  if (length !== undefined && item.value.length !== length) {
    throw new FormatError(name, item.at, `${item.value.length} bytes instead of ${length}`);
  }
  return item.value;
}

export function asArray(item: Item, name: string, most: number): readonly Item[] {
  if (item.kind !== "array") throw new FormatError(name, item.at, "not a list");
  if (item.value.length > most) throw new FormatError(name, item.at, `more than ${most} entries`);
  return item.value;
}
