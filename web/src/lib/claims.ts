/** claims.json and results.jsonl: what the provider says an attacker learns. */
import { fromUtf8 } from "./bytes.js";
import { releaseError } from "./errors.js";

export type Grade = "measured" | "estimated" | "guaranteed";

/** One figure; floor: from the answer alone, ceiling: from the original. */
export interface Claim {
  readonly measure: string;
  readonly target: string;
  readonly secret: string | null;
  readonly attack: string | null;
  readonly value: number;
  readonly low: number | null;
  readonly high: number | null;
  readonly n: number | null;
  readonly floor: number | null;
  readonly ceiling: number | null;
  readonly grade: Grade;
  readonly flags: readonly string[];
  readonly data: string;
  readonly line: number;
}

/** The worst leak of one secret, and the attack's own figure, from the same attack's line. */
export interface Leak {
  readonly secret: string;
  readonly leak: Claim;
  readonly attack: Claim | null;
}

const GRADES = ["measured", "estimated", "guaranteed"];

/**
 * Reads claims.json, and checks each claim against its line of results.jsonl.
 *
 * @throws DapterError a claim that cannot be read, or that differs from its line.
 */
export function parseClaims(claims: Uint8Array, results: Uint8Array): { claims: Claim[]; lines: Claim[] } {
  const lines = parse(() =>
    fromUtf8(results)
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Claim),
  );
  const found = parse(() => JSON.parse(fromUtf8(claims)) as Claim[]);
  for (const claim of found) {
    const line = lines[claim.line];
    const same = (
      ["measure", "target", "secret", "attack", "value", "low", "high", "n", "floor", "ceiling", "grade"] as const
    ).every((name) => line?.[name] === claim[name]);
    if (!same || typeof claim.value !== "number" || !GRADES.includes(claim.grade)) {
      throw releaseError(
        `claims.json: the claim about ${String(claim.measure)} differs from its line of results.jsonl`,
      );
    }
  }
  return { claims: found, lines };
}

function parse(read: () => Claim[]): Claim[] {
  try {
    const found = read();
    if (Array.isArray(found) && found.every((each) => typeof each === "object" && each !== null)) return found;
  } catch {
    // told below
  }
  throw releaseError("the claims of the release cannot be read");
}

/** The worst leak of each secret, the worst first. */
export function worstLeaks(claims: readonly Claim[], lines: readonly Claim[]): Leak[] {
  const worst = new Map<string, Claim>();
  for (const claim of claims) {
    if (claim.measure !== "leak" || claim.secret === null) continue;
    if (claim.value > (worst.get(claim.secret)?.value ?? Number.NEGATIVE_INFINITY)) worst.set(claim.secret, claim);
  }
  return [...worst.entries()]
    .map(([secret, leak]) => ({ secret, leak, attack: own(leak, lines) }))
    .sort((one, other) => other.leak.value - one.leak.value);
}

function own(leak: Claim, lines: readonly Claim[]): Claim | null {
  const same = lines.filter((line) => {
    const found = line as Claim & { leak?: number | null };
    return (
      found.measure !== "leak" &&
      found.secret === leak.secret &&
      found.attack === leak.attack &&
      found.leak === leak.value
    );
  });
  return same[0] ?? null;
}
