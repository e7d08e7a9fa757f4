// Byte strings and the bounded reader that every parser here is built on.  Nothing in this folder reads input except
// through `Reader`, so a length from the input can never reach beyond the input.

/** Why bytes are not what they should be: which field, where, and what is wrong.  The only error parsers throw. */
export class FormatError extends Error {
  constructor(
    readonly field: string,
    readonly offset: number,
    readonly what: string,
  ) {
    super(`${field} at byte ${offset}: ${what}`);
    this.name = "FormatError";
  }
}

export type Bytes = Uint8Array<ArrayBuffer>;

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** Bytes of an even number of hex digits, or nothing. */
export function fromHex(text: string): Bytes | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

export function u16be(value: number): Bytes {
  return Uint8Array.of(value >>> 8, value & 0xff);
}

export function u256be(value: bigint): Bytes {
  return fromHex(value.toString(16).padStart(64, "0")) ?? new Uint8Array(32);
}

/** An unsigned big-endian number in exactly `length` bytes: leading zeros added or taken away; nothing if it is larger. */
export function fitted(bytes: Uint8Array, length: number): Bytes | undefined {
  let start = 0;
  while (start < bytes.length && bytes[start] === 0) start++;
  const digits = bytes.subarray(start);
  if (digits.length > length) return undefined;
  const out = new Uint8Array(length);
  out.set(digits, length - digits.length);
  return out;
}

/** Reads a byte string from front to back.  `base` is where it begins in its document, for messages. */
export class Reader {
  private at = 0;

  constructor(
    private readonly bytes: Bytes,
    private readonly base = 0,
  ) {}

  get offset(): number {
    return this.base + this.at;
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  fail(field: string, what: string): never {
    throw new FormatError(field, this.offset, what);
  }

  take(length: number, field: string): Bytes {
    if (length > this.left) this.fail(field, `${length} bytes announced, ${this.left} left`);
    const part = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return part;
  }

  u8(field: string): number {
    return this.take(1, field)[0] ?? 0;
  }

  private number(length: number, littleEndian: boolean, field: string): number {
    const part = this.take(length, field);
    let value = 0;
    for (let i = 0; i < length; i++) value = value * 256 + (part[littleEndian ? length - 1 - i : i] ?? 0);
    return value;
  }

  u16(field: string): number {
    return this.number(2, false, field);
  }

  u32(field: string): number {
    return this.number(4, false, field);
  }

  u64(field: string): bigint {
    return (BigInt(this.u32(field)) << 32n) | BigInt(this.u32(field));
  }

  u16le(field: string): number {
    return this.number(2, true, field);
  }

  u32le(field: string): number {
    return this.number(4, true, field);
  }

  u64le(field: string): bigint {
    return BigInt(this.u32le(field)) | (BigInt(this.u32le(field)) << 32n);
  }

  /** A TPM2B: two bytes of length, then as many bytes. */
  sized(field: string): Bytes {
    return this.take(this.u16(field), field);
  }

  end(field: string): void {
    if (this.left !== 0) this.fail(field, `${this.left} bytes too many`);
  }
}
