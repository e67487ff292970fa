/**
 * model.sig: an OpenSSF model signature (a Sigstore bundle, in it a DSSE envelope, in it an in-toto statement), made
 * with an ECDSA key on P-256. Steps 1 to 3 of docs/release_format.md.
 */
import { type Bytes, concat, fromBase64, fromHex, fromUtf8, sha256, toUtf8 } from "./bytes.js";
import { DapterError, releaseError } from "./errors.js";

const BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD = "application/vnd.in-toto+json";
const STATEMENT = "https://in-toto.io/Statement/v1";
const PREDICATE = "https://model_signing/signature/v1.0";

/** A provider's public key. */
export interface PublicKey {
  readonly key: CryptoKey;
  /** SHA-256 of the PEM, 64 hex digits. */
  readonly fingerprint: string;
}

/** Reads a public key, PEM, ECDSA on P-256. */
export async function readKey(pem: string): Promise<PublicKey> {
  try {
    const body = /^-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/.exec(pem)?.[1];
    const spki = fromBase64((body ?? "").replace(/\s/g, ""));
    const key = await crypto.subtle.importKey("spki", spki, { name: "ECDSA", namedCurve: "P-256" }, true, ["verify"]);
    return { key, fingerprint: await sha256(await canonicalPem(key)) };
  } catch (cause) {
    throw new DapterError("release", "the provider's key is no ECDSA key on P-256", "the provider's signing.pub, PEM", {
      cause,
    });
  }
}

/** The PEM as OpenSSL writes it: 64 letters a line. */
async function canonicalPem(key: CryptoKey): Promise<Bytes> {
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", key));
  const lines = btoa(String.fromCharCode(...spki)).match(/.{1,64}/g) ?? [];
  return toUtf8(["-----BEGIN PUBLIC KEY-----", ...lines, "-----END PUBLIC KEY-----", ""].join("\n"));
}

interface Bundle {
  mediaType: string;
  verificationMaterial: { publicKey: { hint: string } };
  dsseEnvelope: { payload: string; payloadType: string; signatures: { sig: string }[] };
}

interface Statement {
  _type: string;
  predicateType: string;
  subject: { digest: { sha256: string } }[];
  predicate: {
    serialization: { method: string };
    resources: { name: string; algorithm: string; digest: string }[];
  };
}

/**
 * What was signed: the SHA-256 of each file, by its path.
 *
 * @throws DapterError not a signature of this key, or not of this form.
 */
export async function readSignature(data: Bytes, publicKey: PublicKey): Promise<Map<string, string>> {
  try {
    const payload = await openEnvelope(JSON.parse(fromUtf8(data)) as Bundle, publicKey);
    return await resources(JSON.parse(fromUtf8(payload)) as Statement);
  } catch (cause) {
    if (cause instanceof DapterError) throw cause;
    throw releaseError("the signature is not of the form of an OpenSSF model signature");
  }
}

async function openEnvelope(bundle: Bundle, { key, fingerprint }: PublicKey): Promise<Bytes> {
  const envelope = bundle.dsseEnvelope;
  const [signature, ...more] = envelope.signatures;
  if (bundle.mediaType !== BUNDLE || envelope.payloadType !== PAYLOAD || !signature || more.length) {
    throw releaseError("the signature is not of the form of an OpenSSF model signature");
  }
  if (bundle.verificationMaterial.publicKey.hint !== fingerprint) {
    throw releaseError("the release was signed with another key than the provider's");
  }
  const payload = fromBase64(envelope.payload);
  const signed = concat([toUtf8(`DSSEv1 ${PAYLOAD.length} ${PAYLOAD} ${payload.length} `), payload]);
  const raw = derToRaw(fromBase64(signature.sig));
  if (!(await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, raw, signed))) {
    throw releaseError("the signature is not valid: the provider's key did not sign this");
  }
  return payload;
}

async function resources(statement: Statement): Promise<Map<string, string>> {
  const { serialization, resources: listed } = statement.predicate;
  const [subject, ...more] = statement.subject;
  if (statement._type !== STATEMENT || statement.predicateType !== PREDICATE || serialization.method !== "files") {
    throw releaseError("the signature is not that of a folder of files");
  }
  const found = new Map<string, string>();
  for (const { name, algorithm, digest } of listed) {
    if (algorithm !== "sha256" || found.has(name) || !/^[0-9a-f]{64}$/.test(digest)) {
      throw releaseError(`the signature names ${JSON.stringify(name)} in a way that cannot be checked`);
    }
    found.set(name, digest);
  }
  const root = await sha256(concat([...found.values()].map(fromHex)));
  if (more.length || subject?.digest.sha256 !== root) throw releaseError("the signature contradicts itself");
  return found;
}

/**
 * An ECDSA signature as WebCrypto wants it (r and s, 32 bytes each) from DER (a sequence of two integers).
 *
 * Strict: minimal lengths, no negative numbers, nothing after the end.
 */
export function derToRaw(der: Uint8Array): Bytes {
  const raw = new Uint8Array(64);
  let place = 2;
  if (der[0] !== 0x30 || der[1] !== der.length - 2 || der.length > 72) throw releaseError("the signature is no DER");
  for (const end of [32, 64]) {
    const length = der[place + 1] ?? 0;
    let digits = der.subarray(place + 2, place + 2 + length);
    const [first = 0x80, second = 0] = digits;
    if (der[place] !== 0x02 || digits.length !== length || first & 0x80 || (length > 1 && !first && !(second & 0x80))) {
      throw releaseError("the signature is no DER");
    }
    if (first === 0 && length > 1) digits = digits.subarray(1);
    if (digits.length > 32) throw releaseError("the signature is no DER");
    raw.set(digits, end - digits.length);
    place += 2 + length;
  }
  if (place !== der.length) throw releaseError("the signature is no DER");
  return raw;
}
