/** Verify a dapter release, convert images in the browser, and ask a service: only the payload leaves. */
export type { Claim, Grade, Leak } from "./claims.js";
export { Converter, Payload, type Runtime } from "./converter.js";
export { DapterError, type Kind } from "./errors.js";
export type { Dial, Export, Manifest, Precision, Size } from "./manifest.js";
export { openPhoto, type Pixels } from "./photo.js";
export { type Answer, ask, type TargetAnswer } from "./protocol.js";
export { openRelease, type ReadFile, type Release, readFromUrl } from "./release.js";
export { amplify } from "./residue.js";
export type { Stamps } from "./stamps.js";
