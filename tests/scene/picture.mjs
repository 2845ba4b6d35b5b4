// Takes a picture of one trace in Spotlight's trace view:
//   node picture.mjs <folder with node_modules> <address of the trace> <gateway's span> <service's
//   span> <file.png>
//
// Drives the machine's own Chromium (CHROMIUM names another one); without it, status 77: skipped.

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";

import { launch } from "./chromium.mjs";

const [tools, trace, gateway, service, file] = process.argv.slice(2);
const browser = await launch(tools);
try {
  await takePicture(await browser.newPage({ viewport: { width: 1440, height: 640 } }));
} finally {
  await browser.close();
}

async function takePicture(page) {
  await page.goto(`${trace}/spans/${gateway}`);
  // The tree is nested lists: this finds the service's span below the gateway's, and nowhere else.
  const root = page.locator("li", { has: page.locator(`> a[href$="/spans/${gateway}"]`) });
  await root.locator(`li > a[href$="/spans/${service}"]`).waitFor();
  // Web fonts arrive late, and a picture taken before looks different every time.
  await page.evaluate(() => document.fonts.ready);
  mkdirSync(dirname(file), { recursive: true });
  await page.locator(`[id="${trace.split("/").pop()}"]`).screenshot({ path: file, animations: "disabled" });
}
