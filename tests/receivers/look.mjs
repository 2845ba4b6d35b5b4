// Looks at a page in Chromium:
//   node look.mjs <folder with node_modules> <address> <text that is there when it is complete> [<text> …]
//
// Says as a list in JSON, for each of the other texts, whether it is there, too. PICTURE=<file.png>
// takes a picture.

import { launch } from "../scene/chromium.mjs";

const [tools, address, last, ...texts] = process.argv.slice(2);
const browser = await launch(tools);
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 560 } });
  await page.goto(address);
  await page.getByText(last).first().waitFor();
  const seen = [];
  for (const text of texts) seen.push((await page.getByText(text).count()) > 0);
  console.log(JSON.stringify(seen));
  if (process.env.PICTURE) {
    // Web fonts arrive late, and so does what moves.
    await page.evaluate(() => document.fonts.ready);
    await page.waitForLoadState("networkidle");
    await page.screenshot({ path: process.env.PICTURE, animations: "disabled" });
  }
} finally {
  await browser.close();
}
