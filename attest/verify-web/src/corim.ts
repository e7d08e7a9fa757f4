// Reference values as CoRIM, signed or not (FORMAT.md, section 7).  A file is read, what it says is written again, and
// the bytes must be the same: whatever the reading left unjudged is judged by that.

import { equal, FormatError, toHex, type Bytes } from "./bytes.js";
import { asArray, asBytes, decodeCbor, Members, type Item } from "./cbor.js";
import { arrayCbor, bytesCbor, mapCbor, negativeCbor, sigStructure, tagCbor, textCbor, uintCbor } from "./cborwrite.js";
import { parseReference, type Reference } from "./policy.js";
import { verifyP256 } from "./quote.js";

/** A file with its signature, not yet verified. */
export interface SignedCorim {
  readonly reference: Corim;
  /** P-256 public key, x ‖ y, of the protected header. */
  readonly signer: Bytes;
  readonly signature: Bytes;
  /** The bytes that were signed. */
  readonly signed: Bytes;
}

export interface Corim extends Reference {
  readonly version: string;
  readonly uki: string;
  /** What each accepted value holds for, in their order. */
  readonly holdsFor: readonly string[];
}

export type CorimFile = { readonly corim: Corim; readonly signed?: SignedCorim };

const TAG_SIGN1 = 18n;
const TAG_CORIM = 501;
const TAG_COMID = 506;
const TAGS = [TAG_SIGN1, BigInt(TAG_CORIM), BigInt(TAG_COMID)];
const DEPTH_MAX = 10;
const FILE_BYTES_MAX = 64 * 1024;
const TEXT_BYTES_MAX = 256;
const ENTRIES_MAX = 16_384;
const PCR_MAX = 23n;
/** SHA-256 in the registry of named information, by which CoRIM writes digests. */
const NI_SHA256 = 1;
const ES256 = -7;

/** Reads a file of either form; a signature is not verified here. */
export function parseCorim(bytes: Bytes, field = "corim"): CorimFile {
  if (bytes.length > FILE_BYTES_MAX) throw new FormatError(field, FILE_BYTES_MAX, `${bytes.length} bytes`);
  const item = decodeCbor(bytes, field, 0, { depth: DEPTH_MAX, tags: TAGS });
  if (item.kind !== "tag" || item.tag !== TAG_SIGN1) return { corim: unsigned(bytes, field) };
  const [header, , payload, signature] = asArray(item.value, field, 4);
  if (!header || !payload || !signature) throw new FormatError(field, item.at, "not a COSE_Sign1");
  const protectedHeader = asBytes(header, `${field}.protected`);
  const signer = Members.of(decodeCbor(protectedHeader, `${field}.protected`), `${field}.protected`).bytes(4, "kid", 64);
  const body = asBytes(payload, `${field}.payload`);
  const file = { signer, signature: asBytes(signature, `${field}.signature`, 64) };
  const again = tagCbor(Number(TAG_SIGN1), arrayCbor(bytesCbor(headerOf(signer)), mapCbor(), bytesCbor(body), bytesCbor(file.signature)));
  if (!equal(again, bytes)) throw new FormatError(field, item.at, "not the envelope of a signed CoRIM of this project");
  const corim = unsigned(body, field);
  return { corim, signed: { ...file, reference: corim, signed: sigStructure(protectedHeader, body) } };
}

/** Reference values of any form.  Whoever names signers believes nothing that is not signed by one of them. */
export async function readReference(subtle: SubtleCrypto, bytes: Bytes, signers: readonly Bytes[], field: string): Promise<Reference> {
  const first = bytes.find((byte) => ![0x20, 0x09, 0x0a, 0x0c, 0x0d].includes(byte));
  const unsignedIs = "nobody signed it, and only signed reference values are believed here";
  if (first === 0x7b) {
    const reference = parseReference(bytes, field);
    if (signers.length > 0) throw new FormatError(field, 0, unsignedIs);
    return reference;
  }
  const { corim, signed } = parseCorim(bytes, field);
  if (signed === undefined) {
    if (signers.length > 0) throw new FormatError(field, 0, unsignedIs);
    return corim;
  }
  if (!signers.some((one) => equal(one, signed.signer))) {
    throw new FormatError(field, 0, `signed by ${toHex(signed.signer)}, who is not believed here`);
  }
  if (!(await verifyP256(subtle, signed.signer, signed.signed, signed.signature))) {
    throw new FormatError(field, 0, "the signature does not hold: the file was altered");
  }
  return corim;
}

function unsigned(bytes: Bytes, field: string): Corim {
  const item = decodeCbor(bytes, field, 0, { depth: DEPTH_MAX, tags: TAGS });
  if (item.kind !== "tag" || item.tag !== BigInt(TAG_CORIM)) throw new FormatError(field, item.at, "not a CoRIM: tag 501, or tag 18 if signed");
  const members = Members.of(item.value, field);
  const name = lineOf(members.member(0, "id"), `${field}.id`);
  const [tag] = asArray(members.member(1, "tags"), `${field}.tags`, 1);
  if (tag?.kind !== "tag" || tag.tag !== BigInt(TAG_COMID)) throw new FormatError(`${field}.tags`, item.at, "not one CoMID");
  const corim = comid(name, asBytes(tag.value, `${field}.comid`), `${field}.comid`);
  if (!equal(written(corim), bytes)) throw new FormatError(field, 0, "not in the form in which the image build writes this content");
  return corim;
}

/** Only what is needed to write it again is judged. */
function comid(name: string, bytes: Bytes, field: string): Corim {
  const document = Members.of(decodeCbor(bytes, field, 0, { depth: DEPTH_MAX, tags: TAGS }), field);
  const triples = document.members(4, "triples").member(0, "reference-triples");
  let image: { version: string; uki: string } | undefined;
  const pcrs = new Map<number, string[]>();
  const holdsFor: string[] = [];
  let last = -1;
  for (const triple of asArray(triples, `${field}.reference-triples`, ENTRIES_MAX)) {
    const [, claims] = asArray(triple, field, 2);
    const [claim] = claims ? asArray(claims, field, 1) : [];
    if (claim === undefined) throw new FormatError(field, triple.at, "not an environment and one measurement");
    const measurement = Members.of(claim, `${field}.measurement`);
    const element = measurement.member(0, "mkey");
    const values = measurement.members(1, "mval");
    const value = digestOf(values.member(2, "digests"), `${field}.digests`);
    if (element.kind === "text" && element.value === "uki") {
      image = { version: lineOf(values.members(0, "version").member(0, "version"), `${field}.version`), uki: value };
      continue;
    }
    if (element.kind !== "uint" || element.value > PCR_MAX) throw new FormatError(`${field}.mkey`, element.at, "neither uki nor a PCR");
    const pcr = Number(element.value);
    if (pcr < last) throw new FormatError(field, triple.at, "PCRs do not ascend");
    last = pcr;
    holdsFor.push(lineOf(values.member(11, "name"), `${field}.name`));
    pcrs.set(pcr, [...(pcrs.get(pcr) ?? []), value]);
  }
  if (image === undefined) throw new FormatError(field, 0, "the image itself is missing");
  return { name, ...image, pcrs, holdsFor };
}

function digestOf(item: Item, field: string): string {
  const [one] = asArray(item, field, 1);
  const [algorithm, value] = one ? asArray(one, field, 2) : [];
  if (algorithm?.kind !== "uint" || algorithm.value !== BigInt(NI_SHA256) || !value) throw new FormatError(field, item.at, "not one SHA-256 digest");
  return toHex(asBytes(value, field, 32));
}

/** A line of text as it is shown to people. */
function lineOf(item: Item, field: string): string {
  const length = item.kind === "text" ? new TextEncoder().encode(item.value).length : 0;
  if (item.kind !== "text" || length === 0 || length > TEXT_BYTES_MAX || /\p{Cc}/u.test(item.value)) {
    throw new FormatError(field, item.at, `not 1 to ${TEXT_BYTES_MAX} bytes of text in one line`);
  }
  return item.value;
}

/** The file that says this. */
function written(corim: Corim): Bytes {
  const name = textCbor(corim.name);
  const environment = mapCbor([0, mapCbor([1, textCbor("scalerforge")], [2, name])]);
  const triple = (element: Bytes, version: string | undefined, value: string, holds: string | undefined): Bytes => {
    const values = mapCbor(
      [0, version === undefined ? undefined : mapCbor([0, textCbor(version)])],
      [2, arrayCbor(arrayCbor(uintCbor(NI_SHA256), bytesCbor(hexBytes(value))))],
      [11, holds === undefined ? undefined : textCbor(holds)],
    );
    return arrayCbor(environment, arrayCbor(mapCbor([0, element], [1, values])));
  };
  let at = 0;
  const triples = [triple(textCbor("uki"), corim.version, corim.uki, undefined)];
  for (const [pcr, accepted] of corim.pcrs) {
    for (const value of accepted) triples.push(triple(uintCbor(pcr), undefined, value, corim.holdsFor[at++]));
  }
  const inner = mapCbor([1, mapCbor([0, name])], [4, mapCbor([0, arrayCbor(...triples)])]);
  return tagCbor(TAG_CORIM, mapCbor([0, name], [1, arrayCbor(tagCbor(TAG_COMID, bytesCbor(inner)))]));
}

function hexBytes(digits: string): Bytes {
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function headerOf(signer: Bytes): Bytes {
  const meta = mapCbor([0, mapCbor([0, textCbor("scalerforge image build")])]);
  return mapCbor([1, negativeCbor(ES256)], [3, textCbor("application/rim+cbor")], [4, bytesCbor(signer)], [8, bytesCbor(meta)]);
}
