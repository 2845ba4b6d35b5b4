// Bundles page.js with an SDK, for a browser:
//   node bundle.mjs <folder with node_modules, esbuild among them> <that of the SDK> <the SDK's name> > page.js

import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const [tools, packages, sdk] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const { build } = createRequire(join(resolve(tools), "package.json"))("esbuild");
const { outputFiles } = await build({
  entryPoints: [join(here, "page.js")],
  nodePaths: [join(resolve(packages), "node_modules")],
  // Vue's asks for an app.
  alias: { sdk: sdk === "@sentry/vue" ? join(here, "vue.js") : sdk },
  bundle: true,
  format: "esm",
  define: { "process.env.NODE_ENV": '"production"', "import.meta.env": "{}" },
  logLevel: "error",
  write: false,
});
process.stdout.write(outputFiles[0].contents);
