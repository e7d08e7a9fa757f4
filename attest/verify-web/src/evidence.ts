// What an evidence file holds (FORMAT.md, section 1).  Decoding judges the encoding only; whether anything in it is
// true is for the checks.

import { FormatError, type Bytes } from "./bytes.js";
import { asArray, asBytes, decodeCbor, Members, type Item } from "./cbor.js";

const PROFILE = "scalerforge/evidence/v1";
/** Of files whose statement names the host's key, and of no others. */
const PROFILE_1_1 = "scalerforge/evidence/v1.1";
export const FILE_BYTES_MAX = 4 * 1024 * 1024;
const STATEMENT_BYTES_MAX = 4096;
const LIST_MAX = 64;

export interface PcrClaim {
  readonly bank: bigint;
  readonly index: bigint;
  readonly digest: Bytes;
}

/** A board maker's initial attestation key, and its word on the attestation key. */
export interface Iak {
  readonly certificates: readonly Bytes[];
  readonly public: Bytes;
  readonly attest: Bytes;
  readonly signature: Bytes;
}

export interface Evidence {
  readonly file: Bytes;
  readonly nodeId: Bytes;
  readonly akPublic: Bytes;
  readonly attest: Bytes;
  readonly signature: Bytes;
  readonly pcrs: readonly PcrClaim[];
  readonly ekCertificates: readonly Bytes[];
  readonly ekPublic: Bytes;
  readonly intermediates: readonly Bytes[];
  readonly bindings: readonly Bytes[];
  readonly iak: Iak | undefined;
  readonly uefiLog: Bytes;
  readonly statementBytes: Bytes;
  readonly statement: Statement;
  readonly inventory: Bytes | undefined;
  readonly burnIn: Bytes | undefined;
  readonly manifest: Bytes | undefined;
  readonly previous: Bytes | undefined;
}

export type Nonce =
  | { readonly kind: "verifier"; readonly random: Bytes }
  | {
      readonly kind: "block";
      readonly chainId: bigint;
      readonly number: bigint;
      readonly hash: Bytes;
      readonly node: Bytes;
      readonly sequence: bigint;
    };

export interface Target {
  readonly chainId: bigint;
  readonly registry: Bytes;
  readonly operator: Bytes;
}

export interface Statement {
  readonly purpose: "admission" | "registration";
  readonly nonce: Nonce;
  readonly nodeId: Bytes;
  readonly target: Target | undefined;
  readonly akName: Bytes;
  readonly unitRoot: Bytes | undefined;
  readonly inventory: Bytes | undefined;
  readonly burnIn: Bytes | undefined;
  readonly uefiLog: Bytes;
  readonly previous: Bytes | undefined;
  readonly sequence: bigint;
  readonly manifest: Bytes | undefined;
  readonly hostKey: Bytes | undefined;
}

/** Decodes a whole file, or throws a `FormatError`. */
export function decodeEvidence(file: Bytes): Evidence {
  if (file.length > FILE_BYTES_MAX) {
    throw new FormatError("evidence", FILE_BYTES_MAX, `${file.length} bytes; at most ${FILE_BYTES_MAX} are read`);
  }
  const top = Members.of(decodeCbor(file, "evidence"), "");
  const profile = top.member(1, "profile");
  if (profile.kind !== "text" || (profile.value !== PROFILE && profile.value !== PROFILE_1_1)) {
    throw new FormatError("profile", profile.at, `not "${PROFILE}" or "${PROFILE_1_1}"`);
  }
  const nodeId = top.bytes(2, "node-id", 32);
  const tpm = top.members(3, "tpm");
  const endorsements = top.members(4, "endorsements");
  const logs = top.members(5, "logs");
  const statementItem = top.member(6, "statement");
  const statementBytes = asBytes(statementItem, "statement");
  const attachments = top.members(7, "attachments");
  const evidence: Evidence = {
    file,
    nodeId,
    akPublic: tpm.bytes(1, "ak-public"),
    attest: tpm.bytes(2, "attest"),
    signature: tpm.bytes(3, "signature"),
    pcrs: asArray(tpm.member(4, "pcrs"), "tpm.pcrs", LIST_MAX).map(pcrClaim),
    ekCertificates: endorsements.list(1, "ek-certificates", LIST_MAX),
    ekPublic: endorsements.bytes(2, "ek-public"),
    intermediates: endorsements.list(3, "intermediates", LIST_MAX),
    bindings: endorsements.list(4, "bindings", LIST_MAX),
    iak: endorsements.has(5) ? decodeIak(endorsements.members(5, "iak")) : undefined,
    uefiLog: logs.bytes(1, "uefi"),
    statementBytes,
    statement: decodeStatement(statementBytes, statementItem.kind === "bytes" ? statementItem.bodyAt : 0),
    inventory: attachments.bytesOrNone(1, "inventory"),
    burnIn: attachments.bytesOrNone(2, "burn-in"),
    manifest: attachments.bytesOrNone(3, "manifest"),
    previous: top.bytesOrNone(9, "previous", 32),
  };
  for (const members of [top, tpm, endorsements, logs, attachments]) members.end();
  const wanted = evidence.statement.hostKey === undefined ? PROFILE : PROFILE_1_1;
  if (profile.value !== wanted) {
    throw new FormatError("profile", profile.at, `a file with this statement is "${wanted}"`);
  }
  return evidence;
}

function decodeIak(members: Members): Iak {
  // Asked for by name, unlike other lists: without a certificate the key is nobody's.
  members.member(1, "certificates");
  const iak = {
    certificates: members.list(1, "certificates", LIST_MAX),
    public: members.bytes(2, "public"),
    attest: members.bytes(3, "attest"),
    signature: members.bytes(4, "signature"),
  };
  members.end();
  return iak;
}

function pcrClaim(item: Item, index: number): PcrClaim {
  const name = `tpm.pcrs[${index}]`;
  const [bank, pcr, digest, ...rest] = asArray(item, name, 3);
  if (bank?.kind !== "uint" || pcr?.kind !== "uint" || digest === undefined || rest.length > 0) {
    throw new FormatError(name, item.at, "not [bank, index, digest]");
  }
  if (bank.value > 0xffffn) throw new FormatError(name, bank.at, "bank is not a TPM_ALG_ID");
  if (pcr.value > 0xffn) throw new FormatError(name, pcr.at, "index is above 255");
  return { bank: bank.value, index: pcr.value, digest: asBytes(digest, name) };
}

/** Decodes a statement that begins at byte `base` of its file. */
export function decodeStatement(bytes: Bytes, base: number): Statement {
  if (bytes.length > STATEMENT_BYTES_MAX) {
    throw new FormatError("statement", base, `${bytes.length} bytes; at most ${STATEMENT_BYTES_MAX} are read`);
  }
  const item = decodeCbor(bytes, "statement", base);
  const members = Members.of(item, "statement");
  const purpose = members.uint(1, "purpose");
  if (purpose !== 1n && purpose !== 2n) throw new FormatError("statement.purpose", base, `${purpose} is unknown`);
  const statement: Statement = {
    purpose: purpose === 1n ? "admission" : "registration",
    nonce: decodeNonce(members.members(2, "nonce"), members.member(2, "nonce").at),
    nodeId: members.bytes(3, "node-id", 32),
    target: members.has(4) ? decodeTarget(members.members(4, "target")) : undefined,
    akName: members.bytes(5, "ak-name"),
    unitRoot: members.bytesOrNone(6, "unit-root", 32),
    inventory: members.bytesOrNone(7, "inventory", 32),
    burnIn: members.bytesOrNone(8, "burn-in", 32),
    uefiLog: members.bytes(9, "uefi", 32),
    previous: members.bytesOrNone(10, "previous", 32),
    sequence: members.uint(11, "sequence"),
    manifest: members.bytesOrNone(12, "manifest", 32),
    hostKey: members.bytesOrNone(13, "host-key", 20),
  };
  members.end();
  for (const field of ["target", "unitRoot", "manifest"] as const) {
    const present = statement[field] !== undefined;
    if (present !== (statement.purpose === "registration")) {
      const name = field === "unitRoot" ? "unit-root" : field;
      throw new FormatError(`statement.${name}`, base, present ? "not part of an admission" : "missing");
    }
  }
  return statement;
}

function decodeTarget(members: Members): Target {
  const target = {
    chainId: members.uint(1, "chain-id"),
    registry: members.bytes(2, "registry", 20),
    operator: members.bytes(3, "operator", 20),
  };
  members.end();
  return target;
}

function decodeNonce(members: Members, at: number): Nonce {
  const kind = members.uint(1, "kind");
  let nonce: Nonce;
  if (kind === 1n) {
    nonce = { kind: "verifier", random: members.bytes(2, "random", 32) };
  } else if (kind === 2n) {
    nonce = {
      kind: "block",
      chainId: members.uint(3, "chain-id"),
      number: members.uint(4, "number"),
      hash: members.bytes(5, "hash", 32),
      node: members.bytes(6, "node-id", 32),
      sequence: members.uint(7, "sequence"),
    };
  } else {
    throw new FormatError("statement.nonce.kind", at, `${kind} is unknown`);
  }
  members.end();
  return nonce;
}
