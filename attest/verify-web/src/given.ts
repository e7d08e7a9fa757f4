// Files that were given to the page: what each is, by its content, and what it says, read once.

import { equal, FormatError, fromHex, type Bytes } from "./bytes.js";
import { readReference } from "./corim.js";
import { parseHeader, type Header } from "./header.js";
import { loadCrls, loadRoots, type Lists } from "./load.js";
import type { Roots } from "./chain.js";
import { parseDeniedFirmware, type DeniedFirmware, type Reference } from "./policy.js";

export interface NamedFile {
  readonly name: string;
  readonly bytes: Bytes;
}

/** Where a file goes. */
export type Slot = "evidence" | "roots" | "boards" | "references" | "chain" | "firmware";

const SIGN1 = 0xd2;
const CORIM = Uint8Array.of(0xd9, 0x01, 0xf5);
const begins = (bytes: Bytes, head: Uint8Array): boolean => equal(bytes.subarray(0, head.length), head);

/** Text of a file as far as it is ASCII. */
export function latin1(bytes: Bytes): string {
  return new TextDecoder("latin1").decode(bytes);
}

/** What a file is.  Makers of TPMs and of boards write the same kind of file: for the latter there is the board's place, or its name. */
export function slotOf({ name, bytes }: NamedFile): Slot {
  const head = latin1(bytes.subarray(0, 4096)).trimStart();
  if (latin1(bytes).includes("-----BEGIN ")) return /board|iak|idevid/i.test(name) ? "boards" : "roots";
  if (head.startsWith("{")) return head.startsWith('{"header":') ? "chain" : "references";
  if (head.startsWith("[")) return "firmware";
  if (bytes[0] === SIGN1 || begins(bytes, CORIM)) return "references";
  if (/^"?(0x)?f[89a-f]/i.test(head) || (bytes[0] ?? 0) >= 0xf8) return "chain";
  return "evidence";
}

/** What the makers' files of one place hold. */
export interface Makers {
  readonly roots: Roots;
  readonly crls: Lists;
}

/** RLP as it is, or in hex as `debug_getRawHeader` answers. */
function rlpOf(bytes: Bytes): Bytes {
  return fromHex(latin1(bytes).trim().replace(/^"?(0x)?|"$/g, "")) ?? bytes;
}

/** Each file is read once, however often the verdict is made anew. */
export class Library {
  private readonly makersOf = new WeakMap<NamedFile, Makers>();
  private readonly headerOf = new WeakMap<NamedFile, Header>();
  private readonly deniedOf = new WeakMap<NamedFile, DeniedFirmware[]>();
  private readonly referenceOf = new WeakMap<NamedFile, { readonly signers: string; readonly reference: Promise<Reference> }>();

  constructor(private readonly subtle: SubtleCrypto) {}

  makers(files: readonly NamedFile[]): Makers {
    const all = files.map((file) => once(this.makersOf, file, () => read(file)));
    return {
      roots: { certificates: all.flatMap(({ roots }) => roots.certificates), remarks: all.flatMap(({ roots }) => roots.remarks) },
      crls: { lists: all.flatMap(({ crls }) => crls.lists), remarks: all.flatMap(({ crls }) => crls.remarks) },
    };
  }

  headers(files: readonly NamedFile[]): Header[] {
    return files.map((file) => once(this.headerOf, file, () => parseHeader(rlpOf(file.bytes), file.name)));
  }

  denied(files: readonly NamedFile[]): DeniedFirmware[] {
    return files.flatMap((file) => once(this.deniedOf, file, () => parseDeniedFirmware(file.bytes, file.name)));
  }

  references(files: readonly NamedFile[], signers: readonly Bytes[]): Promise<Reference[]> {
    const asked = signers.join(";");
    return Promise.all(files.map((file) => {
      const known = this.referenceOf.get(file);
      if (known?.signers === asked) return known.reference;
      const reference = readReference(this.subtle, file.bytes, signers, file.name);
      this.referenceOf.set(file, { signers: asked, reference });
      return reference;
    }));
  }
}

function once<T>(known: WeakMap<NamedFile, T>, file: NamedFile, make: () => T): T {
  const found = known.get(file) ?? make();
  known.set(file, found);
  return found;
}

/** Certificates and revocation lists, in one file or in several. */
function read(file: NamedFile): Makers {
  const text = latin1(file.bytes);
  const named = [{ name: file.name, text }];
  const has = (label: string): boolean => text.includes(`-----BEGIN ${label}-----`);
  if (!has("CERTIFICATE") && !has("X509 CRL")) throw new FormatError(file.name, 0, "holds neither certificates nor revocation lists");
  return {
    roots: has("CERTIFICATE") ? loadRoots(named) : { certificates: [], remarks: [] },
    crls: has("X509 CRL") ? loadCrls(named) : { lists: [], remarks: [] },
  };
}

