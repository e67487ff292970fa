/** A release, verified file by file as it is used. */
import { type Bytes, readAtMost, sha256 } from "./bytes.js";
import { type Claim, type Leak, parseClaims, worstLeaks } from "./claims.js";
import { DapterError, releaseError } from "./errors.js";
import { type Manifest, type Precision, parseManifest } from "./manifest.js";
import { readKey, readSignature } from "./signature.js";
import { parseStamps, type Stamps } from "./stamps.js";

const MEBI = 2 ** 20;
const RESULTS_LIMIT = 16 * MEBI;
const EXPORT_LIMIT = 128 * MEBI;
const MANIFEST = "release.json";
const SIGNATURE = "model.sig";
const STAMPS = "stamps.json";

/** Gives the bytes of a file of the release, at most `limit` of them. */
export type ReadFile = (path: string, limit: number) => Promise<Bytes>;

/** What has been verified. Only `openRelease` makes one. */
export interface Release {
  readonly manifest: Manifest;
  readonly claims: readonly Claim[];
  /** The worst leak of each secret, the worst first. */
  readonly leaks: readonly Leak[];
  /** SHA-256 of the provider's key. */
  readonly fingerprint: string;
  /** The files whose bytes were checked, the others being covered once they are read. */
  readonly checked: readonly string[];
  /** What every payload is made of; null: the release promises no hard budget. */
  readonly stamps: Stamps | null;
  /** The bytes of the ONNX export; checked. */
  readonly graph: Bytes;
}

/**
 * Verifies a release: the signature with the provider's key, that it covers exactly the files of the manifest, and
 * the SHA-256 of every file that is read. `dapter verify` checks far more, also of files that a browser does not use.
 *
 * @param read gives the files.
 * @param key the provider's public key, PEM; not taken from where the release comes from.
 * @throws DapterError the first thing that is wrong; nothing of the release may then be used.
 */
export async function openRelease(read: ReadFile, key: string, precision: Precision = "float32"): Promise<Release> {
  const publicKey = await readKey(key);
  const signed = await readSignature(await read(SIGNATURE, MEBI), publicKey);
  const written = await read(MANIFEST, MEBI);
  if ((await sha256(written)) !== signed.get(MANIFEST))
    throw releaseError("release.json is not the file that was signed");
  const manifest = parseManifest(written);
  compare(manifest, signed);
  const checked = [MANIFEST];
  const get = async (path: string, limit: number): Promise<Bytes> => {
    const data = await readListed(read, manifest, path, limit);
    checked.push(path);
    return data;
  };
  const results = await get("results.jsonl", RESULTS_LIMIT);
  const { claims, lines } = parseClaims(await get("claims.json", MEBI), results);
  const stamps = await readStamps(manifest, get);
  const graph = await get(onnxPath(manifest, precision), EXPORT_LIMIT);
  const leaks = worstLeaks(claims, lines);
  return { manifest, claims, leaks, fingerprint: publicKey.fingerprint, checked, stamps, graph };
}

/** A hard budget is kept by stamps: a release has both or neither. */
async function readStamps(
  manifest: Manifest,
  get: (path: string, limit: number) => Promise<Bytes>,
): Promise<Stamps | null> {
  const { budget_bits: budget, image, files } = manifest;
  if (budget !== null) return parseStamps(await get(STAMPS, MEBI), budget, image.trained);
  if (Object.hasOwn(files, STAMPS)) throw releaseError(`${STAMPS} is there, but release.json has no budget_bits`);
  return null;
}

/** The signature must cover the files of the manifest, all of them and no others. */
function compare(manifest: Manifest, signed: Map<string, string>): void {
  for (const [path, { sha256: digest }] of Object.entries(manifest.files)) {
    if (signed.get(path) !== digest) throw releaseError(`${path} is not covered by the signature`);
  }
  for (const path of signed.keys()) {
    if (path !== MANIFEST && !Object.hasOwn(manifest.files, path)) {
      throw releaseError(`${path} was signed, but is not in release.json`);
    }
  }
}

async function readListed(read: ReadFile, manifest: Manifest, path: string, limit: number): Promise<Bytes> {
  const listed = Object.hasOwn(manifest.files, path) ? manifest.files[path] : undefined;
  if (!listed) throw releaseError(`${path} is missing from the release`);
  if (listed.bytes > limit) throw releaseError(`${path} is larger than a release may be`);
  const data = await read(path, listed.bytes);
  if (data.length !== listed.bytes || (await sha256(data)) !== listed.sha256) {
    throw releaseError(`${path} is not the file of release.json: its SHA-256 differs`);
  }
  return data;
}

function onnxPath(manifest: Manifest, precision: Precision): string {
  const found = manifest.exports.find((entry) => entry.format === "onnx" && entry.precision === precision);
  if (!found) throw releaseError(`the release has no ONNX export in ${precision}`);
  return found.path;
}

/** Reads the files of a release below a URL; follows no redirect, sends no cookie. */
export function readFromUrl(base: URL | string): ReadFile {
  return async (path, limit) => {
    let response: Response;
    try {
      response = await fetch(new URL(path, base), { credentials: "same-origin", redirect: "error" });
    } catch (cause) {
      throw new DapterError("network", `${path} of the release cannot be loaded`, "check the network and try again", {
        cause,
      });
    }
    if (!response.ok) throw releaseError(`${path} is missing from the release`);
    const content = await readAtMost(response, limit);
    if (!content) throw releaseError(`${path} is larger than it may be`);
    return content;
  };
}
