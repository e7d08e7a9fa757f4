// Secure Boot as PCR 7 tells it.  The rules are strict because an event's type is not measured: an event that is
// taken for something harmless must not be able to hide a measurement.

import { FormatError, Reader, toHex, type Bytes } from "./bytes.js";
import { digestIsOfData, EVENT, type EventLog } from "./eventlog.js";

export type SecureBoot = { readonly on: boolean | undefined } | { readonly wrong: string };

/** EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c, as it lies in memory. */
const GLOBAL_VARIABLE = "61dfe48bca93d211aa0d00e098032b8c";

export async function secureBoot(subtle: SubtleCrypto, log: EventLog): Promise<SecureBoot> {
  const seen = new Set<string>();
  let separated = false;
  let on: boolean | undefined;
  for (const event of log.events) {
    if (event.pcr !== 7 || event.type === EVENT.noAction) continue;
    switch (event.type) {
      case EVENT.separator:
        separated = true;
        break;
      case EVENT.efiAction:
        if (separated) return { wrong: "an action after the separator" };
        break;
      case EVENT.variableAuthority:
        // Its data is read by nobody here, so nothing need vouch for it.
        break;
      case EVENT.variableDriverConfig: {
        if (separated) return { wrong: "a variable after the separator" };
        if (!(await digestIsOfData(subtle, event))) return { wrong: "a variable's digest is not that of its data" };
        const found = variable(event.data);
        if (found === undefined) return { wrong: "a variable that is cut off or has bytes left over" };
        if (seen.has(found.key)) return { wrong: `variable ${found.name} twice` };
        seen.add(found.key);
        if (found.key === `${GLOBAL_VARIABLE}/SecureBoot`) {
          // Firmware without keys measures the variable without a value: off.
          const [value = 0, ...more] = found.value;
          if (value > 1 || more.length > 0) return { wrong: "SecureBoot is neither 0 nor 1" };
          on = value === 1;
        }
        break;
      }
      default:
        return { wrong: `event type 0x${event.type.toString(16)} in PCR 7` };
    }
  }
  return { on };
}

/** Longest variable name that is read, in UTF-16 units. */
const NAME_UNITS_MAX = 256;

/** UEFI_VARIABLE_DATA: GUID, length of the name in UTF-16 units, length of the value, name, value. */
function variable(data: Bytes): { key: string; name: string; value: Bytes } | undefined {
  try {
    const reader = new Reader(data);
    const guid = toHex(reader.take(16, "variable.guid"));
    const units = reader.u64le("variable.nameLength");
    if (units > BigInt(NAME_UNITS_MAX)) return undefined;
    const length = reader.u64le("variable.dataLength");
    if (length > BigInt(reader.left)) return undefined;
    const raw = reader.take(2 * Number(units), "variable.name");
    // Compared byte by byte: decoding would make different malformed names equal.
    const name = Array.from(raw, (byte, at) => (at % 2 === 0 ? String.fromCharCode(byte | ((raw[at + 1] ?? 0) << 8)) : "")).join("");
    const value = reader.take(Number(length), "variable.data");
    reader.end("variable");
    return { key: `${guid}/${name}`, name, value };
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
