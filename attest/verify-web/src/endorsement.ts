// Whose TPM this is: the endorsement key, its maker's certificate, and the node's name that follows from both.

import { concat, equal, fitted, FormatError, isZero, toHex, u16be, utf8, type Bytes } from "./bytes.js";
import { chainToRoot, makers } from "./chain.js";
import type { Evidence } from "./evidence.js";
import type { Policy } from "./policy.js";
import { failOn, hex32 } from "./quote.js";
import { ALG, ATTRIBUTE, decodePublic, digest, tpmName, type PublicArea, type Unique } from "./tpm.js";
import type { Checks, Facts } from "./verdict.js";
import { EXTENSION, KNOWN_CRITICAL, parseCertificate, showName, type Certificate } from "./x509.js";

export interface Endorsed {
  /** SHA-256 of the endorsement certificate, if a believed maker issued it. */
  readonly certificateHash: Bytes | undefined;
  /** Nothing where no believed maker vouches for the TPM. */
  readonly software: boolean | undefined;
}

const OID_EK = "2.23.133.8.1";
const OID_MANUFACTURER = "2.23.133.2.1";
const OID_MODEL = "2.23.133.2.2";
const OID_VERSION = "2.23.133.2.3";

/** Simulators: swtpm, IBM's and Microsoft's, by the manufacturer in their certificates. */
const SOFTWARE = new Set(["ID:00001014", "ID:49424D00", "ID:49424D20", "ID:53572020"]);

/** The manufacturer as TCG wants it written; without one nobody says that this is hardware. */
function manufacturerOf(certificate: Certificate): string | undefined {
  const manufacturer = certificate.altNames.get(OID_MANUFACTURER);
  return manufacturer !== undefined && /^id:/i.test(manufacturer) ? manufacturer : undefined;
}

function isSoftware(certificate: Certificate): boolean {
  const manufacturer = manufacturerOf(certificate);
  const model = certificate.altNames.get(OID_MODEL) ?? "";
  return manufacturer === undefined || SOFTWARE.has(manufacturer.toUpperCase()) || /^swtpm/i.test(model);
}

const KEY_ENCIPHERMENT = 2;
const KEY_AGREEMENT = 4;

export async function checkEndorsement(
  subtle: SubtleCrypto,
  evidence: Evidence,
  policy: Policy,
  now: number,
  firmware: bigint | undefined,
  facts: Facts,
  checks: Checks,
): Promise<Endorsed | undefined> {
  const ek = checkEkPublic(evidence, checks);
  if (ek === undefined) return undefined;
  const certificate = checkCertificate(evidence, ek, now, checks);
  let certificateHash: Bytes | undefined;
  let software: boolean | undefined;
  if (certificate !== undefined) {
    const hash = await digest(subtle, "SHA-256", certificate.der);
    const named = manufacturerOf(certificate) !== undefined;
    const maker = [OID_MANUFACTURER, OID_MODEL, OID_VERSION].map((oid, at) => (named ? (certificate.altNames.get(oid) ?? "") : at === 0 ? "unnamed" : "")).join(" ");
    if (await checkChain(subtle, evidence, certificate, { hash: toHex(hash), maker }, policy, now, checks)) {
      // Only a certificate that a believed maker issued says anything, here and in binding statements.
      certificateHash = hash;
      facts.ek_certificate = toHex(hash);
      facts.tpm = maker;
      software = isSoftware(certificate);
      checks.add("hardware-tpm", !software || policy.allowSoftwareTpm, named ? (software ? "software TPM" : "TPM of a maker") : "no manufacturer",
        policy.allowSoftwareTpm ? "any" : "TPM of a maker",
        named ? "a TPM made of software proves nothing" : "the certificate names no manufacturer: nobody says that this is hardware");
      checkFirmware(certificate, firmware, policy, checks);
    }
  }
  const name = await tpmName(subtle, ek.nameAlg, evidence.ekPublic);
  const nodeId = name && (await digest(subtle, "SHA-256", utf8("scalerforge/node/v1\0"), name));
  if (name !== undefined && nodeId !== undefined) {
    facts.ek_name = toHex(name);
    const right = equal(evidence.nodeId, nodeId) && equal(evidence.statement.nodeId, nodeId);
    const measured = equal(evidence.nodeId, nodeId) ? evidence.statement.nodeId : evidence.nodeId;
    checks.add("node-id", right, toHex(measured), toHex(nodeId), "this is the id of another endorsement key");
  }
  return { certificateHash, software };
}

/** The firmware version that the TPM signed, against what policy denies. */
function checkFirmware(certificate: Certificate, firmware: bigint | undefined, policy: Policy, checks: Checks): void {
  if (policy.deniedFirmware.length === 0 || firmware === undefined) return;
  const maker = manufacturerOf(certificate) ?? "unnamed";
  const same = (other: string): boolean => other.toLowerCase() === maker.toLowerCase();
  const denied = policy.deniedFirmware.find((one) => same(one.manufacturer) && one.from <= firmware && firmware <= one.to);
  const measured = `${maker} 0x${firmware.toString(16).padStart(16, "0")}`;
  checks.add("tpm-firmware", denied === undefined, measured, "not denied", `this firmware is not believed: ${denied?.why ?? ""}`);
}

function checkEkPublic(evidence: Evidence, checks: Checks): PublicArea | undefined {
  let ek: PublicArea;
  try {
    ek = decodePublic(evidence.ekPublic, "ek-public");
  } catch (error) {
    failOn(error, "ek-public", checks);
    return undefined;
  }
  const must = ATTRIBUTE.fixedTpm | ATTRIBUTE.fixedParent | ATTRIBUTE.restricted | ATTRIBUTE.decrypt;
  const right = (ek.attributes & must) === must && (ek.attributes & ATTRIBUTE.sign) === 0 && ek.scheme.alg === ALG.null;
  checks.add("ek-attributes", right, hex32(ek.attributes), "fixedTPM, fixedParent, restricted, decrypt, not sign",
    "this is no endorsement key");
  return ek;
}

/** The certificate of this key that says everything it must; failing that, what is wrong with the nearest. */
function checkCertificate(evidence: Evidence, ek: PublicArea, now: number, checks: Checks): Certificate | undefined {
  let wrong = evidence.ekCertificates.length === 0 ? "the file has no endorsement certificate" : "no certificate is for this key";
  for (const [index, der] of evidence.ekCertificates.entries()) {
    let certificate: Certificate;
    try {
      certificate = parseCertificate(der, `ek-certificates[${index}]`);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      wrong = error.message;
      continue;
    }
    if (!isForKey(certificate, ek.unique)) continue;
    // Only the first for this key counts: which one is meant must not depend on when it is read.
    const objection = objectionTo(certificate, now);
    if (objection === undefined) return certificate;
    wrong = `${showName(certificate.subject)} ${objection}`;
    break;
  }
  checks.fail("ek-certificate", "", wrong);
  return undefined;
}

export function isForKey(certificate: Certificate, unique: Unique): boolean {
  const { key } = certificate;
  if (unique.kind === "rsa") {
    const exponent = fitted(Uint8Array.of(...u16be(unique.exponent >>> 16), ...u16be(unique.exponent & 0xffff)), 8);
    const theirs = key.kind === "rsa" ? fitted(key.exponent, 8) : undefined;
    if (key.kind !== "rsa" || !exponent || !theirs || isZero(unique.modulus)) return false;
    return equal(key.modulus, unique.modulus) && equal(theirs, exponent);
  }
  return key.kind === "ecc" && key.curve === unique.curve && equal(key.point, concat(Uint8Array.of(4), unique.x, unique.y));
}

function objectionTo(certificate: Certificate, now: number): string | undefined {
  const read = [EXTENSION.basicConstraints, EXTENSION.extendedKeyUsage, EXTENSION.keyUsage];
  if (read.some((name) => certificate.unreadable.has(name))) return "has an extension that cannot be read";
  if (!certificate.extendedKeyUsage.includes(OID_EK)) return `lacks the extended key usage ${OID_EK}`;
  if (certificate.ca) return "is a CA";
  const { keyUsage } = certificate;
  if (keyUsage && keyUsage[KEY_ENCIPHERMENT] !== true && keyUsage[KEY_AGREEMENT] !== true) {
    return "has a key usage without keyEncipherment and keyAgreement";
  }
  const unknown = certificate.critical.find((name) => !KNOWN_CRITICAL.has(name));
  if (unknown !== undefined) return `has an unknown critical extension ${unknown}`;
  if (now < certificate.notBefore || now > certificate.notAfter) return "is not valid at this time";
  return undefined;
}

/** The chain, and that the file has no certificate beside it: what nobody judges has no place in it. */
async function checkChain(
  subtle: SubtleCrypto,
  evidence: Evidence,
  certificate: Certificate,
  shown: { readonly hash: string; readonly maker: string },
  policy: Policy,
  now: number,
  checks: Checks,
): Promise<boolean> {
  const intermediates: Certificate[] = [];
  for (const [index, der] of evidence.intermediates.entries()) {
    try {
      intermediates.push(parseCertificate(der, `intermediates[${index}]`));
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      // A certificate that cannot be read leads nowhere; it is counted below.
    }
  }
  const chain = await chainToRoot(subtle, certificate, intermediates, makers(policy.roots, policy.crls, now));
  if ("wrong" in chain) {
    checks.pass("ek-certificate", shown.hash, shown.maker);
    checks.fail(chain.revoked ? "ek-revoked" : "ek-chain", showName(certificate.issuer), chain.wrong);
    return false;
  }
  const count = evidence.ekCertificates.length;
  if (count === 1) checks.pass("ek-certificate", shown.hash, shown.maker);
  else checks.fail("ek-certificate", `${count} certificates`, "one is for the endorsement key: nobody judges the others");
  const root = chain.path[chain.path.length - 1];
  const unused = evidence.intermediates.length - chain.path.filter((each) => intermediates.includes(each)).length;
  checks.add("ek-chain", unused === 0, root ? showName(root.subject) : "", "", `${unused} certificates in the file belong to no chain: leave them out`);
  if (policy.crls.length > 0) checks.pass("ek-revoked", `${policy.crls.length} lists`);
  return true;
}
