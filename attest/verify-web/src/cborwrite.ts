// The one deterministic encoding of what is compared or was signed as CBOR.

import { concat, utf8, type Bytes } from "./bytes.js";

function head(major: number, value: number | bigint): Bytes {
  const number = BigInt(value);
  if (number < 24n) return Uint8Array.of((major << 5) | Number(number));
  const power = number < 0x100n ? 0 : number < 0x1_0000n ? 1 : number < 0x1_0000_0000n ? 2 : 3;
  const out = new Uint8Array(1 + (1 << power));
  out[0] = (major << 5) | (24 + power);
  for (let at = out.length - 1, left = number; at > 0; at--, left >>= 8n) out[at] = Number(left & 0xffn);
  return out;
}

export const uintCbor = (value: number | bigint): Bytes => head(0, value);
export const negativeCbor = (value: number): Bytes => head(1, -1 - value);
export const bytesCbor = (value: Bytes): Bytes => concat(head(2, value.length), value);
export const arrayCbor = (...items: readonly Bytes[]): Bytes => concat(head(4, items.length), ...items);
export const tagCbor = (tag: number, item: Bytes): Bytes => concat(head(6, tag), item);

export function textCbor(value: string): Bytes {
  const bytes = utf8(value);
  return concat(head(3, bytes.length), bytes);
}

/** Keys have to come in ascending order; those without a value are left out. */
export function mapCbor(...members: readonly (readonly [number, Bytes | undefined])[]): Bytes {
  const present = members.filter((member): member is readonly [number, Bytes] => member[1] !== undefined);
  return concat(head(5, present.length), ...present.flatMap(([key, value]) => [uintCbor(key), value]));
}

/** What COSE_Sign1 signs (RFC 9052, 4.4), without external data. */
export function sigStructure(protectedHeader: Bytes, payload: Bytes): Bytes {
  return arrayCbor(textCbor("Signature1"), bytesCbor(protectedHeader), bytesCbor(new Uint8Array()), bytesCbor(payload));
}
