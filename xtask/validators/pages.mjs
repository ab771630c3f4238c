// Opens report pages in a browser and prints what is wrong with each: `node pages.mjs CHROMIUM SHOTS PAGE…`.
//
// A page must load without a network, run no script but its own, be complete without it, have no
// violation of accessibility rules in either colour scheme, keep every label of a figure inside
// of it and off the other labels, and print its verdicts. SHOTS is a folder for pictures, or `-`.

import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { HtmlValidate } from "html-validate";
import puppeteer from "puppeteer-core";

const [chromium, shots, ...pages] = process.argv.slice(2);
const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const validator = new HtmlValidate({
  extends: ["html-validate:standard"],
  rules: {
    // The page is written for browsers, and kept small.
    "no-inline-style": "off",
    "require-sri": "off",
    "tel-non-breaking": "off",
    "no-trailing-whitespace": "off",
    "long-title": "off",
    "prefer-native-element": "off",
  },
});

/** Labels of the figures that leave their figure or lie on each other. */
const badLabels = () => {
  const wrong = [];
  for (const svg of document.querySelectorAll("svg")) {
    const view = svg.viewBox.baseVal;
    const boxes = [...svg.querySelectorAll("text")].map((it) => [it.textContent, it.getBBox()]);
    for (const [text, box] of boxes) {
      const inside =
        box.x >= -0.5 &&
        box.y >= -0.5 &&
        box.x + box.width <= view.width + 0.5 &&
        box.y + box.height <= view.height + 0.5;
      if (!inside) wrong.push(`"${text}" leaves figure ${svg.closest("figure").id}`);
    }
    boxes.forEach(([text, a], at) => {
      for (const [other, b] of boxes.slice(at + 1)) {
        const apart =
          a.x + a.width <= b.x + 0.5 ||
          b.x + b.width <= a.x + 0.5 ||
          a.y + a.height <= b.y + 2.5 ||
          b.y + b.height <= a.y + 2.5;
        if (!apart) wrong.push(`"${text}" lies on "${other}" in ${svg.closest("figure").id}`);
      }
    });
  }
  return wrong;
};

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu"],
  headless: true,
});

/** Opens a page; `noted` gets what the browser complains of. */
const open = async (file, noted, javaScript = true) => {
  const tab = await browser.newPage();
  const requests = [];
  tab.on("console", (it) => ["error", "warning"].includes(it.type()) && noted.push(it.text()));
  tab.on("pageerror", (error) => noted.push(String(error)));
  tab.on("dialog", (dialog) => {
    noted.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  tab.on("request", (it) => requests.push(it.url()));
  await tab.setOfflineMode(true);
  await tab.setJavaScriptEnabled(javaScript);
  await tab.goto(pathToFileURL(path.resolve(file)).href);
  if (requests.length !== 1) noted.push(`it asks for ${requests.slice(1).join(", ")}`);
  return tab;
};

const texts = (tab) => tab.evaluate(() => document.querySelector("body").innerText);

let failures = 0;
for (const file of pages) {
  const noted = [];
  const report = await validator.validateFile(file);
  for (const message of report.results.flatMap((it) => it.messages).slice(0, 5)) {
    noted.push(`${message.line}:${message.column}: ${message.ruleId}: ${message.message}`);
  }
  const tab = await open(file, noted);
  const ran = await tab.evaluate(() => document.documentElement.dataset.script);
  // A history has none.
  if (ran !== "on" && path.basename(file) !== "history.html") noted.push("its script does not run");
  const shot = path.join(shots, path.basename(file, ".html"));
  for (const scheme of ["light", "dark"]) {
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await tab.evaluate(axe);
    const found = await tab.evaluate(() =>
      axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"] }),
    );
    for (const it of found.violations) {
      noted.push(`${scheme}: ${it.id}: ${it.nodes.length} times, first ${it.nodes[0].html.slice(0, 200)}`);
    }
    if (shots !== "-") await tab.screenshot({ path: `${shot}-${scheme}.png`, fullPage: true });
  }
  // Paper is white, also for who reads in the dark.
  await tab.emulateMediaType("print");
  const paper = await tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
  if (paper !== "rgb(255, 255, 255)") noted.push(`printed, its ground is ${paper}`);
  await tab.emulateMediaType();
  await tab.emulateMediaFeatures([]);
  noted.push(...(await tab.evaluate(badLabels)).slice(0, 5));
  const verdicts = await tab.$$eval(".verdict strong", (all) => all.map((it) => it.innerText));
  if (shots !== "-") await tab.pdf({ path: `${shot}.pdf`, format: "A4", printBackground: true });
  await tab.setViewport({ width: 360, height: 800 });
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
  if (wide > 360) noted.push(`at a width of 360 pixels it is ${wide} wide`);
  if (shots !== "-") await tab.screenshot({ path: `${shot}-360.png`, fullPage: true });
  await tab.setViewport({ width: 800, height: 600 });
  const plain = await open(file, noted, false);
  if ((await texts(plain)) !== (await texts(tab))) noted.push("without its script it has other text");
  for (const verdict of verdicts) {
    if (!(await texts(plain)).includes(verdict)) noted.push(`no "${verdict}" without its script`);
  }
  await plain.close();
  await tab.close();
  for (const it of noted) console.log(`${path.basename(file)}: ${it}`);
  failures += noted.length;
}
await browser.close();
console.log(`${pages.length} pages, ${failures} complaints`);
process.exit(failures === 0 ? 0 : 1);
