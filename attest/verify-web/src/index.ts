// What others may use: decode a file, load what you trust, verify.

export { FormatError, fromHex, toHex } from "./bytes.js";
export { parseCorim, readReference, type CorimFile } from "./corim.js";
export { decodeEvidence, type Evidence } from "./evidence.js";
export { parseHeader } from "./header.js";
export { keccak256 } from "./keccak.js";
export { sha256 } from "./sha256.js";
export { loadCrls, loadRoots } from "./load.js";
export { unitRootOf } from "./attachments.js";
export { parseEventLog, replay } from "./eventlog.js";
export { parseDeniedFirmware, parseReference, type LastSeen, type Policy, type Reference } from "./policy.js";
export { firstFailure, isAccepted, verdictJson, type Check, type Verdict } from "./verdict.js";
export { checkUnitProof, type UnitAnswer } from "./unitproof.js";
export { verify } from "./verify.js";
