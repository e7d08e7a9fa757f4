// `node dist/cli.js FILE [--roots DIR] [--reference FILE]… [--challenger HEX]… …`: exit status 0 accepted, 1 refused,
// 2 not evidence or not a usable call.

import { webcrypto } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { FormatError, fromHex, type Bytes } from "./bytes.js";
import { readReference } from "./corim.js";
import { decodeEvidence, FILE_BYTES_MAX } from "./evidence.js";
import { parseHeader } from "./header.js";
import { loadCrls, loadRoots, type PemFile } from "./load.js";
import { parseDeniedFirmware, type Policy } from "./policy.js";
import { firstFailure, verdictJson, type Verdict } from "./verdict.js";
import { verify } from "./verify.js";

const USAGE = `usage: node dist/cli.js FILE [options]
  --roots PATH           EK root and intermediate certificates you trust: a PEM
                         file, or a directory of *.pem
  --crls PATH            revocation lists (PEM, X509 CRL), likewise
  --boards PATH          certificates of board makers you trust, for IAKs, likewise
  --denied-firmware FILE TPM firmware you do not believe (JSON)
  --reference FILE       reference values of an image, JSON or CoRIM; may be repeated
  --image-signer HEX     public key (x, y) of an image build: only reference values
                         that one of these signed are believed; may be repeated
  --challenger HEX       public key (x, y) of a challenger you believe; may be repeated
  --challengers-min N    how many of them must have signed (1)
  --nonce HEX            the nonce that must have been answered, or the block's hash
  --header FILE          a block header of the chain, RLP raw or in hex; may be repeated
  --publication FILE     a publication of this evidence (JSON)
  --published-block HEX  hash of the block that it must be of
  --allow-software-tpm   accept a TPM made of software: tier T0
  --at SECONDS           judge as of this time (seconds since 1970) instead of now
  --json                 print the verdict as JSON`;

const subtle = webcrypto.subtle as SubtleCrypto;

class UsageError extends Error {}

interface Call {
  readonly file: string;
  readonly policy: Policy;
  readonly now: number;
  readonly json: boolean;
}

function bytesOf(file: string): Bytes {
  if (statSync(file).size > FILE_BYTES_MAX) throw new UsageError(`${file} has more than ${FILE_BYTES_MAX} bytes`);
  return new Uint8Array(readFileSync(file));
}

/** RLP as it is, or in hex as `debug_getRawHeader` answers. */
function headerBytes(file: string): Bytes {
  const bytes = bytesOf(file);
  const text = new TextDecoder("latin1").decode(bytes).trim().replace(/^"?0x|"$/g, "");
  return fromHex(text) ?? bytes;
}

function hexOption(option: string, text: string, length: number): Bytes {
  const bytes = fromHex(text);
  if (bytes?.length !== length) throw new UsageError(`${option}: "${text}" is not ${2 * length} hex digits`);
  return bytes;
}

const VALUES = ["--roots", "--crls", "--boards", "--denied-firmware", "--reference", "--image-signer", "--challenger", "--challengers-min",
  "--nonce", "--at", "--header", "--publication", "--published-block"];

async function parseCall(args: readonly string[]): Promise<Call> {
  const files: string[] = [];
  const values = new Map<string, string[]>();
  const flags = new Set<string>();
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? "";
    if (["--json", "--allow-software-tpm"].includes(arg)) {
      flags.add(arg);
    } else if (VALUES.includes(arg)) {
      const value = args[++at];
      if (value === undefined) throw new UsageError(`${arg} lacks its value`);
      values.set(arg, [...(values.get(arg) ?? []), value]);
    } else if (arg.startsWith("--")) {
      throw new UsageError(`unknown option ${arg}`);
    } else {
      files.push(arg);
    }
  }
  const [file, ...more] = files;
  if (file === undefined || more.length > 0) throw new UsageError("exactly one file, please");
  const of = (option: string): readonly string[] => values.get(option) ?? [];
  const keys = (option: string): Bytes[] => of(option).map((text) => hexOption(option, text, 64));
  const challengers = keys("--challenger");
  const signers = keys("--image-signer");
  const [nonce, publication, block] = ["--nonce", "--publication", "--published-block"].map((option) => of(option)[0]);
  const roots = loadRoots(of("--roots").flatMap(pemFiles));
  const boards = loadRoots(of("--boards").flatMap(pemFiles));
  const crls = loadCrls(of("--crls").flatMap(pemFiles));
  for (const remark of [roots, boards, crls].flatMap(({ remarks }) => remarks)) console.error(remark);
  return {
    file,
    json: flags.has("--json"),
    now: number("--at", values, Math.floor(Date.now() / 1000)),
    policy: {
      roots,
      boards,
      crls: crls.lists,
      deniedFirmware: of("--denied-firmware").flatMap((path) => parseDeniedFirmware(bytesOf(path), path)),
      references: await Promise.all(of("--reference").map((path) => readReference(subtle, bytesOf(path), signers, path))),
      allowSoftwareTpm: flags.has("--allow-software-tpm"),
      challengers,
      k: challengers.length === 0 ? 0 : number("--challengers-min", values, 1),
      nonce: nonce === undefined ? undefined : { word: hexOption("--nonce", nonce, 32) },
      lastSeen: undefined,
      headers: of("--header").map((path) => parseHeader(headerBytes(path), path)),
      publication: publication === undefined ? undefined : bytesOf(publication),
      publishedBlock: block === undefined ? undefined : hexOption("--published-block", block, 32),
    },
  };
}

function number(option: string, values: ReadonlyMap<string, readonly string[]>, fallback: number): number {
  const text = values.get(option)?.[0];
  if (text === undefined) return fallback;
  if (!/^[0-9]{1,15}$/.test(text)) throw new UsageError(`${option}: "${text}" is not a number`);
  return Number(text);
}

/** A PEM file, or those of a directory in the order of their names. */
function pemFiles(path: string): PemFile[] {
  const read = (file: string): PemFile => ({ name: file, text: readFileSync(file, "latin1") });
  if (statSync(path).isFile()) return [read(path)];
  return readdirSync(path).filter((name) => name.endsWith(".pem")).sort().map((name) => read(join(path, name)));
}

function show(verdict: Verdict): void {
  const marks = { pass: "ok  ", fail: "FAIL", "not-applicable": "-   " } as const;
  for (const check of verdict.checks) {
    console.log(`${marks[check.outcome]}  ${check.name.padEnd(26)} ${check.note}`);
    if (check.outcome === "fail") console.log(`      measured ${check.measured}\n      expected ${check.expected}`);
  }
  const { facts } = verdict;
  console.log(`\nnode ${facts.node} · ${facts.purpose} · evidence ${facts.evidence}`);
  const failure = firstFailure(verdict);
  if (failure === undefined) console.log(`ACCEPTED, tier ${verdict.tier}: not higher because ${verdict.why_not_higher}`);
  else console.log(`REFUSED by ${failure.name}: ${failure.note}`);
}

async function main(): Promise<number> {
  try {
    const call = await parseCall(process.argv.slice(2));
    const evidence = decodeEvidence(bytesOf(call.file));
    const verdict = await verify(subtle, evidence, call.policy, call.now);
    if (call.json) console.log(verdictJson(verdict));
    else show(verdict);
    return firstFailure(verdict) === undefined ? 0 : 1;
  } catch (error) {
    if (error instanceof UsageError) console.error(`${error.message}\n${USAGE}`);
    else if (error instanceof FormatError || (error instanceof Error && "code" in error)) console.error(error.message);
    else throw error;
    return 2;
  }
}

process.exitCode = await main();
