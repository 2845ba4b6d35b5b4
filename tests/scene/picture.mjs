// Takes a picture of one trace in Spotlight's trace view:
//   node picture.mjs <folder with node_modules> <address of the trace> <gateway's span> <service's span> <file.png>
//
// Drives the machine's own Chromium (CHROMIUM names another one); without it, status 77: skipped.

import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const SKIPPED = 77;
const [tools, trace, gateway, service, file] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";

if (!existsSync(executablePath)) {
  console.log(`picture: there is no Chromium at ${executablePath}: apt-get install chromium, or name one in CHROMIUM`);
  process.exit(SKIPPED);
}

const { chromium } = createRequire(join(tools, "package.json"))("playwright-core");
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
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
