// The picture of a page in the README: `node picture.mjs CHROMIUM PAGE PICTURE RECORD write|check`.
//
// `write` takes the picture, and records beside it which headings and figures the page has, in
// their order, and where. `check` compares the page, written again, with the record: the picture is
// out of date if a part has come, gone, moved or grown, whatever the pixels are.

import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [chromium, page, picture, record, mode] = process.argv.slice(2);
/** Width of the window, and most of the page's height, in CSS pixels. */
const WIDTH = 960;
const MOST = 1100;
/** Pixels by which parts move with the fonts of a system: some lines of text more or less. */
const MAY_MOVE = 80;

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu"],
  headless: true,
});
const tab = await browser.newPage();
await tab.setOfflineMode(true);
await tab.setViewport({ width: WIDTH, height: MOST });
await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
await tab.goto(pathToFileURL(path.resolve(page)).href);
const parts = await tab.evaluate(() =>
  [...document.querySelectorAll("h1, h2, h3, figure")]
    .filter((it) => it.checkVisibility())
    .map((it) => {
      const box = it.getBoundingClientRect();
      const name = it.tagName === "FIGURE" ? `figure ${it.id}` : `${it.tagName.toLowerCase()} ${it.innerText}`;
      return { name, top: Math.round(box.top + scrollY), height: Math.round(box.height) };
    }),
);
const sha256 = () => createHash("sha256").update(fs.readFileSync(picture)).digest("hex");

const wrong = [];
if (mode === "write") {
  // As many whole figures as there is room for.
  const ends = parts.filter((it) => it.name.startsWith("figure")).map((it) => it.top + it.height);
  const height = Math.max(...ends.filter((it) => it + 12 <= MOST)) + 12;
  await tab.screenshot({ path: picture, clip: { x: 0, y: 0, width: WIDTH, height }, optimizeForSpeed: false });
  const written = { width: WIDTH, height, sha256: sha256(), parts };
  fs.writeFileSync(record, `${JSON.stringify(written, null, 1)}\n`);
} else {
  const known = JSON.parse(fs.readFileSync(record, "utf8"));
  const png = fs.readFileSync(picture);
  const size = [png.readUInt32BE(16), png.readUInt32BE(20)];
  if (size.join() !== [known.width, known.height].join()) wrong.push(`the picture has ${size.join(" by ")} pixels`);
  if (sha256() !== known.sha256) wrong.push("the picture is not the one that was recorded");
  const names = (all) => all.map((it) => it.name);
  const [old, now] = [names(known.parts), names(parts)];
  for (const it of old.filter((it) => !now.includes(it))) wrong.push(`gone: ${it}`);
  for (const it of now.filter((it) => !old.includes(it))) wrong.push(`new: ${it}`);
  if (wrong.length === 0 && old.join("\n") !== now.join("\n")) wrong.push("the parts have another order");
  for (const it of known.parts.filter((it) => it.top < known.height)) {
    const same = parts.find((other) => other.name === it.name);
    if (same && Math.abs(same.top - it.top) > MAY_MOVE) wrong.push(`${it.name} is at ${same.top}, not ${it.top}`);
    if (same && Math.abs(same.height - it.height) > MAY_MOVE) {
      wrong.push(`${it.name} is ${same.height} high, not ${it.height}`);
    }
  }
}
await browser.close();
const bytes = fs.statSync(picture).size;
if (bytes > 150_000) wrong.push(`the picture has ${bytes} bytes, and 150000 are the most`);
for (const it of wrong) console.log(`${picture}: ${it}`);
process.exit(wrong.length === 0 ? 0 : 1);
