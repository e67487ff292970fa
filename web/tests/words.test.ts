import { expect, it } from "vitest";
import * as words from "../src/app/words.js";
import { DapterError, openRelease } from "../src/lib/index.js";
import { reader, readText } from "./releases.js";

const { leaks, claims } = await openRelease(reader("honest"), await readText("signing.pub"));

it("says the worst leak with what it is to be compared with", () => {
  const [worst] = leaks;
  if (!worst) throw new Error("no leak");
  expect(words.leakWords(worst)).toBe("An attacker who sees what leaves can tell “Eyeglasses” in 80 % of the cases.");
  expect(words.leakDetail(worst)).toContain("From the answer alone it would be 50 %, from the original 90 %");
  expect(words.leakDetail(worst)).toContain("95 % interval 71 % to 87 %");
  const auc = { ...worst, attack: null };
  expect(words.leakWords(auc)).toContain(
    "learns 75 % of what the photo would tell about “Eyeglasses” beyond the answer",
  );
  expect(words.leakDetail(auc)).toContain("95 % interval 50 % to 90 %");
});

it("says how often the answer is right", () => {
  expect(words.accuracyWords(claims, "Smiling")).toBe("right in 90.0 % of the tests, from originals 95.0 %");
});

it("says what did not leave", () => {
  const error = new DapterError("network", "the service cannot be reached", "send again");
  expect(words.problemWords(error, true).text).toBe(
    "The service cannot be reached. Send again. Your photo has not left this device; what leaves may have.",
  );
  expect(words.problemWords(new Error("a secret detail"), false).text).not.toContain("secret");
});

it("never calls a budget that is an average a limit", () => {
  const said = words.dialWords({ name: "budget_bits", low: 1, high: 32, default: 4 });
  expect(said.label).toContain("on average");
  expect(said.text).toContain("hard limit is the same");
});

it("never calls a missing budget a guarantee", () => {
  expect(words.budgetWords(null)).not.toContain("guaranteed");
  expect(words.budgetWords(76)).toContain("at most 76 bits");
});
