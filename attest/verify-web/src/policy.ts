// What a reader of evidence believes and asks for.

import { FormatError, fromHex, type Bytes } from "./bytes.js";
import type { Roots } from "./chain.js";
import type { Crl } from "./crl.js";
import type { Header } from "./header.js";
import { parseJson, type Json } from "./json.js";

export interface Policy {
  readonly roots: Roots;
  /** Board makers' CAs, every one of them believed. */
  readonly boards: Roots;
  /** Revocation lists: dated snapshots. */
  readonly crls: readonly Crl[];
  readonly deniedFirmware: readonly DeniedFirmware[];
  readonly references: readonly Reference[];
  readonly allowSoftwareTpm: boolean;
  /** P-256 public keys, x ‖ y. */
  readonly challengers: readonly Bytes[];
  /** How many different challengers must have bound the key. */
  readonly k: number;
  /** The nonce that was asked for: its bytes (a random nonce, or a block's hash). */
  readonly nonce: ExpectedNonce | undefined;
  readonly lastSeen: LastSeen | undefined;
  /** Block headers of the chain; with any, a block nonce must be the hash of one. */
  readonly headers: readonly Header[];
  /** A publication of this evidence, as its file stands. */
  readonly publication?: Bytes | undefined;
  /** Hash of the block that it must be of. */
  readonly publishedBlock?: Bytes | undefined;
}

/** Versions of a maker's firmware that are not believed, both ends included. */
export interface DeniedFirmware {
  readonly manufacturer: string;
  readonly from: bigint;
  readonly to: bigint;
  readonly why: string;
}

/** Either the 32 bytes that nonce must carry, or the whole nonce object in CBOR. */
export type ExpectedNonce = { readonly word: Bytes } | { readonly cbor: Bytes };

/** What is kept of a node's accepted evidence, to judge the next by. */
export interface LastSeen {
  readonly evidence: Bytes;
  readonly sequence: bigint;
  readonly akName: Bytes;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clock: bigint;
  readonly firmware: bigint;
  readonly pcrs: ReadonlyMap<number, Bytes>;
}

/** Reference values of an image (FORMAT.md, section 7). */
export interface Reference {
  readonly name: string;
  readonly pcrs: ReadonlyMap<number, readonly string[]>;
}

/** Objects and lists inside each other in a reference file. */
const REFERENCE_DEPTH = 6;
const REFERENCE_BYTES_MAX = 256 * 1024;

export function parseReference(bytes: Bytes, field = "reference"): Reference {
  if (bytes.length > REFERENCE_BYTES_MAX) throw new FormatError(field, REFERENCE_BYTES_MAX, `${bytes.length} bytes`);
  const top = objectOf(parseJson(bytes, field, REFERENCE_DEPTH), ["name", "uki_sha256", "bank", "pcrs"], field);
  const name = textOf(top.get("name"), `${field}.name`);
  digestOf(top.get("uki_sha256"), `${field}.uki_sha256`);
  if (textOf(top.get("bank"), `${field}.bank`) !== "sha256") throw new FormatError(`${field}.bank`, 0, "not sha256");
  const pcrs = new Map<number, string[]>();
  for (const entry of itemsOf(top.get("pcrs"), `${field}.pcrs`)) {
    const members = objectOf(entry, ["pcr", "accepted"], `${field}.pcrs`);
    const pcr = members.get("pcr");
    const index = pcr?.kind === "number" && /^[0-9]+$/.test(pcr.text) ? Number(pcr.text) : -1;
    if (index < 0 || index > 23 || pcrs.has(index)) throw new FormatError(`${field}.pcrs.pcr`, entry.from, "no PCR, or twice");
    const accepted = itemsOf(members.get("accepted"), `${field}.pcrs.accepted`).map((value) => {
      const parts = objectOf(value, ["value", "holds_for"], `${field}.pcrs.accepted`);
      textOf(parts.get("holds_for"), `${field}.pcrs.accepted.holds_for`);
      return digestOf(parts.get("value"), `${field}.pcrs.accepted.value`);
    });
    if (accepted.length === 0) throw new FormatError(`${field}.pcrs.accepted`, entry.from, "empty");
    pcrs.set(index, accepted);
  }
  return { name, pcrs };
}

/** Deny lists of firmware: a JSON list of `{ manufacturer, from, to, why }`, versions of 16 hex digits, both inclusive. */
export function parseDeniedFirmware(bytes: Bytes, field = "denied-firmware"): DeniedFirmware[] {
  if (bytes.length > REFERENCE_BYTES_MAX) throw new FormatError(field, REFERENCE_BYTES_MAX, `${bytes.length} bytes`);
  return itemsOf(parseJson(bytes, field, 4), field).map((entry) => {
    const parts = objectOf(entry, ["manufacturer", "from", "to", "why"], field);
    const version = (name: string): bigint => {
      const text = textOf(parts.get(name), `${field}.${name}`);
      if (!/^[0-9a-fA-F]{16}$/.test(text)) throw new FormatError(`${field}.${name}`, entry.from, "not 16 hex digits");
      return BigInt(`0x${text}`);
    };
    const word = (name: string): string => textOf(parts.get(name), `${field}.${name}`);
    return { manufacturer: word("manufacturer"), from: version("from"), to: version("to"), why: word("why") };
  });
}

/** An object with exactly these members. */
function objectOf(json: Json, names: readonly string[], field: string): ReadonlyMap<string, Json> {
  if (json.kind !== "object") throw new FormatError(field, json.from, "not an object");
  for (const name of json.members.keys()) {
    if (!names.includes(name)) throw new FormatError(field, json.from, `unknown member "${name}"`);
  }
  for (const name of names) {
    if (!json.members.has(name)) throw new FormatError(field, json.from, `member "${name}" is missing`);
  }
  return json.members;
}

function itemsOf(json: Json | undefined, field: string): readonly Json[] {
  if (json?.kind !== "array") throw new FormatError(field, json?.from ?? 0, "not a list");
  return json.items;
}

function textOf(json: Json | undefined, field: string): string {
  if (json?.kind !== "string") throw new FormatError(field, json?.from ?? 0, "not text");
  return json.value;
}

function digestOf(json: Json | undefined, field: string): string {
  const text = textOf(json, field);
  if (fromHex(text)?.length !== 32) throw new FormatError(field, json?.from ?? 0, "not 64 hex digits");
  return text.toLowerCase();
}
