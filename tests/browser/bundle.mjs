// Bundles page.js with the SDK, for a browser:
//   node bundle.mjs <folder with node_modules> > page.js

import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const tools = resolve(process.argv[2]);
const { build } = createRequire(join(tools, "package.json"))("esbuild");
const { outputFiles } = await build({
  entryPoints: [join(dirname(fileURLToPath(import.meta.url)), "page.js")],
  nodePaths: [join(tools, "node_modules")],
  bundle: true,
  format: "esm",
  write: false,
});
process.stdout.write(outputFiles[0].contents);
