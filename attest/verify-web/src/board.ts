// The board's own word: an initial attestation key (IAK) that a board maker certified, which certified the attestation
// key with TPM2_Certify.  It convinces anybody who believes the maker, without asking.

import { concat, equal, FormatError, utf8, type Bytes } from "./bytes.js";
import { chainToRoot, isSignedByKey } from "./chain.js";
import { isForKey } from "./endorsement.js";
import type { Evidence, Iak } from "./evidence.js";
import type { Policy } from "./policy.js";
import { failOn, hex32 } from "./quote.js";
import { ATTRIBUTE, decodeCertified, decodePublic, decodeSignature, digest, HASHES, qualifiedName, RSASSA, ALG, tpmName, type PublicArea } from "./tpm.js";
import type { Checks } from "./verdict.js";
import { EXTENSION, KNOWN_CRITICAL, parseCertificate, showName, type Certificate } from "./x509.js";

const DIGITAL_SIGNATURE = 0;

/** The board's name, if everything holds and its maker is believed. */
export async function checkBoard(
  subtle: SubtleCrypto,
  evidence: Evidence,
  akName: Bytes,
  policy: Policy,
  now: number,
  checks: Checks,
): Promise<string | undefined> {
  const { iak } = evidence;
  if (iak === undefined) return undefined;
  let area: PublicArea;
  try {
    area = decodePublic(iak.public, "iak-public");
  } catch (error) {
    failOn(error, "iak-public", checks);
    return undefined;
  }
  const { fixedTpm, fixedParent, sensitiveDataOrigin, restricted, sign, decrypt } = ATTRIBUTE;
  const must = fixedTpm | fixedParent | sensitiveDataOrigin | restricted | sign;
  const sound = checks.add("iak-attributes", (area.attributes & (must | decrypt)) === must, hex32(area.attributes),
    "fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, not decrypt", "this key may sign what no TPM made");
  const certificates = readable(iak);
  const leaf = certificates.find((certificate) => isForKey(certificate, area.unique));
  if (leaf === undefined) {
    checks.fail("iak-certificate", "", "no certificate is for this key");
    return undefined;
  }
  const objection = objectionTo(leaf, now);
  const certified = checks.add("iak-certificate", objection === undefined, showName(leaf.subject), "a signing key's, valid now", objection ?? "");
  const signed = await checkWord(subtle, evidence, iak, area, leaf, akName, checks);
  const believed = await checkMaker(subtle, leaf, certificates, policy, now, checks);
  return sound && certified && signed && believed ? showName(leaf.subject) : undefined;
}

function readable(iak: Iak): Certificate[] {
  return iak.certificates.flatMap((der, index) => {
    try {
      return [parseCertificate(der, `iak.certificates[${index}]`)];
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return [];
    }
  });
}

function objectionTo(certificate: Certificate, now: number): string | undefined {
  const read = [EXTENSION.basicConstraints, EXTENSION.keyUsage];
  if (read.some((name) => certificate.unreadable.has(name))) return "has an extension that cannot be read";
  if (certificate.ca) return "is a CA";
  if (certificate.keyUsage && certificate.keyUsage[DIGITAL_SIGNATURE] !== true) return "its key usage does not allow signatures";
  const unknown = certificate.critical.find((name) => !KNOWN_CRITICAL.has(name));
  if (unknown !== undefined) return `has an unknown critical extension ${unknown}`;
  if (now < certificate.notBefore || now > certificate.notAfter) return "is not valid at this time";
  return undefined;
}

/** What the board key signed: this attestation key, in this TPM, for this node. */
async function checkWord(
  subtle: SubtleCrypto,
  evidence: Evidence,
  iak: Iak,
  area: PublicArea,
  leaf: Certificate,
  akName: Bytes,
  checks: Checks,
): Promise<boolean> {
  let word;
  try {
    word = decodeCertified(iak.attest);
  } catch (error) {
    failOn(error, "iak-certifies", checks);
    return false;
  }
  const holds = await signatureHolds(subtle, iak, area, leaf);
  checks.add("iak-signature", holds, holds ? "valid" : "invalid", "valid", "the board key did not sign this, or not by its own scheme");
  const name = await tpmName(subtle, area.nameAlg, iak.public);
  const key = equal(word.name, akName) && equal(word.qualifiedName, await qualifiedName(subtle, akName));
  const signer = name !== undefined && equal(word.qualifiedSigner, await qualifiedName(subtle, name));
  const data = equal(word.extraData, await digest(subtle, "SHA-256", concat(utf8("scalerforge/iak/v1\0"), evidence.nodeId)));
  const right = checks.add("iak-certifies", key && signer && data, `this key: ${key}, by the board key: ${signer}, for this node: ${data}`,
    "true for all three", "the board key certified another key, or for another node");
  return holds && right;
}

async function signatureHolds(subtle: SubtleCrypto, iak: Iak, area: PublicArea, leaf: Certificate): Promise<boolean> {
  try {
    const signature = decodeSignature(iak.signature);
    const own = signature.alg === area.scheme.alg && signature.hash === area.scheme.hash;
    const kind = signature.alg === ALG.ecdsa || signature.alg === RSASSA;
    const hash = signature.hash === ALG.sha1 ? undefined : HASHES.get(signature.hash)?.name;
    return own && kind && hash !== undefined && (await isSignedByKey(subtle, leaf.key, hash, iak.attest, signature.numbers));
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}

async function checkMaker(
  subtle: SubtleCrypto,
  leaf: Certificate,
  given: readonly Certificate[],
  policy: Policy,
  now: number,
  checks: Checks,
): Promise<boolean> {
  if (policy.boards.certificates.length === 0) {
    checks.skip("iak-chain", "no board maker is believed");
    return false;
  }
  const chain = await chainToRoot(subtle, leaf, given, { anchors: policy.boards.certificates, others: [], crls: policy.crls, now });
  const root = "path" in chain ? chain.path[chain.path.length - 1] : undefined;
  return checks.add("iak-chain", root !== undefined, root ? showName(root.subject) : showName(leaf.issuer), "",
    "wrong" in chain ? chain.wrong : "");
}
