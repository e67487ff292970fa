import { expect, it } from "vitest";
import { fromHex, toHex } from "../src/lib/bytes.js";
import { derToRaw } from "../src/lib/signature.js";

const R = "11".repeat(32);
const HIGH = "ff".repeat(32);

it("reads integers of all lengths", () => {
  expect(toHex(derToRaw(fromHex(`30440220${R}0220${R}`)))).toBe(R + R);
  expect(toHex(derToRaw(fromHex(`30460221 00${HIGH}022100${HIGH}`.replace(" ", ""))))).toBe(HIGH + HIGH);
  expect(toHex(derToRaw(fromHex("3006020101020102")))).toBe("01".padStart(64, "0") + "02".padStart(64, "0"));
});

it.each([
  ["nothing", ""],
  ["another type", `31440220${R}0220${R}`],
  ["a wrong length", `30450220${R}0220${R}`],
  ["something after the end", `30450220${R}0220${R}00`],
  ["a negative number", `30440220${HIGH}0220${R}`],
  ["a zero too many", `3046022100${R}022100${R}`],
  ["a number that is too long", `30460221${"11".repeat(33)}0221${"11".repeat(33)}`],
  ["one number", `30220220${R}`],
  ["an empty number", "300402000200"],
  ["an end in the middle", "30060201010220"],
])("refuses %s", (_, hex) => {
  expect(() => derToRaw(fromHex(hex))).toThrow("no DER");
});
