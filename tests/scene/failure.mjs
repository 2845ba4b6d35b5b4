// Takes a picture of one error event in Spotlight:
//   node failure.mjs <folder with node_modules> <address of the event> <its title> <file.png>

import { launch } from "./chromium.mjs";

const [tools, address, title, file] = process.argv.slice(2);
const browser = await launch(tools);
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 640 } });
  await page.goto(address);
  await page.getByText(title).first().waitFor();
  // Web fonts arrive late, and a picture taken before looks different every time.
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: file, animations: "disabled" });
} finally {
  await browser.close();
}
